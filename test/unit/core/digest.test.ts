// Digests of tables: equal when the flows are equal, however they came to be there, and different when
// anything that travels differs. That they are kept right through every change is in invariants.ts,
// which every test of a shard applies.

import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { rangeSums } from '../../../src/sync/sums.js';
import { EXTERNAL, INTERNAL, split, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import { type KernelFlow, kernelMessage } from './kernel.js';

const LIMITS = { hashLimit: 600, sideChunks: 64 };
const nodes = Array.from({ length: 4 }, () => new TestNode(LIMITS));
const [node, peer] = nodes as [TestNode, TestNode];

beforeEach(() => {
  // Each node has its own secrets, as after every start.
  nodes.forEach((each, i) => {
    each.reset();
    each.set(L.CONTROL_SECRET, 0x1234567 * (i + 1));
  });
});

/** Sums of all ranges of the caches of some nodes, as if they were the shards of one. */
function sums(kind: number, ...shards: TestNode[]): bigint[] {
  const total = new BigUint64Array(L.DIGEST_RANGES);
  for (const shard of shards) {
    for (let group = 0; group < 16; group++) {
      rangeSums(shard.arena, kind, group).forEach((sum, i) => {
        total[group * 64 + i]! += sum;
      });
    }
  }
  return [...total];
}

/** Tells `to` all that `from` has to tell. */
function tell(from: TestNode, to: TestNode): void {
  for (const datagram of from.send()) to.messages(...split(datagram));
}

const anyFlow: fc.Arbitrary<KernelFlow> = fc
  .record({
    n: fc.nat(300),
    v6: fc.boolean(),
    l4: fc.constantFrom(6, 17, 1),
    zone: fc.constantFrom(0, 0, 7),
    mark: fc.option(fc.nat(3), { nil: undefined }),
    state: fc.nat(9),
    status: fc.constantFrom(0x188, 0x18e, 0xe),
    labels: fc.option(fc.constantFrom(0, 3, 255), { nil: undefined }),
    snat: fc.option(fc.nat(300), { nil: undefined }),
    helper: fc.constantFrom(undefined, undefined, 'ftp', 'a-long-helper'),
    master: fc.option(fc.nat(300), { nil: undefined }),
    synproxy: fc.constantFrom<undefined | [number, number, number]>(
      undefined,
      [0, 0, 0],
      [1, 2, 3],
    ),
  })
  .map(({ l4, v6, ...flow }) => {
    const fit = l4 === 1 && v6 ? 58 : l4;
    const kept: Record<string, unknown> = { l4: fit, v6, ...flow };
    for (const key of Object.keys(kept)) if (kept[key] === undefined) delete kept[key];
    if (l4 === 1) delete kept.snat;
    return kept as unknown as KernelFlow;
  });

/** The tuple of a flow. */
const identity = ({ n, v6, l4, zone }: KernelFlow): string => `${n} ${v6} ${l4} ${zone}`;

describe('digests of tables', () => {
  it('are equal for the same flows in any order, in one shard or divided among three', () => {
    const flows = fc.uniqueArray(anyFlow, { selector: identity, maxLength: 80 });
    fc.assert(
      fc.property(flows, fc.infiniteStream(fc.nat(1000)), (list, chance) => {
        for (const each of nodes) each.reset();
        node.events(...list.map((flow) => kernelMessage('new', flow)));
        const next = (): number => chance.next().value as number;
        const shuffled = [...list]
          .map((flow) => ({ flow, at: next() }))
          .sort((a, b) => a.at - b.at);
        for (const { flow } of shuffled) {
          const shard = nodes[1 + (next() % 3)]!;
          // By a detour: another state first, or it went and came again.
          if (next() % 2) shard.events(kernelMessage('new', { ...flow, mark: 77 }));
          if (next() % 3 === 0) shard.events(kernelMessage('destroy', flow));
          shard.events(kernelMessage('new', flow));
        }
        expect(sums(INTERNAL, ...nodes.slice(1))).toEqual(sums(INTERNAL, node));
      }),
      { numRuns: 40 },
    );
  });

  it('are equal at a peer that was told everything, whatever the flows are', () => {
    const events = fc.array(fc.tuple(fc.constantFrom('new', 'new', 'update', 'destroy'), anyFlow), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(events, (list) => {
        node.reset();
        peer.reset();
        for (const [kind, flow] of list) {
          node.events(kernelMessage(kind as 'new', flow));
          // NEW for what is there already, so that nothing old is merged.
          if (kind === 'update') node.events(kernelMessage('new', flow));
          tell(node, peer);
        }
        expect(sums(EXTERNAL, peer)).toEqual(sums(INTERNAL, node));
        checkShard(node);
        checkShard(peer);
      }),
      { numRuns: 150 },
    );
  });

  const full: KernelFlow = {
    ...{ n: 5, mark: 1, state: 3, labels: 4, snat: 9, helper: 'ftp', master: 7 },
    synproxy: [1, 2, 3],
  };
  const changes: [what: string, change: Partial<KernelFlow>][] = [
    ['tuple', { n: 6 }],
    ['family', { v6: true }],
    ['protocol', { l4: 17 }],
    ['zone', { zone: 2 }],
    ['mark', { mark: 2 }],
    ['state', { state: 4 }],
    ['status', { status: 0x18e }],
    ['labels', { labels: 5 }],
    ['translation', { snat: 10 }],
    ['helper', { helper: 'sip' }],
    ['master', { master: 8 }],
    ['synproxy', { synproxy: [1, 2, 4] }],
  ];
  it.each(changes)('differ by the %s alone', (_, change) => {
    node.events(kernelMessage('new', full));
    peer.events(kernelMessage('new', { ...full, ...change }));
    expect(sums(INTERNAL, peer)).not.toEqual(sums(INTERNAL, node));
  });

  it('do not differ by the timeout, the id and a mark of 0', () => {
    node.events(kernelMessage('new', { n: 5, timeout: 10, id: 1, mark: 0 }));
    peer.events(kernelMessage('new', { n: 5, timeout: 20, id: 2 }));
    expect(sums(INTERNAL, peer)).toEqual(sums(INTERNAL, node));
  });

  it('spread flows on a regular grid over all ranges', () => {
    const list = Array.from({ length: 500 }, (_, n) => kernelMessage('new', { n }));
    node.events(...list);
    const hit = sums(INTERNAL, node).filter((sum) => sum !== 0n).length;
    // 500 balls into 1024 boxes: 396 on the average, with a deviation of 8.
    expect(hit).toBeGreaterThan(340);
  });

  it('are 0 when a cache is flushed', () => {
    node.events(kernelMessage('new', full));
    node.fn.shardFlush!(node.shard, INTERNAL);
    expect(sums(INTERNAL, node).every((sum) => sum === 0n)).toBe(true);
    checkShard(node);
  });
});
