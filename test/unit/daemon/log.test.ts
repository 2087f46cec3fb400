// The daemon's log on a disk that is full: the daemon lives, and says later what is missing.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Log } from '../../../src/daemon/log.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flowtwin-log-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

test('lines that cannot be written are counted, and named when there is room again', () => {
  const log = new Log();
  log.redirectConsole(undefined);
  log.retarget('/dev/full', undefined);
  for (let i = 0; i < 3; i++) log.notice('to nowhere');
  log.flow('error', 'a flow');
  expect(log.unwritten).toBe(4);
  const path = join(directory, 'log');
  log.retarget(path, undefined);
  log.notice('room again');
  const lines = readFileSync(path, 'utf8').split('\n');
  expect(lines[0]).toContain('4 lines could not be written to the log file');
  expect(lines[1]).toContain('room again');
  expect(log.unwritten).toBe(0);
  log.close();
});

test('a line about one topic comes at most once a second, with the number left out', () => {
  const log = new Log();
  const lines: string[] = [];
  log.redirectConsole((_level, line) => lines.push(line.replace(/^.*\] /, '')));
  for (const ms of [0, 10, 999, 1000]) log.limited('warning', 'topic', 'again', ms);
  expect(lines).toEqual(['again', 'again (and 2 more since the last such line)']);
});
