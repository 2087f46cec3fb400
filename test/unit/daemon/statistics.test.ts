// Counters of the arena in the views of `-s`: what was dropped is shown, and where.

import { expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { Arena } from '../../../src/cache/arena.js';
import type { SyncNode } from '../../../src/daemon/node.js';
import { queueCounters, tableCounters } from '../../../src/daemon/statistics.js';
import { viewReply } from '../../../src/report/views.js';

/** A node whose bypass has dropped 3 changes in one shard and 4 in the other. */
function bypass(): SyncNode {
  const arena = new Arena({
    shards: 2,
    hashLimit: 64,
    resendQueueSize: 16,
    payloadMax: 1400,
    shardOptions: L.SHARD_BYPASS,
    mode: L.MODE_NOTRACK,
    ackWindowSize: 16,
    firstSequence: 1,
  });
  arena.set(arena.shard(0) + L.SHARD_BYPASS_DROPPED, 3);
  arena.set(arena.shard(1) + L.SHARD_BYPASS_DROPPED, 4);
  const links = { backlog: { elements: 0, dropped: 0 } };
  return { arena, bypass: true, links } as unknown as SyncNode;
}

test('changes that found no room are errors of the transmit queue, in text and JSON', () => {
  const view = { view: 'queue', counters: queueCounters(bypass()) } as const;
  expect(viewReply(view, false)).toMatch(
    /queue txqueue:\n.*\n.*\nnot enough space errors:\t {11}7\n/,
  );
  expect(JSON.parse(viewReply(view, true)).queues[0]).toMatchObject({
    name: 'txqueue',
    noSpace: 7,
  });
});

test('the general view has them in JSON; its text stays that of the C daemon', () => {
  const tables = tableCounters(bypass());
  const counters = { tables, traffic: { bytes: 0, packets: 0 } };
  const text = viewReply({ view: 'general', counters }, false);
  expect(text).toMatch(/^internal bypass:\n(connections .*\n){3}\ncache external:\n/);
  const { caches } = JSON.parse(viewReply({ view: 'general', counters }, true));
  expect(caches[0]).toMatchObject({ kind: 'bypass', name: 'internal', dropped: 7 });
});
