// What TCP links could not send yet: whole datagrams, first in, first out, in slots of the arena.
// While no connection stands, up to ErrorQueueLength slots are kept and the oldest goes when one
// more comes. While one stands, it holds at most the datagram that the kernel took in part; the rest
// of it leaves before anything else, or the peer could never tell messages apart again.
//
//   slots   ┌────────┬────────┬────────┬────────┐
//           │ sent ▓ │  next  │  tail… │  free  │     ▓ bytes of the head that have left: `written`
//           └────────┴────────┴────────┴────────┘
//             first                                  a stream has no datagrams: what fits goes into
//                                                    the tail's slot, so a heartbeat costs 8 bytes
//
// Main owns it; one for all links, so that what waits follows the change to another link.

import type { SlotArea } from '../cache/arena.js';

export class Backlog {
  private readonly lengths: Uint32Array;
  private first = 0;
  /** Slots in use. */
  elements = 0;
  /** Bytes of the first slot that have left. */
  written = 0;
  /** Slots given up because one more came. */
  dropped = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly area: SlotArea,
  ) {
    this.lengths = new Uint32Array(area.count);
  }

  get capacity(): number {
    return this.area.count;
  }

  /** Keeps `length` bytes at `address`; of these, `written` have left already. */
  push(address: number, length: number, written = 0): void {
    const { area, lengths } = this;
    if (this.elements > 0) {
      const tail = (this.first + this.elements - 1) % area.count;
      const used = lengths[tail]!;
      if (used + length <= area.slotSize) {
        this.copy(address, length, tail, used);
        return;
      }
    }
    if (this.elements === area.count) {
      this.remove();
      this.dropped++;
    }
    const slot = (this.first + this.elements) % area.count;
    lengths[slot] = 0;
    this.copy(address, length, slot, 0);
    if (this.elements++ === 0) this.written = written;
  }

  /** Address and length of what leaves next; only of a backlog that is not empty. */
  get address(): number {
    return this.area.slots + this.first * this.area.slotSize + this.written;
  }

  get length(): number {
    return this.lengths[this.first]! - this.written;
  }

  /** `count` bytes of the head have left. */
  advance(count: number): void {
    this.written += count;
    if (this.written >= this.lengths[this.first]!) this.remove();
  }

  /** The connection is gone: on the next one the head leaves from its beginning. */
  rewind(): void {
    this.written = 0;
  }

  private remove(): void {
    this.first = (this.first + 1) % this.area.count;
    this.elements--;
    this.written = 0;
  }

  private copy(address: number, length: number, slot: number, offset: number): void {
    const to = this.area.slots + slot * this.area.slotSize + offset;
    this.bytes.copyWithin(to, address, address + length);
    this.lengths[slot] = offset + length;
  }
}
