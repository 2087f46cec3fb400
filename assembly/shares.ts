// Whose word is it? In a multicast group the external cache has one record for a flow, whoever speaks of
// it, and what a member tells of its table must be held against what is known from that member alone. So
// a record remembers who speaks of it, a bit for each place in the receiver's list:
//
//   RECORD_SPEAKERS   ┌──────────────────┬──────────────────┐
//                     │ speak of it, u16 │ agree, u16       │   agree: what the record says is what
//                     └──────────────────┴──────────────────┘          this member said last
//
// For each place there is a sum a range, of the records on which it agrees. A member that speaks of a
// record and was contradicted since is counted as contested there: what it would tell of this flow is
// not known. When its sum is right all the same, it has none of the contested flows any more; when it is
// not, nobody can say what is wrong before it has said the range again.
//
// A repair (digest.ts) puts in doubt what one member speaks of. When that one says a contested flow
// again, the doubt ends and the record stays: its last word was contradicted by a later one, and to
// repeat it is no news. What it does not say loses it as a speaker, and goes when it was the last.
//
// Nobody may speak of a record: its member was forgotten, and its flows are kept for the fail-over.

import { digestOf, endOfSlice, identityOf, isAlive, leaveAt, rangeOf, recordAt } from './digest';
import {
  DIGEST_DOUBTED,
  MESSAGE_PLACE,
  OBJECT_DOUBTED,
  PEERS_MAX,
  RECORD_OBJECT,
  RECORD_SPEAKERS,
  SHARD_TABLES,
  SHARES_BEFORE,
  SHARES_CONTESTED,
  SHARES_CONTESTED_SIZE,
  SHARES_DOUBTER,
  SHARES_SPEAKER,
  SHARES_SUMS,
  SHARES_SUMS_SIZE,
  TABLE_DIGESTS,
  TABLE_EXTERNAL,
  TABLE_SHARES,
  TABLE_SIZE,
} from './layout';

/** What follows is the word of the sender of `message`. */
// @ts-ignore: decorator
@inline
export function speaks(shares: usize, message: usize): void {
  store<u32>(shares, bitOf(load<u32>(message, MESSAGE_PLACE)), SHARES_SPEAKER);
}

// @ts-ignore: decorator
@inline
function bitOf(place: u32): u32 {
  return 1 << (place & (PEERS_MAX - 1));
}

// @ts-ignore: decorator
@inline
function sharesOf(table: usize): usize {
  return <usize>load<u32>(table, TABLE_SHARES);
}

/** Adds a record to the sums of all who have to do with it: `amount` to a sum, `count` to a count. */
function share(table: usize, record: usize, range: usize, amount: u64, count: i32): void {
  const shares = sharesOf(table);
  const speakers = load<u32>(record, RECORD_SPEAKERS);
  const agree = speakers & 0xffff;
  for (let rest = agree; rest != 0; rest &= rest - 1) {
    const sum = shares + SHARES_SUMS + <usize>ctz(rest) * SHARES_SUMS_SIZE + range;
    store<u64>(sum, load<u64>(sum) + amount);
  }
  for (let rest = (speakers >>> 16) & ~agree; rest != 0; rest &= rest - 1) {
    const at = shares + SHARES_CONTESTED + <usize>ctz(rest) * SHARES_CONTESTED_SIZE + (range >> 1);
    store<i32>(at, load<i32>(at) + count);
  }
  if (!(<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_DOUBTED)) return;
  if (!(agree & load<u32>(shares, SHARES_DOUBTER))) return;
  const sum = <usize>load<u32>(table, TABLE_DIGESTS) + DIGEST_DOUBTED + range;
  store<u64>(sum, load<u64>(sum) + amount);
}

/** A record is about to change or to end: its shares go. */
export function sharesOut(table: usize, record: usize): void {
  const identity = identityOf(record);
  const digest = digestOf(record, identity);
  store<u64>(sharesOf(table), digest, SHARES_BEFORE);
  share(table, record, rangeOf(identity), 0 - digest, -1);
}

/** A record has come to live or was changed by the one who speaks: the shares of all are added. */
export function sharesIn(table: usize, record: usize): void {
  const shares = sharesOf(table);
  const identity = identityOf(record);
  const digest = digestOf(record, identity);
  const speaker = load<u32>(shares, SHARES_SPEAKER);
  const speakers = load<u32>(record, RECORD_SPEAKERS);
  const same = speakers != 0 && digest == load<u64>(shares, SHARES_BEFORE);
  const agree = same ? (speakers & 0xffff) | speaker : speaker;
  store<u32>(record, (speakers & 0xffff0000) | (speaker << 16) | agree, RECORD_SPEAKERS);
  if (speaker == load<u32>(shares, SHARES_DOUBTER)) setDoubt(record, 0);
  share(table, record, rangeOf(identity), digest, 1);
}

// @ts-ignore: decorator
@inline
function setDoubt(record: usize, doubted: u32): void {
  const object = <u32>load<u8>(record, RECORD_OBJECT) & ~OBJECT_DOUBTED;
  store<u8>(record, <u8>(object | doubted), RECORD_OBJECT);
}

/**
 * Is a NEW of this record no more than the answer to the doubt in it? Then the doubt ends here. The
 * contested are in no sum of the doubted.
 */
export function confirms(shares: usize, record: usize): bool {
  if (!(<u32>load<u8>(record, RECORD_OBJECT) & OBJECT_DOUBTED)) return false;
  const speaker = load<u32>(shares, SHARES_SPEAKER);
  if (speaker != load<u32>(shares, SHARES_DOUBTER)) return false;
  if (load<u32>(record, RECORD_SPEAKERS) & speaker) return false;
  setDoubt(record, 0);
  return true;
}

/** Puts a record in doubt if the member in `place` speaks of it. */
export function doubt(table: usize, record: usize, place: u32): bool {
  const bit = bitOf(place);
  store<u32>(sharesOf(table), bit, SHARES_DOUBTER);
  if (!((load<u32>(record, RECORD_SPEAKERS) >>> 16) & bit)) return false;
  sharesOut(table, record);
  setDoubt(record, OBJECT_DOUBTED);
  putBack(table, record);
  return true;
}

/** Ends the doubt in a record. */
export function trust(table: usize, record: usize): void {
  sharesOut(table, record);
  setDoubt(record, 0);
  putBack(table, record);
}

/** The member in doubt does not have the flow of this record. True when nobody else speaks of it. */
export function leave(table: usize, record: usize): bool {
  sharesOut(table, record);
  setDoubt(record, 0);
  const bit = load<u32>(sharesOf(table), SHARES_DOUBTER);
  const speakers = load<u32>(record, RECORD_SPEAKERS) & ~(bit | (bit << 16));
  store<u32>(record, speakers, RECORD_SPEAKERS);
  if (speakers == 0) return true;
  putBack(table, record);
  return false;
}

/** After sharesOut() of a record that says what it said. */
function putBack(table: usize, record: usize): void {
  const digest = load<u64>(sharesOf(table), SHARES_BEFORE);
  share(table, record, rangeOf(identityOf(record)), digest, 1);
}

/**
 * What the member in place `from` said was said by the one in place `into`; -1: by nobody who counts
 * any more. Looks at `count` records from `index` on; returns how many it was about.
 */
export function shardSpeakers(shard: usize, index: u32, count: u32, from: u32, into: u32): u32 {
  const table = shard + SHARD_TABLES + TABLE_EXTERNAL * TABLE_SIZE;
  const end = endOfSlice(table, index, count);
  const old = bitOf(from) | (bitOf(from) << 16);
  const bit = into == <u32>-1 ? 0 : bitOf(into);
  let changed: u32 = 0;
  for (let i = index; i < end; i++) {
    const record = recordAt(table, i);
    const speakers = load<u32>(record, RECORD_SPEAKERS);
    if (!isAlive(record) || !(speakers & old)) continue;
    sharesOut(table, record);
    const agree = speakers & bitOf(from) ? bit : 0;
    store<u32>(record, (speakers & ~old) | agree | (bit << 16), RECORD_SPEAKERS);
    putBack(table, record);
    changed++;
  }
  leaveAt(shard, table, end);
  return changed;
}
