// The keyed hash against its definition in big integers, and that nobody can aim at a bucket.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { TestNode } from './arena.js';

const node = new TestNode({ hashLimit: 64 });
const M64 = (1n << 64n) - 1n;

function foldedMultiply(a: bigint, b: bigint): bigint {
  const product = a * b;
  return (product >> 64n) ^ (product & M64);
}

function secrets(): [bigint, bigint] {
  return [
    node.view.getBigUint64(L.CONTROL_SECRET, true),
    node.view.getBigUint64(L.CONTROL_SECRET + 8, true),
  ];
}

function hashKey(key: Uint8Array): bigint {
  const [secret, other] = secrets();
  const words = new DataView(key.buffer, key.byteOffset);
  const folded = foldedMultiply(
    words.getBigUint64(0, true) ^ secret,
    words.getBigUint64(8, true) ^ other,
  );
  const spread = (folded * 0x9e3779b97f4a7c15n) & M64;
  return spread ^ (spread >> 32n);
}

const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });

describe('the hash of a flow', () => {
  it('is what its definition says for any key and secret', () => {
    fc.assert(
      fc.property(bytes16, bytes16, (key, secret) => {
        node.bytes.set(secret, L.CONTROL_SECRET);
        node.bytes.set(key, node.key);
        expect(BigInt(node.fn.hashLow!(node.key) >>> 0)).toBe(hashKey(key) & 0xffffffffn);
      }),
      { numRuns: 1000 },
    );
  });

  it('folds IPv6 addresses as its definition says, so direction matters', () => {
    fc.assert(
      fc.property(bytes16, bytes16, (src, dst) => {
        node.bytes.set(src, node.key);
        node.bytes.set(dst, node.key + 16);
        const [secret, other] = secrets();
        const word = (at: number) => node.view.getBigUint64(node.key + at, true);
        const a = foldedMultiply(word(0) ^ secret, word(8) ^ other);
        const b = foldedMultiply(word(16) ^ other, word(24) ^ secret);
        const fold = foldedMultiply(a ^ secret, ((b + 0x9e3779b97f4a7c15n) & M64) ^ other);
        const got = node.fn.foldV6!(node.key, node.key + 16) as unknown as bigint;
        expect(BigInt.asUintN(64, got)).toBe(fold);
      }),
      { numRuns: 1000 },
    );
  });

  it('spreads flows on a regular grid of addresses and ports evenly', () => {
    const { key, view, fn } = node;
    node.bytes.fill(0, key, key + 16);
    view.setUint16(key + 14, 0x0206);
    const loads = new Uint32Array(1024);
    for (let host = 0; host < 256; host++) {
      for (let port = 0; port < 256; port++) {
        view.setUint32(key, 0x0a000000 + host);
        view.setUint16(key + 8, 1024 + port * 4);
        loads[fn.hashLow!(key) & 1023]!++;
      }
    }
    // 64 expected in each; a Poisson tail beyond 64 + 8 × 6 is a one in 10^8 event.
    expect(Math.max(...loads)).toBeLessThan(64 + 8 * 6);
    expect(Math.min(...loads)).toBeGreaterThan(64 - 8 * 6);
  });
});
