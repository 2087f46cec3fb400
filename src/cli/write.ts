// Standard output and standard error by plain write(2): in order, complete when the call returns, and
// without the streams of Node, which cost a short command a tenth of its time. Blocks while the
// reader is slow. A reader that has gone away ends the process as SIGPIPE would.

import { writeSync } from 'node:fs';

export const STDOUT = 1;
const STDERR = 2;
/** Status of a process that SIGPIPE ended, as shells report it. */
const BROKEN_PIPE = 141;

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Writes all of it, however slowly that is read. */
export function writeFully(fd: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(fd, bytes, done, bytes.length - done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') process.exit(BROKEN_PIPE);
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(pause, 0, 0, 1); // the file does not block: somebody made it so
    }
  }
}

export function toStdout(text: string): void {
  writeFully(STDOUT, Buffer.from(text));
}

export function toStderr(text: string): void {
  writeFully(STDERR, Buffer.from(text));
}
