// Records: what is packed comes back, what is merged follows the rules of an UPDATE, and side parts
// go where they came from.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { toHex } from '../../wasm.js';
import { INTERNAL, TestNode } from './arena.js';
import { checkShard } from './invariants.js';
import {
  type Attributes,
  anyAttributes,
  anyIdentity,
  type Identity,
  knownOf,
  NAT_BITS,
  readAttributes,
  tupleOf,
  writeFlow,
} from './wide.js';

const node = new TestNode({ digests: false, hashLimit: 64 });

function add(id: Identity, attributes: Attributes): number {
  writeFlow(node, id, attributes);
  node.fn.keyOfTuple!(node.flow + L.FLOW_ORIG, id.zone, node.key);
  const record = node.fn.addRecord!(node.shard, node.table(INTERNAL), node.key, node.flow);
  expect(record).not.toBe(0);
  node.fn.packFlow!(record, node.flow, 0);
  return record;
}

/** Attributes after a merge: the reply tuple tells all about NAT, so it beats what a peer says. */
function merged(old: Attributes, update: Attributes, fill: boolean): Attributes {
  const result = new Map(old);
  for (const [bit, value] of update) {
    if (fill && old.has(bit)) continue;
    if (bit & NAT_BITS && (old.has(L.HAS_REPLY) || update.has(L.HAS_REPLY))) continue;
    result.set(bit, value);
  }
  if (result.has(L.HAS_REPLY))
    for (const bit of result.keys()) if (bit & NAT_BITS) result.delete(bit);
  return result;
}

function unpacked(record: number): Attributes {
  node.bytes.fill(0x5a, node.flow, node.flow + L.FLOW_SIZE);
  node.fn.unpackFlow!(record, node.flow);
  return readAttributes(node, node.flow);
}

const FLOW = anyIdentity.chain((id) => fc.tuple(fc.constant(id), anyAttributes(id)));

describe('a record', () => {
  it('gives back every attribute and the tuple that were packed into it', () => {
    fc.assert(
      fc.property(FLOW, ([id, attributes]) => {
        node.reset();
        const record = add(id, attributes);
        expect(unpacked(record)).toEqual(attributes);
        const orig = node.flow + L.FLOW_ORIG;
        expect(toHex(node.bytes.slice(orig, orig + L.TUPLE_SIZE))).toBe(toHex(tupleOf(id)));
        expect(node.bytes[orig + L.TUPLE_KNOWN]).toBe(knownOf(id.l4));
        expect(node.view.getUint16(node.flow + L.FLOW_ZONE, true)).toBe(id.zone);
        const present = node.get(node.flow + L.FLOW_PRESENT);
        expect((present & L.HAS_ZONE) !== 0).toBe(id.zone !== 0);
        checkShard(node);
      }),
      { numRuns: 500 },
    );
  });

  it('takes what an update says, keeps what it does not, and from a dump fills only gaps', () => {
    const update = anyIdentity.chain((id) =>
      fc.tuple(
        fc.constant(id),
        anyAttributes(id),
        fc.array(fc.tuple(anyAttributes(id), fc.boolean()), { minLength: 1, maxLength: 5 }),
      ),
    );
    fc.assert(
      fc.property(update, ([id, first, updates]) => {
        node.reset();
        const record = add(id, first);
        let model = merged(new Map(), first, false);
        for (const [attributes, fill] of updates) {
          writeFlow(node, id, attributes);
          expect(node.fn.reserveParts!(node.shard, record, node.flow)).toBe(1);
          node.fn.packFlow!(record, node.flow, fill ? 1 : 0);
          model = merged(model, attributes, fill);
          expect(unpacked(record)).toEqual(model);
        }
        checkShard(node);
      }),
      { numRuns: 300 },
    );
  });
});
