// The daemon's log: lines in the C daemon's format to the console, a file and syslog. Lines are few
// (state changes, refusals; never one per flow event), so writing them at once keeps their order and
// loses none when the process dies.
//
//   [Sun Nov 22 12:48:18 2026] (pid=1234) [notice] initialization completed
//
// Flow lines carry only the time: `CTIME<tab>FLOW`.

import { closeSync, openSync, writeSync } from 'node:fs';
import { openSyslog, writeSyslog } from '../kernel/syscalls.js';
import { calendarTime } from '../report/time.js';

export type Level = 'info' | 'notice' | 'warning' | 'error';

/** Priorities of syslog(3). */
const PRIORITIES: Record<Level, number> = { error: 3, warning: 4, notice: 5, info: 6 };
const LABELS: Record<Level, string> = {
  error: 'ERROR',
  warning: 'warning',
  notice: 'notice',
  info: 'info',
};

/** Facilities of syslog(3) that a configuration may name. */
export const FACILITIES: Record<string, number> = {
  daemon: 3,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
};

export class LogFileError extends Error {}

export class Log {
  private file: number | undefined;
  private syslog = false;
  /** Where lines for a terminal go; undefined in the background. */
  private console: ((level: Level, line: string) => void) | undefined = toTerminal;
  /** Lines since the last that the log file took. */
  unwritten = 0;
  private readonly limits = new Map<string, { since: number; dropped: number }>();

  /**
   * Writes to the file `path` and to syslog with `facility` from now on, or to neither when
   * undefined; also opens a file anew after it was rotated away. Throws LogFileError with the C
   * daemon's words, and goes on as before, when the file cannot be opened.
   */
  retarget(path: string | undefined, facility: string | undefined): void {
    const file = path === undefined ? undefined : openLogFile(path);
    if (this.file !== undefined) closeSync(this.file);
    this.file = file;
    this.syslog = facility !== undefined;
    if (facility !== undefined) {
      openSyslog('conntrack-tools', FACILITIES[facility] ?? FACILITIES.daemon!);
    }
  }

  /** Gives console lines to `sink`, or to nobody. */
  redirectConsole(sink: ((level: Level, line: string) => void) | undefined): void {
    this.console = sink;
  }

  info(text: string): void {
    this.write('info', text);
  }

  notice(text: string): void {
    this.write('notice', text);
  }

  warning(text: string): void {
    this.write('warning', text);
  }

  error(text: string): void {
    this.write('error', text);
  }

  /** At most one line a second for each `topic`; what was left out is counted in the next line. */
  limited(level: Level, topic: string, text: string, now = performance.now()): void {
    const limit = this.limits.get(topic);
    if (limit !== undefined && now - limit.since < 1000) {
      limit.dropped++;
      return;
    }
    const before = limit?.dropped ?? 0;
    this.limits.set(topic, { since: now, dropped: 0 });
    this.write(level, before > 0 ? `${text} (and ${before} more since the last such line)` : text);
  }

  /** A line about one flow (a failed commit, a destroyed flow of Stats mode). */
  flow(level: Level, text: string): void {
    const line = `${calendarTime(BigInt(Date.now()) * 1_000_000n)}\t${text}`;
    this.console?.(level, line);
    this.toFile(line);
    if (this.syslog) writeSyslog(PRIORITIES[level], text);
  }

  close(): void {
    if (this.file !== undefined) closeSync(this.file);
    this.file = undefined;
  }

  /** A disk that is full must not end the daemon: what cannot be written is counted and said later. */
  private toFile(line: string): void {
    if (this.file === undefined) return;
    try {
      if (this.unwritten > 0) {
        const lost = `${this.unwritten} lines could not be written to the log file`;
        writeSync(this.file, `${prefix('warning')} ${lost}\n`);
        this.unwritten = 0;
      }
      writeSync(this.file, `${line}\n`);
    } catch {
      this.unwritten++;
    }
  }

  private write(level: Level, text: string): void {
    const line = `${prefix(level)} ${text}`;
    this.console?.(level, line);
    this.toFile(line);
    if (this.syslog) writeSyslog(PRIORITIES[level], text);
  }
}

function prefix(level: Level): string {
  const time = calendarTime(BigInt(Date.now()) * 1_000_000n);
  return `[${time}] (pid=${process.pid}) [${LABELS[level]}]`;
}

function openLogFile(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LogFileError(`ERROR: can't open logfile \`${path}'.Reason: ${reason}`, { cause });
  }
}

function toTerminal(level: Level, line: string): void {
  const stream = level === 'warning' || level === 'error' ? process.stderr : process.stdout;
  stream.write(`${line}\n`);
}
