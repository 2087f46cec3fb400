// Framing of sync messages: where one message ends and the next begins, and its header.
//
// A datagram is a plain run of messages with nothing between them; a TCP stream is the same run
// without datagram boundaries. Only the length in the message's own header delimits it. Everything
// here looks at headers and never at attributes. The memory belongs to the caller; nothing blocks,
// nothing is kept. Field by field in docs/wire-protocol.md.
//
//   data, ALIVE: 8 bytes                      ACK, NACK, RESYNC: 16 bytes
//   ┌────┬────┬─────────┬────────────────┐   ┌────┬────┬─────────┬────────┬────────┬────────┐
//   │V|T │flag│ len u16 │    seq u32     │   │V|T │flag│ len u16 │  seq   │  from  │   to   │
//   └────┴────┴─────────┴────────────────┘   └────┴────┴─────────┴────────┴────────┴────────┘
//   0    1    2         4                8   0    1    2         4        8        12       16
//
// All integers are big-endian. V is the version in the high nibble, T the type in the low one.

/** The only protocol version there is. */
export const FRAME_VERSION: i32 = 1;
/** Bytes of the header of data messages and of ALIVE. */
export const FRAME_HEADER: u32 = 8;
/** Bytes of the header of ACK, NACK and RESYNC. */
export const FRAME_CONTROL: u32 = 16;

// Message types, the low nibble of byte 0.
export const MSG_CT_NEW: i32 = 0;
export const MSG_CT_UPD: i32 = 1;
export const MSG_CT_DEL: i32 = 2;
export const MSG_EXP_NEW: i32 = 3;
export const MSG_EXP_UPD: i32 = 4;
export const MSG_EXP_DEL: i32 = 5;
export const MSG_CTL: i32 = 10;

// Flags, byte 1. 0x01 and 0x80 are never sent.
export const FLAG_RESYNC: i32 = 0x02;
export const FLAG_NACK: i32 = 0x04;
export const FLAG_ACK: i32 = 0x08;
export const FLAG_ALIVE: i32 = 0x10;
export const FLAG_HELLO: i32 = 0x20;
export const FLAG_HELLO_BACK: i32 = 0x40;

// Why frameLength() finds no message. The rest of the datagram is unusable: its true boundaries
// are unknown.
/** Fewer bytes are left than a header needs. */
export const FRAME_TRUNCATED: i32 = -11;
/** The header's length is zero, below the header's own size, or more than is left. */
export const FRAME_BAD_SIZE: i32 = -12;
/** Not returned by frameLength(): such a message is skipped by its length, see frameVersion(). */
export const FRAME_BAD_VERSION: i32 = -13;

// What a message is, by frameKind().
export const KIND_BAD: i32 = 0;
export const KIND_FLOW: i32 = 1;
export const KIND_EXPECT: i32 = 2;
export const KIND_ACK: i32 = 3;
export const KIND_NACK: i32 = 4;
export const KIND_RESYNC: i32 = 5;
export const KIND_ALIVE: i32 = 6;

/**
 * Length in bytes of the message at `ptr`, of which `remain` bytes were received, or
 * FRAME_TRUNCATED or FRAME_BAD_SIZE. The order of the checks decides which counter an operator
 * sees, so it is the order of the C daemon. The version is not looked at: a message of another
 * version is skipped by the length that this returns.
 */
export function frameLength(ptr: usize, remain: u32): i32 {
  if (remain < FRAME_HEADER) return FRAME_TRUNCATED;
  const len = headerLength(ptr);
  if (len == 0 || len > remain) return FRAME_BAD_SIZE;
  if (hasRange(ptr)) {
    if (remain < FRAME_CONTROL) return FRAME_TRUNCATED;
    if (len < FRAME_CONTROL) return FRAME_BAD_SIZE;
  } else if (len < FRAME_HEADER) {
    return FRAME_BAD_SIZE;
  }
  return len;
}

/**
 * The same for a TCP stream, where the rest of a message may still be on its way: 0 means that more
 * bytes are needed, FRAME_BAD_SIZE that the stream lost its framing and must be closed (there is
 * nothing to find the next boundary by).
 */
export function frameLengthStream(ptr: usize, remain: u32): i32 {
  if (remain < 4) return 0;
  const len = headerLength(ptr);
  if (len < (hasRange(ptr) ? FRAME_CONTROL : FRAME_HEADER)) return FRAME_BAD_SIZE;
  return len > remain ? 0 : len;
}

/**
 * What the message at `ptr` is: one of KIND_*. The contract: frameLength() accepted it.
 *
 * Data may carry no flag but HELLO and HELLO_BACK. The control flags are tried in a fixed order and
 * the first hit wins, so ACK|ALIVE is an ACK. An ACK or NACK whose range runs backwards is bad.
 */
export function frameKind(ptr: usize): i32 {
  const type = frameType(ptr);
  const flags = frameFlags(ptr);
  if (type <= MSG_EXP_DEL) {
    if (flags & ~(FLAG_HELLO | FLAG_HELLO_BACK)) return KIND_BAD;
    return type <= MSG_CT_DEL ? KIND_FLOW : KIND_EXPECT;
  }
  if (type != MSG_CTL) return KIND_BAD;
  if (flags & (FLAG_ACK | FLAG_NACK)) {
    // Serial numbers: the signed difference orders them across the wrap at 2^32.
    if (frameTo(ptr) - frameFrom(ptr) < 0) return KIND_BAD;
    return flags & FLAG_ACK ? KIND_ACK : KIND_NACK;
  }
  if (flags & FLAG_RESYNC) return KIND_RESYNC;
  return flags & FLAG_ALIVE ? KIND_ALIVE : KIND_BAD;
}

// The accessors below do not check bounds: frameLength() has accepted the message.

export function frameVersion(ptr: usize): i32 {
  return load<u8>(ptr) >> 4;
}

export function frameType(ptr: usize): i32 {
  return load<u8>(ptr) & 15;
}

export function frameFlags(ptr: usize): i32 {
  return load<u8>(ptr, 1);
}

/** Sequence number. JavaScript sees it signed: `>>> 0`. */
export function frameSeq(ptr: usize): i32 {
  return bswap<i32>(load<i32>(ptr, 4));
}

/** First sequence number of an ACK's or NACK's range. Only of messages of 16 bytes. */
export function frameFrom(ptr: usize): i32 {
  return bswap<i32>(load<i32>(ptr, 8));
}

/** Last sequence number of the range, inclusive. Only of messages of 16 bytes. */
export function frameTo(ptr: usize): i32 {
  return bswap<i32>(load<i32>(ptr, 12));
}

export function setFrameFlags(ptr: usize, flags: i32): void {
  store<u8>(ptr, flags, 1);
}

export function setFrameSeq(ptr: usize, seq: i32): void {
  store<i32>(ptr, bswap<i32>(seq), 4);
}

/**
 * Writes a control message and returns its length: 8 bytes for ALIVE, 16 with `from` and `to` for
 * ACK, NACK and RESYNC (which sends zeros). `flags` may add HELLO and HELLO_BACK. The caller has 16
 * bytes of room.
 */
export function putControl(ptr: usize, flags: i32, seq: i32, from: i32, to: i32): i32 {
  const ranged = (flags & (FLAG_ACK | FLAG_NACK | FLAG_RESYNC)) != 0;
  const len = ranged ? FRAME_CONTROL : FRAME_HEADER;
  store<u8>(ptr, (FRAME_VERSION << 4) | MSG_CTL);
  store<u8>(ptr, flags, 1);
  store<u16>(ptr, bswap<u16>(<u16>len), 2);
  setFrameSeq(ptr, seq);
  if (ranged) {
    store<i32>(ptr, bswap<i32>(from), 8);
    store<i32>(ptr, bswap<i32>(to), 12);
  }
  return len;
}

// @ts-ignore: decorator
@inline
function headerLength(ptr: usize): u32 {
  return bswap<u16>(load<u16>(ptr, 2));
}

// ACK, NACK and RESYNC carry from and to. The type nibble counts whatever the version is.
// @ts-ignore: decorator
@inline
function hasRange(ptr: usize): bool {
  return frameType(ptr) == MSG_CTL && (frameFlags(ptr) & (FLAG_ACK | FLAG_NACK | FLAG_RESYNC)) != 0;
}
