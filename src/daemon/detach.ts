// `conntrackd -d`: Node cannot fork, so the command starts itself again as a process of its own and
// waits until that one says that it is ready, or why it is not. So `-d` returns when the daemon
// answers, and a failure is told on the terminal that asked, whatever the log configuration.
//
//   parent ── spawn, detached ──▶ child
//          ◀── pipe (fd 3): lines for the terminal, then "ready" or end of file ──

import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { Level } from './log.js';

const PIPE = 3;
const MARK = 'FLOWTWIN_DETACHED';
const READY = 'ready';

/** Starts the daemon in the background; resolves to this command's exit status. */
export async function detach(argv: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...argv], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    env: { ...process.env, [MARK]: '1' },
  });
  const exited = new Promise<number>((resolve) => {
    child.once('exit', (code) => resolve(code ?? 1));
    child.once('error', (error) => {
      process.stderr.write(`can't start the daemon: ${error.message}\n`);
      resolve(1);
    });
  });
  const pipe = child.stdio[PIPE] as Readable;
  pipe.setEncoding('utf8');
  let text = '';
  for await (const chunk of pipe) {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) {
      if (line === READY) {
        pipe.destroy();
        child.unref();
        return 0;
      }
      process.stderr.write(`${line}\n`);
    }
  }
  return (await exited) || 1;
}

/** Is this the process that -d started? */
export function isDetached(): boolean {
  return process.env[MARK] === '1';
}

/** The child's end: warnings and errors for the terminal, and the word that it is ready. */
export const terminal = {
  write(level: Level, line: string): void {
    if (level === 'warning' || level === 'error') tell(line);
  },
  ready(): void {
    tell(READY);
    closeSync(PIPE);
  },
};

function tell(line: string): void {
  try {
    writeSync(PIPE, `${line}\n`);
  } catch {
    // The terminal's command is gone: nobody left to tell.
  }
}
