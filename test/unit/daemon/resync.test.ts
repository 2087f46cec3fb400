// The comparison with the kernel after lost events: due once, never put off, tried again.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Resync } from '../../../src/daemon/resync.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A resync after 30 s whose comparisons end when told, and what it did. */
function observed(delay: { seconds?: number } = { seconds: 30 }) {
  const seen = { begun: 0, failed: [] as unknown[] };
  const ends: { resolve: () => void; reject: (error: Error) => void }[] = [];
  const resync = new Resync({
    delay: () => delay.seconds,
    compare: () => new Promise<void>((resolve, reject) => ends.push({ resolve, reject })),
    begun: () => {
      seen.begun++;
    },
    failed: (error) => seen.failed.push(error),
  });
  return { resync, seen, ends };
}

const seconds = (count: number) => vi.advanceTimersByTimeAsync(count * 1000);

test('a stream of losses does not put it off', async () => {
  const { resync, seen } = observed();
  for (let second = 0; second < 29; second++) {
    resync.due();
    await seconds(1);
  }
  expect(seen.begun).toBe(0);
  await seconds(1);
  expect(seen.begun).toBe(1);
});

test('a loss while it runs makes the next one due', async () => {
  const { resync, seen, ends } = observed();
  resync.due();
  await seconds(30);
  resync.due();
  ends[0]!.resolve();
  await seconds(29);
  expect(seen.begun).toBe(1);
  await seconds(1);
  expect(seen.begun).toBe(2);
});

test('one that fails is tried again', async () => {
  const { resync, seen, ends } = observed();
  resync.due();
  await seconds(30);
  ends[0]!.reject(new Error('no room'));
  await seconds(30);
  expect(seen).toEqual({ begun: 2, failed: [new Error('no room')] });
  ends[1]!.resolve();
  await seconds(100);
  expect(seen.begun).toBe(2);
});

test('NetlinkOverrunResync off: none, and none after the end of the daemon', async () => {
  const off = observed({});
  off.resync.due();
  const stopped = observed();
  stopped.resync.due();
  stopped.resync.stop();
  stopped.resync.due();
  await seconds(100);
  expect(off.seen.begun).toBe(0);
  expect(stopped.seen.begun).toBe(0);
});
