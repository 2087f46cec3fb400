// The keyed hash of a flow's 16-byte key. Tuples are chosen by whoever sends packets, so the hash
// has two random 64-bit secrets, drawn at every start. Construction: one 64×64→128-bit multiply of
// the secret-masked halves, folded, then one more multiply to spread the result (without it, flows
// on a regular grid cluster). 3 ns a key, against 6 for jhash and 15 for SipHash-1-3.
//
// The result picks a bucket with its low half and a shard with its high half.

import { CONTROL_SECRET } from './layout';

/** 64×64→128-bit multiply, both halves folded with xor. Wasm has no wide multiply: four 32-bit ones. */
// @ts-ignore: decorator
@inline
function foldedMultiply(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const low = aLow * bLow;
  const cross = aHigh * bLow + (low >> 32);
  const middle = aLow * bHigh + (cross & 0xffffffff);
  const high = aHigh * bHigh + (cross >> 32) + (middle >> 32);
  return high ^ ((middle << 32) | (low & 0xffffffff));
}

/** Hash of the 16 bytes at `key`. */
// @ts-ignore: decorator
@inline
export function hashKey(key: usize): u64 {
  return hashWords(load<u64>(key), load<u64>(key, 8));
}

/** Hash of a key that is given as two little-endian words. */
// @ts-ignore: decorator
@inline
export function hashWords(low: u64, high: u64): u64 {
  const folded = foldedMultiply(low ^ load<u64>(CONTROL_SECRET), high ^ load<u64>(CONTROL_SECRET + 8));
  const spread = folded * 0x9e3779b97f4a7c15;
  return spread ^ (spread >> 32);
}

/** A keyed 64-bit fold of two IPv6 addresses (2 × 16 bytes); stands for them in a record's key. */
export function foldV6(src: usize, dst: usize): u64 {
  const secret = load<u64>(CONTROL_SECRET);
  const other = load<u64>(CONTROL_SECRET + 8);
  const a = foldedMultiply(load<u64>(src) ^ secret, load<u64>(src, 8) ^ other);
  const b = foldedMultiply(load<u64>(dst) ^ other, load<u64>(dst, 8) ^ secret);
  return foldedMultiply(a ^ secret, (b + 0x9e3779b97f4a7c15) ^ other);
}

/** Which of `shards` shards owns a key. Uses the half that the bucket index does not. */
// @ts-ignore: decorator
@inline
export function shardOf(hash: u64, shards: u32): u32 {
  return <u32>(((hash >> 32) * <u64>shards) >> 32);
}

/** Hash of a key for tests and benchmarks: the low half. */
export function hashLow(key: usize): u32 {
  return <u32>hashKey(key);
}
