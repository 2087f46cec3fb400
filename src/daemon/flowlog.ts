// The flow log of Stats mode: one line for each flow that ended, to a file, to syslog, or both.
//
//   CTIME<tab>FLOW          as the C daemon writes them, or one JSON object a line (LogFormat json)
//
// Lines of a turn leave in one write on a thread of libuv's pool, so a slow disk holds up nobody;
// what waits for it is bounded, and what found no room is counted. Main owns it. syslog(3) may block
// when its daemon does not read: that is the price of choosing it for every flow.

import { closeSync, openSync, write, writeSync } from 'node:fs';
import type { Stats } from '../config/index.js';
import { openSyslog, writeSyslog } from '../kernel/syscalls.js';
import { FACILITIES, LogFileError } from './log.js';

/** Bytes that may wait for the disk. */
const PENDING_MAX = 16 * 2 ** 20;
/** Priority `info` of syslog(3). */
const INFO = 6;
const FACILITY_SHIFT = 3;
const OUT_FILE_MODE = 0o600;

export type FlowLogTargets = Pick<Stats, 'logFile' | 'syslog'>;

export class FlowLog {
  private path: string | undefined;
  private fd: number | undefined;
  /** Facility and level, or undefined without syslog. */
  private priority: number | undefined;
  private lines: string[] = [];
  private pending = 0;
  private writing = false;
  /** An old file that its last write still needs. */
  private leaving: number | undefined;
  /** Lines lost: no room while the disk was slow, or the file could not be written. */
  lost = 0;
  written = 0;

  constructor(
    targets: FlowLogTargets,
    private readonly onError: (reason: string) => void,
    private readonly pendingMax = PENDING_MAX,
  ) {
    this.retarget(targets);
  }

  /**
   * Opens the file of that name anew (log rotation, or another name) and sets syslog. Throws
   * LogFileError, and goes on as before, when the file cannot be opened.
   */
  retarget({ logFile, syslog }: FlowLogTargets): void {
    const fd = logFile === undefined ? undefined : openForAppend(logFile);
    this.leave();
    this.path = logFile;
    this.fd = fd;
    if (syslog === undefined) {
      this.priority = undefined;
    } else {
      openSyslog('conntrack-tools', FACILITIES[syslog]!);
      this.priority = (FACILITIES[syslog]! << FACILITY_SHIFT) | INFO;
    }
  }

  /** `line` for the file; `text` for syslog, which adds the time itself. */
  add(line: string, text: string): void {
    if (this.priority !== undefined) writeSyslog(this.priority, text);
    if (this.fd === undefined) {
      this.written++;
    } else if (this.pending + line.length >= this.pendingMax) {
      this.lost++;
    } else {
      this.lines.push(line);
      this.pending += line.length + 1;
    }
  }

  /** Begins to write what was added, unless a write is under way: that one goes on with it. */
  flush(): void {
    if (this.writing || this.lines.length === 0 || this.fd === undefined) return;
    const count = this.lines.length;
    const bytes = this.take();
    this.writing = true;
    this.writeOut(this.fd, bytes, 0, count);
  }

  /** Writes what waits and closes the file. */
  close(): void {
    this.leave();
    this.fd = undefined;
    this.priority = undefined;
  }

  private take(): Buffer {
    const bytes = Buffer.from(`${this.lines.join('\n')}\n`);
    this.lines = [];
    this.pending = 0;
    return bytes;
  }

  private writeOut(fd: number, bytes: Buffer, from: number, count: number): void {
    write(fd, bytes, from, bytes.length - from, null, (error, done) => {
      if (!error && from + done < bytes.length) {
        this.writeOut(fd, bytes, from + done, count);
        return;
      }
      this.writing = false;
      this.settle(count, error);
      if (this.leaving === fd) {
        closeSync(fd);
        this.leaving = undefined;
      }
      this.flush();
    });
  }

  private settle(count: number, error: Error | null): void {
    if (error === null) {
      this.written += count;
      return;
    }
    this.lost += count;
    this.onError(`can't write the flow log \`${this.path}': ${error.message}`);
  }

  /** Lets go of the file: what waits goes into it, also while a write of its own is under way. */
  private leave(): void {
    const { fd } = this;
    if (fd === undefined) return;
    const count = this.lines.length;
    if (count > 0) {
      try {
        // Append mode: each write is whole lines, so the two cannot mix.
        writeSync(fd, this.take());
        this.settle(count, null);
      } catch (error) {
        this.settle(count, error as Error);
      }
    }
    if (this.writing && this.leaving === undefined) this.leaving = fd;
    else closeSync(fd);
  }
}

function openForAppend(path: string): number {
  try {
    return openSync(path, 'a', OUT_FILE_MODE);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LogFileError(`ERROR: can't open logfile \`${path}'.Reason: ${reason}`, { cause });
  }
}
