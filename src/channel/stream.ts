// Messages out of a byte stream: each read is cut behind its last whole message, and what is left
// opens the next slot. So the rest of the daemon sees a stream as datagrams of whole messages.
//
//   slot n      ┌ carry ┬ message ┬ message ┬ mess┐     carry: the end of the read before
//               └───────┴─────────┴─────────┴─────┘
//   slot n + 1  ┌ mess ┬ age ┬ message …                a message is at most 65535 bytes: it always
//               └──────┴─────┴──────────                fits one slot of 65536
//
// The carry belongs to one connection: reset() on every new one. There is no way to find the next
// message after a bad length, so that ends the connection. Main owns it; docs/wire-protocol.md.

import * as L from '../../assembly/layout.js';
import type { Arena, MessageVector } from '../cache/arena.js';

/** Reads at most `room` bytes to `address`: their number, 0 at the end, -1 when none are there now. */
export type Read = (address: number, room: number) => number;

/** Length of the message at `ptr`, 0 when more bytes are needed, negative when it is none. */
export type FrameLength = (ptr: number, remain: number) => number;

export const BROKEN = 'broken';
export const ENDED = 'ended';

/** Slots one call fills at most: a megabyte. */
const SLOTS = 16;

export class StreamReader {
  private carried = 0;

  /** `carry`: address of as many bytes as a slot has. */
  constructor(
    private readonly arena: Arena,
    private readonly carry: number,
    private readonly frameLength: FrameLength,
  ) {}

  reset(): void {
    this.carried = 0;
  }

  /**
   * Fills slots of `vector` until `read` gives less than it was offered. Returns how many hold whole
   * messages, and why the connection is at its end, if it is: ENDED by the other side, BROKEN when
   * there was no message where one should begin. What came before is good either way.
   */
  fill(vector: MessageVector, read: Read): { slots: number; end?: typeof BROKEN | typeof ENDED } {
    const { arena } = this;
    let slots = 0;
    for (let reads = 0; reads < SLOTS && slots < vector.count; reads++) {
      const slot = vector.slots + slots * vector.slotSize;
      arena.bytes.copyWithin(slot, this.carry, this.carry + this.carried);
      const room = vector.slotSize - this.carried;
      const count = read(slot + this.carried, room);
      if (count === 0) return { slots, end: ENDED };
      if (count < 0) break;
      const total = this.carried + count;
      const whole = this.cut(slot, total);
      if (whole.length > 0) {
        const header = vector.headers + slots * L.MMSG_SIZE;
        arena.set(header + L.MMSG_LEN, whole.length);
        arena.set(header + L.MMSG_FLAGS, 0);
        slots++;
      }
      if (whole.broken) return { slots, end: BROKEN };
      if (count < room) break;
    }
    return { slots };
  }

  /** Bytes of whole messages among `total` at `slot`; the rest is carried. */
  private cut(slot: number, total: number): { length: number; broken: boolean } {
    let at = 0;
    while (at < total) {
      const length = this.frameLength(slot + at, total - at);
      if (length < 0) return { length: at, broken: true };
      if (length === 0) break;
      at += length;
    }
    this.carried = total - at;
    this.arena.bytes.copyWithin(this.carry, slot + at, slot + total);
    return { length: at, broken: false };
  }
}
