// Control messages on their way out: what is to be acknowledged, asked for, answered or told waits
// here until a datagram takes it. Their tails (tail.ts) are made when they leave, so that they tell
// how things are then.

import type { Arena } from '../cache/arena.js';
import type { Core } from '../cache/wasm.js';
import type { Peer } from './peers.js';
import { addresseesPart, appendTail, type Part, tailLength } from './tail.js';

/** Largest control message without its tail. */
const LENGTH = 16;
/** Most bytes of a datagram of control messages. */
const ROOM = 1400;

export interface ControlMessage {
  flags: number;
  from: number;
  to: number;
  /** Slot of a control message that is sent a second time. */
  again?: number;
  /** Whom it is meant for, in a multicast group. */
  peer?: Peer | undefined;
  /** What stands in its tail, apart from the beacon. */
  parts?: readonly Part[];
  /** Its tail tells who we are and what we hold, as of the moment it leaves. */
  beacon?: boolean;
}

export interface ControlsParts {
  arena: Arena;
  core: Core;
  /** A multicast group: messages name whom they are meant for. */
  group: boolean;
  /** What a beacon tells in any case, as of now. */
  told: () => readonly Part[];
  /** What it tells besides, in `room` bytes. */
  more: (room: number) => readonly Part[];
}

export class Controls {
  private readonly waiting: ControlMessage[] = [];

  constructor(private readonly parts: ControlsParts) {}

  get count(): number {
    return this.waiting.length;
  }

  push(message: ControlMessage): void {
    this.waiting.push(message);
  }

  /** The message at `index` of those that wait tells who we are. */
  makeBeacon(index: number): void {
    this.waiting[index]!.beacon = true;
  }

  /** Only these are still of use. */
  keep(isUseful: (message: ControlMessage) => boolean): void {
    this.waiting.splice(0, this.waiting.length, ...this.waiting.filter(isUseful));
  }

  /** Room that the tail of a message has for parts of its own, in bytes. */
  get tailRoom(): number {
    return this.room - LENGTH - tailLength([]);
  }

  private get room(): number {
    return Math.min(this.parts.arena.limits.payloadMax, ROOM);
  }

  /** Numbers as many as fit a datagram and writes them to the arena's place for it; its bytes. */
  fill(): number {
    const { arena, core, group } = this.parts;
    const { room, waiting } = this;
    let used = 0;
    let taken = 0;
    for (; taken < waiting.length && used + LENGTH <= room; taken++) {
      const message = waiting[taken]!;
      const parts = this.tailParts(message, room - LENGTH);
      const tail = parts.length === 0 ? 0 : tailLength(parts);
      if (used > 0 && used + LENGTH + tail > room) break; // in the next datagram
      const { from, to, again, peer } = message;
      // The place of the addressee is kept with what may have to be sent again.
      const flags = group && peer ? message.flags | ((peer.index + 1) << 8) : message.flags;
      const out = arena.control + used;
      const length =
        again === undefined
          ? core.senderControl(arena.sender, out, flags, from, to)
          : core.senderControlAgain(arena.sender, out, again);
      used += tail === 0 ? length : appendTail(arena.view, out, length, parts);
    }
    waiting.splice(0, taken);
    return used;
  }

  /** The parts of a message's tail, no more of them than fit `room` bytes. */
  private tailParts({ beacon, parts: given = [], peer }: ControlMessage, room: number): Part[] {
    const named = this.parts.group ? peer?.identity : undefined;
    const parts = named === undefined ? [...given] : [addresseesPart([named.node]), ...given];
    if (!beacon) return tailLength(parts) <= room ? parts : [];
    const told = [...parts, ...this.parts.told()];
    const left = room - tailLength(told);
    if (left < 0) return [];
    const more = this.parts.more(left);
    return tailLength(more) - tailLength([]) <= left ? [...told, ...more] : told;
  }
}
