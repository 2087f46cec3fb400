// One daemon per lock file. The lock is advisory (flock(2)): it ends with the process, however that
// dies, so a file left behind never blocks a start. The file holds our pid, for the operator and for
// the message that refuses a second daemon. Scripts written for the C daemon may test for the file
// or remove it; both is harmless.

import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { lockFile } from '../kernel/syscalls.js';

export class LockError extends Error {}

export class Lock {
  private constructor(
    private readonly path: string,
    private readonly fd: number,
  ) {}

  /** Takes the lock or throws LockError, naming the pid of the daemon that holds it. */
  static take(path: string): Lock {
    let fd: number;
    try {
      fd = openSync(path, 'a+', 0o600);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new LockError(`can't create lockfile \`${path}': ${reason}`, { cause });
    }
    if (!lockFile(fd)) {
      const pid = readFileSync(path, 'utf8').trim();
      closeSync(fd);
      const who = pid === '' ? '' : ` It runs with pid ${pid}.`;
      throw new LockError(`lockfile \`${path}' exists, perhaps conntrackd already running?${who}`);
    }
    ftruncateSync(fd, 0);
    writeSync(fd, `${process.pid}\n`);
    return new Lock(path, fd);
  }

  /** Removes the file and lets go. */
  release(): void {
    rmSync(this.path, { force: true });
    closeSync(this.fd);
  }
}
