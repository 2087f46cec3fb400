// The flow log's file: whole lines in order, across rotation, bounded when the disk is slow.

import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../../../lab/wait.js';
import { FlowLog } from '../../../src/daemon/flowlog.js';

let directory: string;
const errors: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flowtwin-flowlog-'));
  errors.length = 0;
});
afterEach(() => rmSync(directory, { recursive: true }));

const at = (name: string): string => join(directory, name);
const lines = (name: string): string[] => readFileSync(at(name), 'utf8').split('\n').slice(0, -1);
const open = (max?: number): FlowLog =>
  new FlowLog({ logFile: at('flows') }, (reason) => errors.push(reason), max);
const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `flow ${from + i}`);

test('lines of many turns arrive whole and in order', async () => {
  const log = open();
  for (let turn = 0; turn < 50; turn++) {
    for (const line of numbered(turn * 100, turn * 100 + 100)) log.add(line, line);
    log.flush();
  }
  await waitFor(() => log.written === 5000, { for: 'all lines' });
  expect(lines('flows')).toEqual(numbered(0, 5000));
  log.close();
});

test('rotation loses no line: the old file ends where the new one begins', async () => {
  const log = open();
  for (const line of numbered(0, 1000)) log.add(line, line);
  log.flush(); // under way while the file is renamed
  for (const line of numbered(1000, 1100)) log.add(line, line);
  renameSync(at('flows'), at('flows.1'));
  log.retarget({ logFile: at('flows') });
  for (const line of numbered(1100, 1200)) log.add(line, line);
  log.flush();
  await waitFor(() => log.written === 1200, { for: 'all lines' });
  expect(lines('flows.1').sort()).toEqual(numbered(0, 1100).sort());
  expect(lines('flows')).toEqual(numbered(1100, 1200));
  log.close();
});

test('a file that cannot be opened at rotation leaves the old one in use', () => {
  const log = open();
  expect(() => log.retarget({ logFile: at('no/such') })).toThrow("can't open logfile");
  log.add('flow', 'flow');
  log.close();
  expect(lines('flows')).toEqual(['flow']);
});

test('what finds no room is counted, and the lines before it are kept', () => {
  const log = open(100);
  for (const line of numbered(0, 30)) log.add(line, line);
  expect(log.lost).toBeGreaterThan(0);
  log.close();
  expect(lines('flows')).toEqual(numbered(0, 30 - log.lost));
  expect(log.written + log.lost).toBe(30);
});

test('a full disk is reported and counted', async () => {
  const log = new FlowLog({ logFile: '/dev/full' }, (reason) => errors.push(reason));
  log.add('flow', 'flow');
  log.flush();
  await waitFor(() => errors.length > 0, { for: 'the error' });
  expect(errors[0]).toMatch(/flow log `\/dev\/full': .*ENOSPC/);
  expect(log.lost).toBe(1);
  log.close();
});
