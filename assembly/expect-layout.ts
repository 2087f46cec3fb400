// Layout of the expectation tables. Like layout.ts it is read by both sides.
//
// An entry is the head of a record (layout.ts, "Record") with the wide expectation behind it:
//
//   0                                             80                                      336
//   ┌─────────────────────────────────────────────┬───────────────────────────────────────┐
//   │ head: key, next, stamp, object, seq, added, │ Expectation, the wide form            │
//   │ visit, unacked at the offsets of RECORD_*   │ (EXPECT_* of layout.ts)               │
//   └─────────────────────────────────────────────┴───────────────────────────────────────┘
//
// The head is what the transmit queue, the resend queue and the datagram handles know of a record,
// so an expectation travels through them like a flow: same sequence space, same acknowledgement.
// An entry is a multiple of 16 bytes, because a resend queue's entry keeps flags in the low four bits.
// Packing would save two thirds, but there are thousands of these at most, not millions.
export const EXPECT_ENTRY = 80; // where the wide expectation begins
export const EXPECT_ENTRY_SIZE = 336;

// In the context of a shard, behind everything of layout.ts. All zero without ExpectationSync.
export const SHARD_EXPECTS = 3072; // 2 × Table of layout.ts, internal and external
export const SHARD_EXPECT_HELPERS = 3264; // u32: address of the helper prefixes, 16 bytes each
export const SHARD_EXPECT_HELPER_COUNT = 3268; // u32: 0 follows the expectations of every helper
export const SHARD_EXPECT_ORPHANS = 3272; // u32: 1 when the master need not be in the internal cache
export const SHARD_EXPECT_WAITERS = 3276; // u32: address of those that wait for their master
export const SHARD_EXPECT_WAITING = 3280; // u32: how many wait
export const SHARD_EXPECT_SCRATCH = 3328; // Expectation scratch
export const SHARD_EXPECT_KEY = 3584; // record-key scratch, 16 bytes

/** Bytes of a helper prefix: lower case, NUL-padded. */
export const EXPECT_PREFIX = 16;
/** Most expectations of each table of a shard; the kernel keeps 1024 of them by default. */
export const EXPECT_CAPACITY = 8192;
/** Heads of the index, a power of two. */
export const EXPECT_BUCKETS = 4096;

// One that waits for its master (expect-wait.ts); the eldest comes first.
export const WAITER_STAMP = 0; // u32: CONTROL_NOW of its event
export const WAITER_FRESH = 4; // u8: 1 NEW, 0 update
export const WAITER_REPLICATE = 5; // u8: 1 when the peers are to hear of it
export const WAITER_EXPECT = 16; // Expectation
export const WAITER_SIZE = 272;
/** Most that wait at once: more than a burst between two reads of the socket announces. */
export const WAITERS_MAX = 64;
