// What systemd hears: the datagrams themselves, and a watchdog that is fed by progress alone.

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Manager } from '../../../lab/manager.js';
import type { Shards } from '../../../src/cache/shards.js';
import { Supervision, watchdogTime } from '../../../src/daemon/supervision.js';
import { ServiceManager, unixAddress } from '../../../src/kernel/notify.js';

const cleaning: (() => void)[] = [];

afterEach(() => {
  for (const clean of cleaning.splice(0)) clean();
});

function listen(name: string): { ear: Manager; manager: ServiceManager } {
  const ear = new Manager(name);
  const manager = ServiceManager.find(name, (reason) => {
    throw new Error(reason);
  })!;
  cleaning.push(
    () => ear.close(),
    () => manager.close(),
  );
  return { ear, manager };
}

describe('the notification socket', () => {
  test.each([
    ['a path', join(tmpdir(), `flowtwin-notify-${process.pid}`)],
    ['an abstract name', `@flowtwin-notify-${process.pid}`],
  ])('%s: one datagram a notice', (_kind, name) => {
    const { ear, manager } = listen(name);
    manager.notify('READY=1', 'STATUS=well');
    manager.notify('WATCHDOG=1');
    expect(ear.heard()).toEqual(['READY=1\nSTATUS=well', 'WATCHDOG=1']);
  });

  test('a manager that is not there is reported, not fatal', () => {
    const reasons: string[] = [];
    expect(ServiceManager.find('/nonexistent/notify', (r) => reasons.push(r))).toBeUndefined();
    expect(reasons[0]).toContain('/nonexistent/notify');
    expect(ServiceManager.find(undefined, (r) => reasons.push(r))).toBeUndefined();
    expect(reasons).toHaveLength(1);
  });

  test('a manager that does not read holds up nobody', () => {
    const name = `@flowtwin-deaf-${process.pid}`;
    const ear = new Manager(name);
    const reasons: string[] = [];
    const manager = ServiceManager.find(name, (reason) => reasons.push(reason))!;
    cleaning.push(
      () => ear.close(),
      () => manager.close(),
    );
    for (let i = 0; i < 5000 && reasons.length === 0; i++) manager.notify('WATCHDOG=1');
    expect(reasons[0]).toContain("can't notify the service manager");
  });

  test.each(['', 'relative', '@', `/${'x'.repeat(108)}`])('%j is no socket', (name) => {
    expect(unixAddress(name)).toBeUndefined();
  });
});

/** Shards that got through `done` of the orders given. */
function shardsAt(state: { given: number; done: number }): Shards {
  return {
    count: 1,
    position: () => state.given,
    reached: (_shard: number, position: number) => state.done >= position,
  } as unknown as Shards;
}

describe('the watchdog', () => {
  test('is pinged from turns, twice in its time', () => {
    const { ear, manager } = listen(`@flowtwin-ping-${process.pid}`);
    const supervision = new Supervision(manager, 1000, { shards: undefined, status: () => 'well' });
    expect(supervision.interval).toBe(500);
    for (let now = 0; now <= 2000; now += 100) supervision.progress(now);
    expect(ear.count('WATCHDOG=1')).toBe(5);
  });

  test('is not pinged while a shard stands still', () => {
    const { ear, manager } = listen(`@flowtwin-stuck-${process.pid}`);
    const state = { given: 0, done: 0 };
    const supervision = new Supervision(manager, 1000, {
      shards: shardsAt(state),
      status: () => 'well',
    });
    supervision.progress(0);
    state.given = 7;
    state.done = 7;
    supervision.progress(500);
    expect(ear.count('WATCHDOG=1')).toBe(2);
    state.given = 9; // orders it never carries out
    supervision.progress(1000);
    for (let now = 1500; now < 9000; now += 500) supervision.progress(now);
    expect(ear.count('WATCHDOG=1')).toBe(3);
    state.done = 9;
    supervision.progress(9000);
    expect(ear.count('WATCHDOG=1')).toBe(4);
  });

  test('tells its status when that has changed, at most every five seconds', () => {
    const { ear, manager } = listen(`@flowtwin-status-${process.pid}`);
    let flows = 0;
    const supervision = new Supervision(manager, undefined, {
      shards: undefined,
      status: () => `${flows} flows`,
    });
    supervision.ready();
    for (let now = 0; now <= 20_000; now += 1000) {
      if (now < 10_000) flows++;
      supervision.progress(now);
    }
    const status = ear.heard().filter((text) => text.startsWith('STATUS='));
    expect(status).toEqual(['STATUS=1 flows', 'STATUS=6 flows', 'STATUS=10 flows']);
    expect(ear.heard()[0]).toBe('READY=1\nSTATUS=0 flows');
  });

  test.each([
    [{}, undefined],
    [{ WATCHDOG_USEC: '3000000' }, 3000],
    [{ WATCHDOG_USEC: '3000000', WATCHDOG_PID: '10' }, 3000],
    [{ WATCHDOG_USEC: '3000000', WATCHDOG_PID: '9' }, 3000], // named the command that forked us
    [{ WATCHDOG_USEC: '3000000', WATCHDOG_PID: '11' }, undefined],
  ])('%o', (environment, time) => {
    expect(watchdogTime(environment, 10, 9)).toBe(time);
  });

  test('nonsense in WATCHDOG_USEC is an error, not a guess', () => {
    expect(() => watchdogTime({ WATCHDOG_USEC: 'soon' }, 1)).toThrow('soon');
  });
});
