// When the peer had read its datagrams: the pure parts of the watch over its queue.

import { describe, expect, test } from 'vitest';
import {
  emptyTimes,
  firstFrom,
  forget,
  inodeOfPort,
  makeShared,
} from '../../../bench/lab/queue.js';

describe('the first look that found the queue empty', () => {
  const times = BigInt64Array.of(10n, 20n, 20n, 35n);

  test('is the first at or after the arrival', () => {
    expect(firstFrom(times, 0n)).toBe(10n);
    expect(firstFrom(times, 11n)).toBe(20n);
    expect(firstFrom(times, 20n)).toBe(20n);
    expect(firstFrom(times, 21n)).toBe(35n);
  });

  test('is 0 when the queue was never seen empty again', () => {
    expect(firstFrom(times, 36n)).toBe(0n);
    expect(firstFrom(new BigInt64Array(0), 1n)).toBe(0n);
  });

  test('is taken from what was noted since the last time it was asked to forget', () => {
    const shared = makeShared(4);
    new BigInt64Array(shared, 8).set([1n, 2n]);
    Atomics.store(new Int32Array(shared, 0, 2), 0, 2);
    expect([...emptyTimes(shared)]).toEqual([1n, 2n]);
    forget(shared);
    expect([...emptyTimes(shared)]).toEqual([]);
  });
});

describe("the daemon's socket", () => {
  const text = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  501: 0264A8C0:A1B2 0164A8C0:0EC4 01 00000000:00000000 00:00000000 00000000     0        0 111 2 0000000000000000 0
  628: 0264A8C0:0EC4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 222 2 0000000000000000 0
`;

  test('is the one bound to the port, not the one that sends to it', () => {
    expect(inodeOfPort(text, 3780)).toBe('222');
    expect(inodeOfPort(text, 3781)).toBeUndefined();
  });
});
