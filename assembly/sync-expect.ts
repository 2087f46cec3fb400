// Sync messages of expectations ⇄ the wide Expectation of layout.ts.
//
// An expectation is the connection that a helper (ftp, sip, ...) announced: four tuples (its
// master, itself, the mask of what may differ, the NAT to apply) and a few words. The attribute
// numbers are a space of their own, not those of flows; the rules of the walk are the same. The
// caller owns all memory, nothing blocks. Source: docs/wire-protocol.md.
//
// No port here is swapped, and there is no attribute for a zone, for an IPv6 NAT address, or for
// the keys of GRE.

import {
  BAD_LENGTH,
  BAD_ROOM,
  BAD_SIZE,
  BAD_TUPLE,
  BAD_TYPE,
  EXPECT_CLASS,
  EXPECT_FLAGS,
  EXPECT_FN,
  EXPECT_HAS_CLASS,
  EXPECT_HAS_FLAGS,
  EXPECT_HAS_FN,
  EXPECT_HAS_HELPER,
  EXPECT_HAS_MASK,
  EXPECT_HAS_MASTER,
  EXPECT_HAS_NAT,
  EXPECT_HAS_NAT_DIR,
  EXPECT_HAS_TIMEOUT,
  EXPECT_HAS_TUPLE,
  EXPECT_HELPER,
  EXPECT_MASK,
  EXPECT_MASTER,
  EXPECT_NAT,
  EXPECT_NAT_DIR,
  EXPECT_PRESENT,
  EXPECT_TIMEOUT,
  EXPECT_TUPLE,
  KNOWN_L3,
  KNOWN_L4,
  KNOWN_PORTS,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
} from './layout';
import {
  closeTuple,
  FN_PAYLOAD,
  HELPER_PAYLOAD,
  INET,
  nameLength,
  padded,
  putAddresses,
  putName,
  putRaw32,
  putU8,
  putU32,
  readAddresses4,
  readAddresses6,
  readName,
  SYNC_OMIT_TIMEOUT,
  sendsPorts,
} from './sync-attribute';

// Attribute types of EXP messages. Each of the first three tuples has four: IPv4 addresses, IPv6
// addresses, protocol, ports.
const MASTER: u32 = 0; // to 3
const EXPECTED: u32 = 4; // to 7
const MASK: u32 = 8; // to 11
const TIMEOUT: u32 = 12;
const FLAGS: u32 = 13;
const CLASS: u32 = 14;
const NAT_IPV4: u32 = 15;
const NAT_PORT: u32 = 16;
const NAT_L4PROTO: u32 = 17;
const NAT_DIR: u32 = 18;
const HELPER_NAME: u32 = 19;
const FN: u32 = 20;

// Offsets within a tuple's four attributes.
const OF_IPV4: u32 = 0;
const OF_IPV6: u32 = 1;
const OF_L4PROTO: u32 = 2;
const OF_PORT: u32 = 3;

const HEADER: u32 = 8;
const FIELD_HELPER: u32 = 16;
const FIELD_FN: u32 = 32;

/**
 * Decodes the EXP message of `len` bytes at `msg` (header included) into the Expectation at
 * `expect` and returns 0, or BAD_LENGTH, BAD_SIZE, BAD_TYPE or BAD_TUPLE (master, expected tuple or
 * mask is incomplete). After a refusal the Expectation is empty. The NAT tuple of an IPv6
 * expectation arrives without its address: KNOWN_L3 is then not set in it.
 */
export function decodeSyncExpect(msg: usize, len: u32, expect: usize): i32 {
  store<u32>(expect, 0, EXPECT_PRESENT);
  if (len < HEADER) return BAD_LENGTH;
  let seen: u32 = 0;
  let at = msg + HEADER;
  let remain = <i32>(len - HEADER);
  while (remain > 4) {
    const size: u32 = bswap<u16>(load<u16>(at));
    const type: u32 = bswap<u16>(load<u16>(at, 2));
    if (<i32>size > remain || size < 4) return BAD_LENGTH;
    if (type > FN) return BAD_TYPE;
    if (!isLength(size, type)) return BAD_SIZE;
    seen |= 1 << type;
    if (type < TIMEOUT) readTuple(tupleOf(expect, type), type & 3, at + 4);
    else if (!readField(expect, type, size - 4, at + 4)) seen &= ~(1 << type);
    at += padded(size);
    remain -= padded(size);
  }
  return finish(expect, seen);
}

// Fixed lengths are exact, the two names have a limit.
function isLength(size: u32, type: u32): bool {
  if (type < TIMEOUT) {
    const part = type & 3;
    if (part == OF_IPV4) return size == 12;
    if (part == OF_IPV6) return size == 36;
    return size == <u32>(part == OF_PORT ? 8 : 5);
  }
  switch (type) {
    case NAT_IPV4:
      return size == 12;
    case NAT_L4PROTO:
      return size == 5;
    case HELPER_NAME:
      return size <= 4 + HELPER_PAYLOAD;
    case FN:
      return size <= 4 + FN_PAYLOAD;
    default:
      return size == 8;
  }
}

// @ts-ignore: decorator
@inline
function tupleOf(expect: usize, type: u32): usize {
  if (type < EXPECTED) return expect + EXPECT_MASTER;
  return expect + (type < MASK ? EXPECT_TUPLE : EXPECT_MASK);
}

function readTuple(tuple: usize, part: u32, payload: usize): void {
  if (part == OF_IPV4) readAddresses4(tuple, payload);
  else if (part == OF_IPV6) readAddresses6(tuple, payload);
  else if (part == OF_L4PROTO) store<u8>(tuple, load<u8>(payload), TUPLE_L4);
  else store<u32>(tuple, load<u32>(payload), TUPLE_SPORT);
}

// One of the attributes from TIMEOUT on; false if it says nothing (an empty name).
function readField(expect: usize, type: u32, bytes: u32, payload: usize): bool {
  switch (type) {
    case TIMEOUT:
      store<u32>(expect, bswap<u32>(load<u32>(payload)), EXPECT_TIMEOUT);
      return true;
    case FLAGS:
      store<u32>(expect, bswap<u32>(load<u32>(payload)), EXPECT_FLAGS);
      return true;
    case CLASS:
      store<u32>(expect, bswap<u32>(load<u32>(payload)), EXPECT_CLASS);
      return true;
    case NAT_IPV4:
      readAddresses4(expect + EXPECT_NAT, payload);
      return true;
    case NAT_PORT:
      store<u32>(expect, load<u32>(payload), EXPECT_NAT + TUPLE_SPORT);
      return true;
    case NAT_L4PROTO:
      store<u8>(expect, load<u8>(payload), EXPECT_NAT + TUPLE_L4);
      return true;
    case NAT_DIR:
      store<u32>(expect, bswap<u32>(load<u32>(payload)), EXPECT_NAT_DIR);
      return true;
    case HELPER_NAME:
      return readName(expect + EXPECT_HELPER, FIELD_HELPER, payload, bytes) != 0;
    default:
      return readName(expect + EXPECT_FN, FIELD_FN, payload, bytes) != 0;
  }
}

function finish(expect: usize, seen: u32): i32 {
  if (!closeRequired(expect + EXPECT_MASTER, seen >> MASTER)) return BAD_TUPLE;
  if (!closeRequired(expect + EXPECT_TUPLE, seen >> EXPECTED)) return BAD_TUPLE;
  if (!closeRequired(expect + EXPECT_MASK, seen >> MASK)) return BAD_TUPLE;
  let present = EXPECT_HAS_MASTER | EXPECT_HAS_TUPLE | EXPECT_HAS_MASK;
  present |= when(seen, TIMEOUT, EXPECT_HAS_TIMEOUT) | when(seen, FLAGS, EXPECT_HAS_FLAGS);
  present |= when(seen, CLASS, EXPECT_HAS_CLASS) | when(seen, NAT_DIR, EXPECT_HAS_NAT_DIR);
  present |= when(seen, HELPER_NAME, EXPECT_HAS_HELPER) | when(seen, FN, EXPECT_HAS_FN);
  if (seen & (1 << NAT_L4PROTO)) {
    const address = (seen & (1 << NAT_IPV4)) != 0;
    const nat = expect + EXPECT_NAT;
    closeTuple(nat, address, true, (seen & (1 << NAT_PORT)) != 0);
    present |= EXPECT_HAS_NAT;
  }
  store<u32>(expect, present, EXPECT_PRESENT);
  return 0;
}

// Completes a tuple of which `seen` holds the four attributes; false if one is missing.
function closeRequired(tuple: usize, seen: u32): bool {
  const l3 = (seen & ((1 << OF_IPV4) | (1 << OF_IPV6))) != 0;
  const l4 = (seen & (1 << OF_L4PROTO)) != 0;
  const known = closeTuple(tuple, l3, l4, (seen & (1 << OF_PORT)) != 0);
  return isComplete(tuple, known);
}

// @ts-ignore: decorator
@inline
function isComplete(tuple: usize, known: u32): bool {
  if ((known & (KNOWN_L3 | KNOWN_L4)) != (KNOWN_L3 | KNOWN_L4)) return false;
  return !sendsPorts(load<u8>(tuple, TUPLE_L4)) || (known & KNOWN_PORTS) != 0;
}

// @ts-ignore: decorator
@inline
function when(seen: u32, type: u32, has: u32): u32 {
  return ((seen >> type) & 1) * has;
}

// ---------------------------------------------------------------------------------------------

/**
 * Writes the EXP message `type` (3 NEW, 4 UPD, 5 DEL) of the Expectation at `expect` to `out` and
 * returns its length, or BAD_TUPLE or BAD_ROOM (nothing was written). `options`: SYNC_OMIT_TIMEOUT.
 * Flags and sequence number are 0.
 */
export function encodeSyncExpect(
  expect: usize,
  out: usize,
  room: u32,
  type: i32,
  options: u32,
): i32 {
  const present = load<u32>(expect, EXPECT_PRESENT);
  if (!hasTuples(expect, present)) return BAD_TUPLE;
  if (room < encodedLength(expect, present, options)) return BAD_ROOM;
  let at = putTuple(out + HEADER, expect + EXPECT_MASTER, MASTER);
  at = putTuple(at, expect + EXPECT_TUPLE, EXPECTED);
  at = putTuple(at, expect + EXPECT_MASK, MASK);
  if (sendsTimeout(present, options)) at = putU32(at, TIMEOUT, load<u32>(expect, EXPECT_TIMEOUT));
  at = putU32(at, FLAGS, present & EXPECT_HAS_FLAGS ? load<u32>(expect, EXPECT_FLAGS) : 0);
  if (present & EXPECT_HAS_CLASS) at = putU32(at, CLASS, load<u32>(expect, EXPECT_CLASS));
  if (present & EXPECT_HAS_NAT) at = putNat(at, expect, present);
  const helper = nameToSend(present, EXPECT_HAS_HELPER, expect + EXPECT_HELPER, HELPER_PAYLOAD);
  if (helper) at = putName(at, HELPER_NAME, expect + EXPECT_HELPER, helper);
  const fn = nameToSend(present, EXPECT_HAS_FN, expect + EXPECT_FN, FN_PAYLOAD);
  if (fn) at = putName(at, FN, expect + EXPECT_FN, fn);
  const len = <u32>(at - out);
  store<u32>(out, 0x10 | (type & 15) | (<u32>bswap<u16>(<u16>len) << 16));
  store<u32>(out, 0, 4);
  return len;
}

function hasTuples(expect: usize, present: u32): bool {
  const tuples = EXPECT_HAS_MASTER | EXPECT_HAS_TUPLE | EXPECT_HAS_MASK;
  if ((present & tuples) != tuples) return false;
  const master = expect + EXPECT_MASTER;
  const tuple = expect + EXPECT_TUPLE;
  const mask = expect + EXPECT_MASK;
  return (
    isComplete(master, load<u8>(master, TUPLE_KNOWN)) &&
    isComplete(tuple, load<u8>(tuple, TUPLE_KNOWN)) &&
    isComplete(mask, load<u8>(mask, TUPLE_KNOWN))
  );
}

// @ts-ignore: decorator
@inline
function sendsTimeout(present: u32, options: u32): bool {
  return (present & EXPECT_HAS_TIMEOUT) != 0 && !(options & SYNC_OMIT_TIMEOUT);
}

// A complete tuple: addresses, protocol, and ports if its own protocol has them.
function putTuple(at: usize, tuple: usize, type: u32): usize {
  const l4: u32 = load<u8>(tuple, TUPLE_L4);
  at = putAddresses(at, tuple, type + OF_IPV4, type + OF_IPV6);
  at = putU8(at, type + OF_L4PROTO, l4);
  return sendsPorts(l4) ? putRaw32(at, type + OF_PORT, load<u32>(tuple, TUPLE_SPORT)) : at;
}

// Protocol before ports, although their numbers say otherwise: the order of the C daemon.
function putNat(at: usize, expect: usize, present: u32): usize {
  const nat = expect + EXPECT_NAT;
  const l4: u32 = load<u8>(nat, TUPLE_L4);
  if (natAddress(nat)) at = putAddresses(at, nat, NAT_IPV4, NAT_IPV4);
  at = putU8(at, NAT_L4PROTO, l4);
  if (sendsPorts(l4)) at = putRaw32(at, NAT_PORT, load<u32>(nat, TUPLE_SPORT));
  return putU32(at, NAT_DIR, present & EXPECT_HAS_NAT_DIR ? load<u32>(expect, EXPECT_NAT_DIR) : 0);
}

// @ts-ignore: decorator
@inline
function natAddress(nat: usize): bool {
  return (load<u8>(nat, TUPLE_KNOWN) & KNOWN_L3) != 0 && load<u8>(nat, TUPLE_L3) == INET;
}

// Characters of a name to send, 0 for none. A name that does not fit with its NUL into what a C
// receiver takes is left out: it would refuse the whole message.
function nameToSend(present: u32, has: u32, name: usize, payload: u32): u32 {
  if (!(present & has)) return 0;
  const chars = nameLength(name, payload);
  return chars < payload ? chars : 0;
}

// What encodeSyncExpect() would write, in bytes.
function encodedLength(expect: usize, present: u32, options: u32): u32 {
  let len = HEADER + tupleLength(expect + EXPECT_MASTER) + tupleLength(expect + EXPECT_TUPLE);
  len += tupleLength(expect + EXPECT_MASK) + 8;
  if (sendsTimeout(present, options)) len += 8;
  if (present & EXPECT_HAS_CLASS) len += 8;
  if (present & EXPECT_HAS_NAT) {
    const nat = expect + EXPECT_NAT;
    len += (natAddress(nat) ? 12 : 0) + 8 + (sendsPorts(load<u8>(nat, TUPLE_L4)) ? 8 : 0) + 8;
  }
  const helper = nameToSend(present, EXPECT_HAS_HELPER, expect + EXPECT_HELPER, HELPER_PAYLOAD);
  if (helper) len += 4 + padded(helper + 1);
  const fn = nameToSend(present, EXPECT_HAS_FN, expect + EXPECT_FN, FN_PAYLOAD);
  if (fn) len += 4 + padded(fn + 1);
  return len;
}

// @ts-ignore: decorator
@inline
function tupleLength(tuple: usize): u32 {
  const addresses: u32 = load<u8>(tuple, TUPLE_L3) == INET ? 12 : 36;
  return addresses + 8 + (sendsPorts(load<u8>(tuple, TUPLE_L4)) ? 8 : 0);
}
