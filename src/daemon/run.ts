// The life of the daemon: from a configuration file to readiness, and from a signal to the end.
//
//   parse ▸ log ▸ lock ▸ scheduler ▸ stations ▸ kernel table ▸ control socket ▸ ready
//
// Everything that can fail fails before "ready", with a reason on the terminal and exit status 1.

import { type Config, checkRuntime, type Diagnostic, formatDiagnostic } from '../config/index.js';
import type { Mode } from '../control/protocol.js';
import { ControlServer } from '../control/server.js';
import { readInterface } from '../kernel/links.js';
import { errorText, setScheduler } from '../kernel/syscalls.js';
import { isDetached, terminal } from './detach.js';
import { Lock } from './lock.js';
import { Log } from './log.js';
import { SyncNode } from './node.js';
import { carryOut } from './orders.js';
import { unsupported } from './unsupported.js';

/** Runs the daemon until it is told to end; resolves to the exit status. */
export async function runDaemon(config: Config): Promise<number> {
  const log = new Log();
  if (isDetached()) log.redirectConsole(terminal.write);
  let lock: Lock | undefined;
  let node: SyncNode | undefined;
  try {
    const { general } = config;
    if (general.logFile !== undefined) log.openFile(general.logFile);
    if (general.syslog !== undefined) log.openSyslog(general.syslog);
    for (const warning of unsupported(config)) log.warning(warning);
    if (!reportRuntimeFaults(config, log)) throw new Error('initialization failed');
    lock = Lock.take(general.lockFile);
    applyScheduler(config, log);
    if (config.sync === undefined) {
      throw new Error('only Sync mode is available in this version: add a Sync section');
    }
    const ending = new Ending();
    node = new SyncNode(config, config.sync, log, (reason) => ending.fail(reason));
    await node.start();
    const control = await openControl(config, node, log, ending);
    log.notice('initialization completed');
    process.chdir('/');
    return await serve({ log, lock, node, control, ending });
  } catch (error) {
    log.error(error instanceof Error ? error.message : String(error));
    log.error('conntrackd cannot start, please review your configuration');
    lock?.release();
    await node?.stop().catch(() => undefined);
    return 1;
  }
}

/** What ends the daemon: a signal, the operator's -k, or a fault. */
class Ending {
  private resolve: (reason: string | undefined) => void = () => undefined;
  /** Resolves to the reason of a fault, or undefined for an orderly end. */
  readonly reached = new Promise<string | undefined>((resolve) => {
    this.resolve = resolve;
  });

  order(): void {
    this.resolve(undefined);
  }

  fail(reason: string): void {
    this.resolve(reason);
  }
}

interface Running {
  log: Log;
  lock: Lock;
  node: SyncNode;
  control: ControlServer | undefined;
  ending: Ending;
}

async function serve({ log, lock, node, control, ending }: Running): Promise<number> {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => ending.order());
  if (isDetached()) {
    log.notice('-- starting in daemon mode --');
    terminal.ready();
    log.redirectConsole(undefined);
  } else {
    log.notice('-- starting in console mode --');
  }
  const fault = await ending.reached;
  if (fault !== undefined) log.error(fault);
  await control?.close();
  await node.stop();
  lock.release();
  log.notice('---- shutdown received ----');
  log.close();
  return fault === undefined ? 0 : 1;
}

async function openControl(
  config: Config,
  node: SyncNode,
  log: Log,
  ending: Ending,
): Promise<ControlServer | undefined> {
  const path = config.general.unixPath;
  if (path === undefined) {
    log.warning('no UNIX { Path }: no client can reach this daemon');
    return undefined;
  }
  let server: ControlServer | undefined;
  const counters = { requests: 0, unknown: 0, readFailed: 0, failed: 0, aborted: 0 };
  const parts = {
    node,
    log,
    mode: modeOf(config),
    control: () => server?.counters ?? counters,
    terminate: () => ending.order(),
  };
  server = await ControlServer.listen({
    path,
    handler: (code, reply) => carryOut(parts, code, reply),
    onError: (error, code) =>
      log.limited('error', 'control', `request ${code} failed: ${describe(error)}`),
  });
  return server;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function modeOf(config: Config): Mode {
  const { sync, stats } = config;
  if (sync !== undefined) {
    const replication = sync.mode.toLowerCase() as 'ftfw' | 'notrack' | 'alarm';
    return { kind: 'sync', replication, expectations: sync.expectationSync !== false };
  }
  return stats !== undefined ? { kind: 'stats' } : { kind: 'idle' };
}

/** Checks the file against this machine; false when it cannot run. */
function reportRuntimeFaults(config: Config, log: Log): boolean {
  const interfaces = new Map<string, { index: number; mtu: number; up: boolean }>();
  for (const { interface: name } of config.sync?.links ?? []) {
    const info = name === undefined ? undefined : readInterface(name);
    if (name === undefined || info === undefined) continue;
    interfaces.set(name, { index: info.index, mtu: info.mtu, up: info.status !== 'DOWN' });
  }
  let fit = true;
  for (const diagnostic of checkRuntime(config, interfaces)) {
    const line = formatDiagnostic(diagnostic);
    if (isError(diagnostic)) {
      fit = false;
      log.error(line);
    } else {
      log.warning(line);
    }
  }
  return fit;
}

function isError(diagnostic: Diagnostic): boolean {
  return diagnostic.severity === 'error';
}

/** Real-time class for the data plane's thread. As the C daemon: RR 99 unless the file says other. */
function applyScheduler({ general }: Config, log: Log): void {
  const { type, priority } = general.scheduler;
  const reason = setScheduler(type, priority);
  if (reason === 0) return;
  log.warning(
    `scheduler configuration failed: ${errorText(reason)}. ` +
      'Continuing with system default scheduler.',
  );
}
