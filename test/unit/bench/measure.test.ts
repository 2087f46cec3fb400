// What /proc says, as the bench reads it.

import { describe, expect, test } from 'vitest';
import {
  cpuTime,
  memoryOf,
  parseKernelFlows,
  parseKilobytes,
  parseNetDev,
  parsePolicy,
  parseSchedstat,
} from '../../../bench/measure.js';

const NET_DEV = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      200       2    0    0    0     0       0          0
  sync:12345678    4321    0    0    0     0          0         0 87654321    1234    0    0    0     0       0          0
`;

describe('the scheduler account of a thread', () => {
  test('starts with nanoseconds on the CPU', () => {
    expect(parseSchedstat('123456789 42 7\n')).toBe(123456789);
  });

  test('is refused when it is something else', () => {
    expect(() => parseSchedstat('')).toThrow('not a schedstat');
    expect(() => parseSchedstat('none 1 2')).toThrow('not a schedstat');
  });

  test('grows while this process computes', () => {
    const before = cpuTime(process.pid);
    const end = performance.now() + 30;
    while (performance.now() < end);
    expect(cpuTime(process.pid) - before).toBeGreaterThan(5e6);
  });
});

describe('memory', () => {
  test('is read in bytes', () => {
    const text =
      'Rss:                8 kB\nPss:                1234 kB\nPss_Dirty:          9 kB\n';
    expect(parseKilobytes(text, 'Pss')).toBe(1234 * 1024);
    expect(() => parseKilobytes(text, 'Swap')).toThrow('no Swap');
  });

  test('of this process is more than nothing, and PSS at most RSS', () => {
    const { pss, rss } = memoryOf(process.pid);
    expect(pss).toBeGreaterThan(2 ** 20);
    expect(pss).toBeLessThanOrEqual(rss);
  });
});

describe('counters of an interface', () => {
  test('are found with and without a space behind the colon', () => {
    expect(parseNetDev(NET_DEV, 'sync')).toEqual({
      receivedBytes: 12345678,
      receivedPackets: 4321,
      sentBytes: 87654321,
      sentPackets: 1234,
    });
    expect(parseNetDev(NET_DEV, 'lo').sentBytes).toBe(200);
  });

  test('of an interface that is not there are an error', () => {
    expect(() => parseNetDev(NET_DEV, 'syn')).toThrow('no interface syn');
  });
});

describe('the scheduling class', () => {
  test('is read behind a name that may hold anything', () => {
    const fields = Array.from({ length: 50 }, (_, i) => String(i + 3));
    fields[38] = '2'; // field 41
    expect(parsePolicy(`123 (a ) b) ${fields.join(' ')}`)).toBe(2);
    expect(() => parsePolicy('123 (a) S')).toThrow('no scheduling policy');
  });
});

describe('the flows of a kernel', () => {
  test('are the hexadecimal first column, whatever the number of processors', () => {
    const text =
      'entries  clashres found\n0000ff10  00000000 00000000\n0000ff10  00000001 00000002\n';
    expect(parseKernelFlows(text)).toBe(0xff10);
    expect(() => parseKernelFlows('')).toThrow('not a statistic');
  });
});
