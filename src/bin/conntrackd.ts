// conntrackd: arguments to a command, nothing else. Client commands load neither the data plane nor
// the system calls, so that they start fast.

import { type Config, formatDiagnostic, loadConfig } from '../config/index.js';
import { parseArguments, usageText } from '../control/commands.js';
import { VERSION } from '../version.js';

const VERSION_TEXT = `Connection tracking userspace daemon (Flowtwin) v${VERSION}. Licensed under Apache-2.0.\n`;

async function main(argv: readonly string[]): Promise<number> {
  const command = parseArguments(argv);
  switch (command.kind) {
    case 'help':
      process.stdout.write(usageText('conntrackd'));
      return 0;
    case 'version':
      process.stdout.write(VERSION_TEXT);
      return 0;
    case 'usage-error':
      if (command.usage) process.stdout.write(usageText('conntrackd'));
      process.stderr.write(`${command.message}\n`);
      return command.exit;
  }
  for (const warning of command.warnings) process.stderr.write(`${warning}\n`);
  if (command.kind === 'check') {
    const { checkConfiguration } = await import('../daemon/check.js');
    return checkConfiguration(command.configFile, {
      report: (line) => process.stdout.write(`${line}\n`),
      complain: (line) => process.stderr.write(`${line}\n`),
    });
  }
  const config = readConfig(command.configFile);
  if (config === undefined) return 1;
  if (command.kind === 'client') return request(config, command.requests);
  const { detach, isDetached } = await import('../daemon/detach.js');
  if (command.detach && !isDetached()) {
    const { ServiceManager } = await import('../kernel/notify.js');
    return detach(argv, (pid) => {
      if (!config.general.systemd) return;
      const complain = (reason: string) => process.stderr.write(`${reason}\n`);
      ServiceManager.find(process.env.NOTIFY_SOCKET, complain)?.notify(`MAINPID=${pid}`);
    });
  }
  const { runDaemon } = await import('../daemon/run.js');
  return runDaemon(config);
}

function readConfig(path: string): Config | undefined {
  const { config, diagnostics } = loadConfig(path);
  for (const diagnostic of diagnostics) {
    process.stderr.write(`${formatDiagnostic(diagnostic)}\n`);
  }
  return config;
}

async function request(config: Config, codes: readonly number[]): Promise<number> {
  const path = config.general.unixPath;
  if (path === undefined) {
    process.stderr.write(`${config.file}: no UNIX { Path }: the daemon cannot be reached\n`);
    return 1;
  }
  const { runRequest } = await import('../control/client.js');
  let exit = 0;
  for (const code of codes) {
    exit ||= await runRequest({
      path,
      code,
      output: process.stdout,
      complain: (message) => process.stderr.write(`${message}\n`),
      inform: (message) => process.stderr.write(`${message}\n`),
    });
  }
  return exit;
}

main(process.argv.slice(2)).then(
  (exit) => {
    process.exitCode = exit;
    // A daemon that has ended must not linger for a handle somebody forgot.
    setTimeout(() => process.exit(exit), 2000).unref();
  },
  (error: unknown) => {
    process.stderr.write(`conntrackd: ${error instanceof Error ? error.stack : error}\n`);
    process.exit(1);
  },
);
