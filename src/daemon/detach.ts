// `conntrackd -d`: Node cannot fork, so the command starts itself again as a process of its own and
// waits until that one says that it is ready, or why it is not. So `-d` returns when the daemon
// answers, and a failure is told on the terminal that asked, whatever the log configuration.
//
//   parent ── spawn, detached ──▶ child
//          ◀── pipe (fd 3): lines for the terminal, then "ready" or end of file ──
//          ── closes the pipe: the service manager knows the child's pid by now ──▶

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Level } from './log.js';

const PIPE = 3;
const MARK = 'FLOWTWIN_DETACHED';
const READY = 'ready';
/** ms to wait for the command to let go of the pipe. */
const PARTING = 2000;

/**
 * Starts the daemon in the background; resolves to this command's exit status. `onReady` is called
 * with the daemon's pid when it is ready, before it goes on.
 */
export async function detach(
  argv: readonly string[],
  onReady: (pid: number) => void,
): Promise<number> {
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
        onReady(child.pid!);
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
  /** Resolves when the command has let go: it may have told others of us, and now we may. */
  async ready(): Promise<void> {
    tell(READY);
    const pipe = new Socket({ fd: PIPE, readable: true, writable: true });
    pipe.on('error', () => undefined);
    pipe.resume();
    await Promise.race([once(pipe, 'close'), sleep(PARTING, undefined, { ref: false })]);
    pipe.destroy();
  },
};

function tell(line: string): void {
  try {
    writeSync(PIPE, `${line}\n`);
  } catch {
    // The terminal's command is gone: nobody left to tell.
  }
}
