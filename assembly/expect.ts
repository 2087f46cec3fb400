// Expectations of ctnetlink: a kernel message ⇄ a wide expectation (EXPECT_* of layout.ts).
//
// A helper announces a connection that is about to come (an FTP data connection, say); the kernel
// tells it as a message of subsystem 2, and a peer can be told to expect the same. Rules, trust and
// ownership are those of ctnetlink.ts: pure functions over addresses, nothing kept, nothing blocks.
//
// DANGER: an EXP_DELETE without a tuple flushes every expectation. encodeExpectRequest begins every
// message with a tuple that it has checked, and refuses an expectation without one.
//
// Sources: linux/netfilter/nfnetlink_conntrack.h (CTA_EXPECT_*), nf_conntrack_common.h
// (NF_CT_EXPECT_*); docs/wire-protocol.md for what a request contains.

import {
  closeNest,
  findMember,
  HEADER,
  putHeader,
  putPair,
  putText,
  putWord,
  readText,
  TYPE_MASK,
} from './ctnetlink-attribute';
import {
  REQUEST_CREATE,
  REQUEST_DELETE,
  REQUEST_GET,
  REQUEST_ROOM,
  REQUEST_UPDATE,
} from './ctnetlink-request';
import { putTuple, readTuple, tupleUsable } from './ctnetlink-tuple';
import {
  BAD_LENGTH,
  BAD_ROOM,
  BAD_TUPLE,
  BAD_TYPE,
  EXPECT_CLASS,
  EXPECT_FLAGS,
  EXPECT_FN,
  EXPECT_HAS_CLASS,
  EXPECT_HAS_FLAGS,
  EXPECT_HAS_FN,
  EXPECT_HAS_HELPER,
  EXPECT_HAS_ID,
  EXPECT_HAS_MASK,
  EXPECT_HAS_MASTER,
  EXPECT_HAS_NAT,
  EXPECT_HAS_NAT_DIR,
  EXPECT_HAS_TIMEOUT,
  EXPECT_HAS_TUPLE,
  EXPECT_HAS_ZONE,
  EXPECT_HELPER,
  EXPECT_ID,
  EXPECT_MASK,
  EXPECT_MASTER,
  EXPECT_MESSAGE,
  EXPECT_NAT,
  EXPECT_NAT_DIR,
  EXPECT_PORTID,
  EXPECT_PRESENT,
  EXPECT_TIMEOUT,
  EXPECT_TUPLE,
  EXPECT_ZONE,
  TUPLE_L3,
} from './layout';

const SUBSYSTEM_EXPECT: u32 = 2;
const EXP_NEW: u32 = 0x200;
const EXP_GET: u32 = 0x201;
const EXP_DELETE: u32 = 0x202;

// linux/netfilter/nfnetlink_conntrack.h
const CTA_EXPECT_MASTER: u32 = 1;
const CTA_EXPECT_TUPLE: u32 = 2;
const CTA_EXPECT_MASK: u32 = 3;
const CTA_EXPECT_TIMEOUT: u32 = 4;
const CTA_EXPECT_ID: u32 = 5;
const CTA_EXPECT_HELP_NAME: u32 = 6;
const CTA_EXPECT_ZONE: u32 = 7;
const CTA_EXPECT_FLAGS: u32 = 8;
const CTA_EXPECT_CLASS: u32 = 9;
const CTA_EXPECT_NAT: u32 = 10;
const CTA_EXPECT_FN: u32 = 11;

const HELPER_AREA: u32 = 16;
const FN_AREA: u32 = 32;

/** The bit if `on`, else cleared: of two attributes of one type, the last wins. */
// @ts-ignore: decorator
@inline
function setBit(seen: u32, bit: u32, on: bool): u32 {
  return on ? seen | bit : seen & ~bit;
}

/** A tuple attribute into the Tuple at `tuple`. */
// @ts-ignore: decorator
@inline
function readTupleBit(
  at: usize, size: u32, family: u32, tuple: usize, seen: u32, bit: u32,
): u32 {
  readTuple(at, size, family, tuple);
  return setBit(seen, bit, tupleUsable(tuple));
}

/** CTA_EXPECT_NAT: direction, and the address and port before translation as a tuple. */
function readNat(at: usize, size: u32, family: u32, expect: usize, seen: u32): u32 {
  seen &= ~(EXPECT_HAS_NAT | EXPECT_HAS_NAT_DIR);
  const direction = findMember(at, size, 1, 8);
  const tuple = findMember(at, size, 2, 4);
  if (direction != 0) {
    store<u32>(expect + EXPECT_NAT_DIR, bswap<u32>(load<u32>(direction + 4)));
    seen |= EXPECT_HAS_NAT_DIR;
  }
  if (tuple == 0) return seen;
  const inside: u32 = <u32>load<u16>(tuple) - 4;
  return readTupleBit(tuple + 4, inside, family, expect + EXPECT_NAT, seen, EXPECT_HAS_NAT);
}

/** One be32 attribute into the word at `to`, if it is long enough. */
// @ts-ignore: decorator
@inline
function readWord(at: usize, size: u32, to: usize, seen: u32, bit: u32): u32 {
  if (size < 4) return seen;
  store<u32>(to, bswap<u32>(load<u32>(at)));
  return seen | bit;
}

/** One attribute (`attribute` is its header, `size` its payload). Returns `seen` with its bits. */
function readAttribute(
  type: u32, attribute: usize, size: u32, family: u32, expect: usize, seen: u32,
): u32 {
  const at = attribute + 4;
  switch (type) {
    case CTA_EXPECT_MASTER:
      return readTupleBit(at, size, family, expect + EXPECT_MASTER, seen, EXPECT_HAS_MASTER);
    case CTA_EXPECT_TUPLE:
      return readTupleBit(at, size, family, expect + EXPECT_TUPLE, seen, EXPECT_HAS_TUPLE);
    case CTA_EXPECT_MASK:
      return readTupleBit(at, size, family, expect + EXPECT_MASK, seen, EXPECT_HAS_MASK);
    case CTA_EXPECT_TIMEOUT:
      return readWord(at, size, expect + EXPECT_TIMEOUT, seen, EXPECT_HAS_TIMEOUT);
    case CTA_EXPECT_ID:
      return readWord(at, size, expect + EXPECT_ID, seen, EXPECT_HAS_ID);
    case CTA_EXPECT_FLAGS:
      return readWord(at, size, expect + EXPECT_FLAGS, seen, EXPECT_HAS_FLAGS);
    case CTA_EXPECT_CLASS:
      return readWord(at, size, expect + EXPECT_CLASS, seen, EXPECT_HAS_CLASS);
    case CTA_EXPECT_NAT:
      return readNat(at, size, family, expect, seen);
    case CTA_EXPECT_ZONE: {
      if (size < 2) return seen;
      const zone = bswap<u16>(load<u16>(at));
      store<u16>(expect + EXPECT_ZONE, zone);
      return setBit(seen, EXPECT_HAS_ZONE, zone != 0); // zone 0 is no zone
    }
    case CTA_EXPECT_HELP_NAME: {
      const length = readText(attribute, expect + EXPECT_HELPER, HELPER_AREA);
      return setBit(seen, EXPECT_HAS_HELPER, length > 0 && length < HELPER_AREA);
    }
    case CTA_EXPECT_FN: {
      const length = readText(attribute, expect + EXPECT_FN, FN_AREA);
      return setBit(seen, EXPECT_HAS_FN, length > 0 && length < FN_AREA);
    }
  }
  return seen;
}

/**
 * Reads the netlink message at `msg` (nlmsghdr first, at most `len` bytes) of subsystem 2 into the
 * expectation at `expect`. EXPECT_PRESENT is set anew; fields of absent attributes keep what they
 * held. Returns 0, BAD_LENGTH, BAD_TYPE (another subsystem) or BAD_TUPLE (no usable expected
 * tuple).
 */
export function decodeExpect(msg: usize, len: u32, expect: usize): i32 {
  if (len < HEADER) return BAD_LENGTH;
  const length = load<u32>(msg);
  if (length < HEADER || length > len) return BAD_LENGTH;
  if (load<u8>(msg, 5) != SUBSYSTEM_EXPECT) return BAD_TYPE;
  store<u32>(expect + EXPECT_PORTID, load<u32>(msg, 12));
  store<u32>(expect + EXPECT_MESSAGE, load<u32>(msg, 4)); // type and flags
  const family: u32 = load<u8>(msg, 16);
  let at = msg + HEADER;
  let left = length - HEADER;
  let seen: u32 = 0;
  while (left >= 4) {
    const head = load<u32>(at);
    const size = head & 0xffff;
    if (size < 4 || size > left) break;
    seen = readAttribute((head >> 16) & TYPE_MASK, at, size - 4, family, expect, seen);
    const step = (size + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  store<u32>(expect + EXPECT_PRESENT, seen);
  return seen & EXPECT_HAS_TUPLE ? 0 : BAD_TUPLE;
}

/** Whether the tuple at `tuple` is there (`has`), usable, and of the message's family. */
function fits(has: u32, bit: u32, tuple: usize, family: u32): bool {
  return (has & bit) != 0 && tupleUsable(tuple) && load<u8>(tuple, TUPLE_L3) == family;
}

/** What creates or updates an expectation, besides its tuple and zone. */
function putAnnounced(at: usize, expect: usize, has: u32, family: u32): usize {
  at = putTuple(at, CTA_EXPECT_MASK, expect + EXPECT_MASK, 0);
  at = putTuple(at, CTA_EXPECT_MASTER, expect + EXPECT_MASTER, 0);
  // The kernel wants both members of the translation or none.
  if (has & EXPECT_HAS_NAT_DIR && fits(has, EXPECT_HAS_NAT, expect + EXPECT_NAT, family)) {
    let end = putWord(at + 4, 1, load<u32>(expect, EXPECT_NAT_DIR));
    end = putTuple(end, 2, expect + EXPECT_NAT, 0);
    at = closeNest(at, CTA_EXPECT_NAT, end);
  }
  if (has & EXPECT_HAS_TIMEOUT) {
    at = putWord(at, CTA_EXPECT_TIMEOUT, max<u32>(load<u32>(expect, EXPECT_TIMEOUT), 1));
  }
  if (has & EXPECT_HAS_FLAGS) at = putWord(at, CTA_EXPECT_FLAGS, load<u32>(expect, EXPECT_FLAGS));
  if (has & EXPECT_HAS_CLASS) at = putWord(at, CTA_EXPECT_CLASS, load<u32>(expect, EXPECT_CLASS));
  if (has & EXPECT_HAS_HELPER && load<u8>(expect, EXPECT_HELPER) != 0) {
    at = putText(at, CTA_EXPECT_HELP_NAME, expect + EXPECT_HELPER, HELPER_AREA);
  }
  if (has & EXPECT_HAS_FN && load<u8>(expect, EXPECT_FN) != 0) {
    at = putText(at, CTA_EXPECT_FN, expect + EXPECT_FN, FN_AREA);
  }
  return at;
}

/**
 * Writes the request `kind` (REQUEST_* of ctnetlink-request.ts) for the expectation at `expect` to
 * `out`. `nlflags` are the flags of the header besides REQUEST. Returns the length (a multiple of
 * 4), BAD_ROOM when `room` is below REQUEST_ROOM, BAD_TYPE for an unknown kind, or BAD_TUPLE
 * without a usable expected tuple or (CREATE, UPDATE) mask or master: the kernel wants all three
 * even for an update. DELETE and GET are the expected tuple and its zone alone.
 *
 * The kernel ignores timeout and helper of a CREATE (its helper's policy holds); an UPDATE sets the
 * timeout.
 */
export function encodeExpectRequest(
  expect: usize, out: usize, room: u32, kind: i32, seq: u32, nlflags: u32,
): i32 {
  if (room < REQUEST_ROOM) return BAD_ROOM;
  const has = load<u32>(expect, EXPECT_PRESENT);
  const family: u32 = load<u8>(expect, EXPECT_TUPLE + TUPLE_L3);
  if (!fits(has, EXPECT_HAS_TUPLE, expect + EXPECT_TUPLE, family)) return BAD_TUPLE;
  let at = putTuple(out + HEADER, CTA_EXPECT_TUPLE, expect + EXPECT_TUPLE, 0);
  if (has & EXPECT_HAS_ZONE) {
    at = putPair(at, CTA_EXPECT_ZONE, bswap<u16>(load<u16>(expect, EXPECT_ZONE)));
  }
  if (kind == REQUEST_DELETE) return putHeader(out, at, EXP_DELETE, nlflags, seq, family);
  if (kind == REQUEST_GET) return putHeader(out, at, EXP_GET, nlflags, seq, family);
  if (kind != REQUEST_CREATE && kind != REQUEST_UPDATE) return BAD_TYPE;
  if (
    !fits(has, EXPECT_HAS_MASK, expect + EXPECT_MASK, family) ||
    !fits(has, EXPECT_HAS_MASTER, expect + EXPECT_MASTER, family)
  ) {
    return BAD_TUPLE;
  }
  at = putAnnounced(at, expect, has, family);
  return putHeader(out, at, EXP_NEW, nlflags, seq, family);
}
