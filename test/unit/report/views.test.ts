// The views of `conntrackd -s -o json`: one object each, and the names that scripts rely on.

import { describe, expect, it } from 'vitest';
import type {
  CacheCounters,
  LinkCounters,
  NetworkCounters,
  RuntimeCounters,
} from '../../../src/report/statistics.js';
import { type StatisticsView, viewReply } from '../../../src/report/views.js';

const cache: CacheCounters = {
  kind: 'cache',
  name: 'internal',
  active: 3,
  total: 4,
  objects: 5,
  created: 18446744073709551615n,
  createFailed: 7,
  noMemory: 8,
  noSpace: 9,
  updated: 10,
  updateFailed: 11,
  updateNotFound: 12,
  destroyed: 13,
  destroyFailed: 14,
  destroyNotFound: 15,
};

const link: LinkCounters = {
  kind: 'tcp',
  device: 'va',
  status: 'RUNNING',
  role: 'ACTIVE',
  serverConnected: true,
  clientConnected: false,
  bytesSent: 1n,
  bytesReceived: 2,
  packetsSent: 3,
  packetsReceived: 4,
  sendErrors: 5,
  receiveErrors: 6,
};

const network: NetworkCounters = {
  malformed: 1,
  wrongVersion: 2,
  malformedHeader: 3,
  malformedPayload: 4,
  badType: 5,
  truncated: 6,
  badSize: 7,
  sendMalformed: 8,
  lost: 9,
  before: 10,
};

const runtime: RuntimeCounters = {
  uptime: 1,
  eventsReceived: 2,
  eventsFiltered: 3,
  eventsUnknown: 4,
  catchFailed: 5,
  eventsCut: 3,
  dumpUnknown: 6,
  overruns: 7,
  flushes: 8,
  resyncs: 9,
  bufferSize: 10,
  childFailed: 11,
  childSegfault: 12,
  childTerminated: 13,
  selectFailed: 14,
  waitFailed: 15,
  localReadFailed: 16,
  localUnknown: 17,
};

/** The object of a view. Counters beyond 2^53 lose digits in JSON.parse, not in the text. */
function shown(view: StatisticsView): unknown {
  const text = viewReply(view, true);
  expect(text).toMatch(/^\{.*\}\n$/);
  return JSON.parse(text);
}

const tcp = {
  kind: 'tcp',
  device: 'va',
  status: 'RUNNING',
  role: 'ACTIVE',
  serverConnected: true,
  clientConnected: false,
  bytesSent: 1,
  bytesReceived: 2,
  packetsSent: 3,
  packetsReceived: 4,
  sendErrors: 5,
  receiveErrors: 6,
};

describe('conntrackd -s -o json', () => {
  it('general: caches, traffic, the link in use, message tracking', () => {
    const counters = {
      tables: [
        { ...cache, created: 6 },
        { kind: 'bypass', created: 1, updated: 2, destroyed: 3, dropped: 4 },
      ] as const,
      traffic: { bytes: 1n, packets: 2n },
      link,
      tracking: network,
    };
    expect(shown({ view: 'general', counters })).toEqual({
      view: 'general',
      caches: [
        { ...cache, created: 6 },
        { kind: 'bypass', name: 'internal', created: 1, updated: 2, destroyed: 3, dropped: 4 },
      ],
      traffic: { bytes: 1, packets: 2 },
      link: tcp,
      messages: { malformed: 1, lost: 9 },
    });
  });

  it('without a peer there is neither link nor tracking', () => {
    const counters = { tables: [], traffic: { bytes: 0, packets: 0 } };
    expect(shown({ view: 'general', counters })).toEqual({
      view: 'general',
      caches: [],
      traffic: { bytes: 0, packets: 0 },
    });
  });

  it('counters keep all their digits', () => {
    expect(viewReply({ view: 'cache', counters: [cache] }, true)).toContain(
      '"created":18446744073709551615,',
    );
  });

  it('network', () => {
    expect(shown({ view: 'network', counters: network, link })).toEqual({
      view: 'network',
      received: {
        malformed: 1,
        wrongVersion: 2,
        malformedHeader: 3,
        malformedPayload: 4,
        badType: 5,
        truncated: 6,
        badSize: 7,
      },
      sent: { malformed: 8 },
      sequence: { lost: 9, before: 10 },
      link: tcp,
    });
  });

  it('runtime: nothing about child processes, for there are none', () => {
    expect(shown({ view: 'runtime', counters: runtime })).toEqual({
      view: 'runtime',
      uptime: 1,
      events: {
        received: 2,
        filtered: 3,
        unknown: 4,
        failed: 5,
        cut: 3,
        overruns: 7,
        bufferSize: 10,
      },
      kernel: { dumpUnknown: 6, flushes: 8, resyncs: 9 },
      control: { readFailed: 16, unknown: 17 },
    });
  });

  it('link, rsqueue, queue, process', () => {
    expect(shown({ view: 'link', counters: [link] })).toEqual({ view: 'link', links: [tcp] });
    const elements = [
      { kind: 'control', sequence: 7, flags: 2 },
      { kind: 'object', sequence: 8 },
    ] as const;
    expect(shown({ view: 'rsqueue', counters: elements })).toEqual({
      view: 'rsqueue',
      length: 2,
      elements,
    });
    const queue = { name: 'txqueue', elements: 1, maximum: 2, noSpace: 3 };
    expect(shown({ view: 'queue', counters: [queue] })).toEqual({ view: 'queue', queues: [queue] });
    expect(shown({ view: 'process', counters: [] })).toEqual({ view: 'process', children: [] });
  });

  it('the same view as text is that of the C daemon', () => {
    const queue = { name: 'txqueue', elements: 1, maximum: 2, noSpace: 3 };
    const text = viewReply({ view: 'queue', counters: [queue] }, false);
    expect(text).toContain('allocated queue nodes:\t\t           1\n');
    expect(text).toContain('queue txqueue:\n');
  });
});
