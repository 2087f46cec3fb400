// Sequence numbers and the resend queue, on main.
//
// A message gets its number at the last moment, when its datagram is about to leave; shards encode
// it with the field blank. What was sent is not kept as bytes: the ring remembers, per number, which
// record it spoke of. When the peer misses number s, the record is asked to speak again, with its
// state of then and a new number, but only if s is still the last number the record was sent with:
// otherwise a newer message has already told more. docs/wire-protocol.md, "Sequence numbers".

import {
  FLAG_ACK,
  FLAG_HELLO,
  FLAG_HELLO_BACK,
  FLAG_NACK,
  FLAG_RESYNC,
  MSG_CT_DEL,
  MSG_EXP_DEL,
  frameFlags,
  frameType,
  putControl,
  setFrameFlags,
  setFrameSeq,
} from './framing';
import {
  CONTROL_SLOT_FLAGS,
  CONTROL_SLOT_FROM,
  CONTROL_SLOT_SEQUENCE,
  CONTROL_SLOT_SIZE,
  CONTROL_SLOT_TO,
  CONTROL_SLOTS,
  ENTRY_CONTROL,
  ENTRY_DEL,
  OUT_MESSAGES,
  OUT_PAYLOAD,
  RECORD_SEQUENCE,
  RECORD_UNACKED,
  SENDER_AGAIN,
  SENDER_AGAIN_COUNT,
  SENDER_BITS,
  SENDER_CONTROL_AGAIN,
  SENDER_CONTROL_AGAIN_COUNT,
  SENDER_CONTROL_NEXT,
  SENDER_CONTROLS,
  SENDER_FLAGS,
  SENDER_HELD,
  SENDER_HELD_CONTROLS,
  SENDER_LIMIT,
  SENDER_MASK,
  SENDER_NEXT,
  SENDER_ONCE,
  SENDER_PUSHED_OUT,
  SENDER_REAP,
  SENDER_REQUIRED,
  SENDER_REAP_COUNT,
  SENDER_RESENT,
  SENDER_RING,
  SENDER_SENT,
  SENDER_TAIL,
  SENDER_TRACKED,
} from './layout';
import { bump } from './table';

// @ts-ignore: decorator
@inline
function slotOf(sender: usize, sequence: u32): usize {
  const at = sequence & load<u32>(sender, SENDER_MASK);
  return <usize>load<u32>(sender, SENDER_RING) + (<usize>at << 2);
}

// @ts-ignore: decorator
@inline
function append(sender: usize, list: usize, count: usize, value: u32): void {
  const n = load<u32>(sender + count);
  store<u32>(<usize>load<u32>(sender + list) + (<usize>n << 2), value);
  store<u32>(sender + count, n + 1);
}

/** Takes the next sequence number and makes room for it in the ring. */
function takeSequence(sender: usize): u32 {
  const sequence = load<u32>(sender, SENDER_NEXT);
  store<u32>(sender, sequence + 1, SENDER_NEXT);
  bump(sender + SENDER_SENT);
  if (load<u32>(sender, SENDER_TRACKED)) {
    // The ring is as long as its mask says: what is that old is given up.
    while (sequence - load<u32>(sender, SENDER_TAIL) > load<u32>(sender, SENDER_MASK)) pushOut(sender);
  }
  return sequence;
}

function hold(sender: usize, sequence: u32, entry: u32): void {
  store<u32>(slotOf(sender, sequence), entry);
  const held = load<u32>(sender, SENDER_HELD) + 1;
  store<u32>(sender, held, SENDER_HELD);
  if (held > load<u32>(sender, SENDER_LIMIT)) {
    while (load<u32>(sender, SENDER_HELD) >= held) pushOut(sender);
  }
}

/** Gives up the oldest number. */
function pushOut(sender: usize): void {
  const tail = load<u32>(sender, SENDER_TAIL);
  const slot = slotOf(sender, tail);
  const entry = load<u32>(slot);
  if (entry != 0) {
    bump(sender + SENDER_PUSHED_OUT);
    release(sender, slot, entry, tail);
  }
  store<u32>(sender, tail + 1, SENDER_TAIL);
}

/** Lets go of an entry; a dead record whose DEL it was may now be removed. */
function release(sender: usize, slot: usize, entry: u32, sequence: u32): void {
  store<u32>(slot, 0);
  clearBits(sender, sequence);
  store<u32>(sender, load<u32>(sender, SENDER_HELD) - 1, SENDER_HELD);
  if (entry & ENTRY_CONTROL) {
    releaseControl(sender);
    return;
  }
  const record = <usize>(entry & ~15);
  if (load<u32>(record, RECORD_SEQUENCE) != sequence || !load<u8>(record, RECORD_UNACKED)) return;
  store<u8>(record, 0, RECORD_UNACKED);
  if (entry & ENTRY_DEL) append(sender, SENDER_REAP, SENDER_REAP_COUNT, <u32>record);
}

// In a multicast group an entry waits for several peers: each has a bit. An entry that is not held
// has none set.

// @ts-ignore: decorator
@inline
function bitsOf(sender: usize, sequence: u32): usize {
  const at = sequence & load<u32>(sender, SENDER_MASK);
  return <usize>load<u32>(sender, SENDER_BITS) + (<usize>at << 1);
}

// @ts-ignore: decorator
@inline
function clearBits(sender: usize, sequence: u32): void {
  if (load<u32>(sender, SENDER_BITS)) store<u16>(bitsOf(sender, sequence), 0);
}

/** Those with `bits` have it: does nobody wait for it any more? */
// @ts-ignore: decorator
@inline
function isSettled(sender: usize, sequence: u32, bits: u32): bool {
  if (!load<u32>(sender, SENDER_BITS) || bits == 0) return true;
  const at = bitsOf(sender, sequence);
  const all = <u32>load<u16>(at) | bits;
  store<u16>(at, <u16>all);
  const required = load<u32>(sender, SENDER_REQUIRED);
  return (all & required) == required;
}

/**
 * From now on entries wait for the peers in `required`. Who joins others is not waited for with what
 * was sent before; the first is.
 */
export function senderPeers(sender: usize, required: u32): void {
  const before = load<u32>(sender, SENDER_REQUIRED);
  const joined = before == 0 ? 0 : required & ~before;
  store<u32>(sender, required, SENDER_REQUIRED);
  if (before == 0 || required == 0) return;
  const next = load<u32>(sender, SENDER_NEXT);
  for (let s = load<u32>(sender, SENDER_TAIL); s != next; s++) {
    const slot = slotOf(sender, s);
    const entry = load<u32>(slot);
    if (entry == 0) continue;
    const at = bitsOf(sender, s);
    const all = <u32>load<u16>(at) | joined;
    store<u16>(at, <u16>all);
    if ((all & required) == required) release(sender, slot, entry, s);
  }
  advanceTail(sender);
}

function releaseControl(sender: usize): void {
  store<u32>(sender, load<u32>(sender, SENDER_HELD_CONTROLS) - 1, SENDER_HELD_CONTROLS);
}

/**
 * Numbers the messages of a filled datagram slot, sets the flags that are due, and remembers whom
 * each one spoke of (`handles`, one record address a message).
 */
export function senderStamp(sender: usize, out: usize, handles: usize): void {
  const messages = load<u32>(out, OUT_MESSAGES);
  const tracked = load<u32>(sender, SENDER_TRACKED) != 0;
  let at = out + OUT_PAYLOAD;
  for (let i: u32 = 0; i < messages; i++) {
    const sequence = takeSequence(sender);
    setFrameSeq(at, <i32>sequence);
    setFrameFlags(at, frameFlags(at) | <i32>takeFlags(sender));
    if (tracked) {
      const record = <usize>load<u32>(handles + (<usize>i << 2));
      store<u32>(record, sequence, RECORD_SEQUENCE);
      store<u8>(record, 1, RECORD_UNACKED);
      const type = frameType(at);
      const last = type == MSG_CT_DEL || type == MSG_EXP_DEL;
      hold(sender, sequence, <u32>record | (last ? ENTRY_DEL : 0));
    }
    at += <usize>bswap<u16>(load<u16>(at, 2));
  }
}

/** HELLO until the peer answered, and HELLO_BACK on one message after each HELLO of the peer. */
// @ts-ignore: decorator
@inline
function takeFlags(sender: usize): u32 {
  const flags = load<u32>(sender, SENDER_FLAGS) | load<u32>(sender, SENDER_ONCE);
  store<u32>(sender, 0, SENDER_ONCE);
  return flags;
}

/**
 * Writes a numbered control message to `out`; returns its length. ACK, NACK and RESYNC are kept for
 * resending, ALIVE is not.
 */
export function senderControl(sender: usize, out: usize, flags: i32, from: u32, to: u32): i32 {
  const sequence = takeSequence(sender);
  if (load<u32>(sender, SENDER_TRACKED) && flags & (FLAG_ACK | FLAG_NACK | FLAG_RESYNC)) {
    const index = load<u32>(sender, SENDER_CONTROL_NEXT);
    store<u32>(sender, (index + 1) % CONTROL_SLOTS, SENDER_CONTROL_NEXT);
    const slot = controlSlot(sender, index);
    store<u32>(slot, sequence, CONTROL_SLOT_SEQUENCE);
    store<u32>(slot, <u32>(flags & ~(FLAG_HELLO | FLAG_HELLO_BACK)), CONTROL_SLOT_FLAGS);
    store<u32>(slot, from, CONTROL_SLOT_FROM);
    store<u32>(slot, to, CONTROL_SLOT_TO);
    store<u32>(sender, load<u32>(sender, SENDER_HELD_CONTROLS) + 1, SENDER_HELD_CONTROLS);
    hold(sender, sequence, (index << 4) | ENTRY_CONTROL);
  }
  return putControl(out, flags | <i32>takeFlags(sender), <i32>sequence, <i32>from, <i32>to);
}

// @ts-ignore: decorator
@inline
function controlSlot(sender: usize, index: u32): usize {
  return <usize>load<u32>(sender, SENDER_CONTROLS) + <usize>index * CONTROL_SLOT_SIZE;
}

/** A second time, with a new number, the control message in slot `index`; returns its length. */
export function senderControlAgain(sender: usize, out: usize, index: u32): i32 {
  const slot = controlSlot(sender, index);
  return senderControl(
    sender,
    out,
    <i32>load<u32>(slot, CONTROL_SLOT_FLAGS),
    load<u32>(slot, CONTROL_SLOT_FROM),
    load<u32>(slot, CONTROL_SLOT_TO),
  );
}

// A peer's range clipped to what is held, tail … next - 1, as steps from the tail. A forged range
// costs no more than the ring is long: both ends are clipped before the loop, because the distance
// of two serial numbers that are not clipped may be anything.

/** The first step. */
// @ts-ignore: decorator
@inline
function clipFrom(sender: usize, from: u32): u32 {
  const ahead = from - load<u32>(sender, SENDER_TAIL);
  return <i32>ahead < 0 ? 0 : ahead;
}

/** One behind the last step. */
// @ts-ignore: decorator
@inline
function clipTo(sender: usize, to: u32): u32 {
  const tail = load<u32>(sender, SENDER_TAIL);
  const ahead = to - tail;
  return <i32>ahead < 0 ? 0 : min<u32>(ahead + 1, load<u32>(sender, SENDER_NEXT) - tail);
}

/** The peer of this bit has from … to. */
export function senderAcknowledged(sender: usize, from: u32, to: u32, bit: u32): void {
  const tail = load<u32>(sender, SENDER_TAIL);
  const end = clipTo(sender, to);
  for (let step = clipFrom(sender, from); step < end; step++) {
    const s = tail + step;
    const slot = slotOf(sender, s);
    const entry = load<u32>(slot);
    if (entry != 0 && isSettled(sender, s, bit)) release(sender, slot, entry, s);
  }
  advanceTail(sender);
}

/** The peer misses from … to: whatever still has its last word there speaks again. */
export function senderMissed(sender: usize, from: u32, to: u32): void {
  const tail = load<u32>(sender, SENDER_TAIL);
  const end = clipTo(sender, to);
  for (let step = clipFrom(sender, from); step < end; step++) {
    const s = tail + step;
    const slot = slotOf(sender, s);
    const entry = load<u32>(slot);
    if (entry == 0) continue;
    store<u32>(slot, 0);
    clearBits(sender, s);
    store<u32>(sender, load<u32>(sender, SENDER_HELD) - 1, SENDER_HELD);
    if (entry & ENTRY_CONTROL) {
      releaseControl(sender);
      const index = entry >> 4;
      if (load<u32>(controlSlot(sender, index), CONTROL_SLOT_SEQUENCE) != s) continue;
      append(sender, SENDER_CONTROL_AGAIN, SENDER_CONTROL_AGAIN_COUNT, index);
    } else {
      const record = <usize>(entry & ~15);
      if (load<u32>(record, RECORD_SEQUENCE) != s || !load<u8>(record, RECORD_UNACKED)) continue;
      append(sender, SENDER_AGAIN, SENDER_AGAIN_COUNT, <u32>record);
    }
    bump(sender + SENDER_RESENT);
  }
  advanceTail(sender);
}

/** The peer restarted: nothing sent before will ever be acknowledged. */
export function senderForget(sender: usize): void {
  const next = load<u32>(sender, SENDER_NEXT);
  for (let s = load<u32>(sender, SENDER_TAIL); s != next; s++) {
    const slot = slotOf(sender, s);
    const entry = load<u32>(slot);
    if (entry != 0) release(sender, slot, entry, s);
  }
  store<u32>(sender, next, SENDER_TAIL);
}

function advanceTail(sender: usize): void {
  const next = load<u32>(sender, SENDER_NEXT);
  let tail = load<u32>(sender, SENDER_TAIL);
  while (tail != next && load<u32>(slotOf(sender, tail)) == 0) tail++;
  store<u32>(sender, tail, SENDER_TAIL);
}
