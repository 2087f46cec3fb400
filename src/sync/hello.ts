// HELLO, both ways (FTFW): ours until every peer that is heard has answered it, and theirs. While one
// says HELLO, the other takes any number for the right one, so what is lost meanwhile is lost
// unnoticed; what is not acknowledged some time after the answer is sent again.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Controls } from './controls.js';
import { FLAG } from './flags.js';
import type { Members } from './members.js';
import type { Peer } from './peers.js';
import type { Resend } from './resend.js';
import { tailOf } from './tail.js';

/** ms that we say HELLO to those who do not answer while others have. */
const MOST = 5000;
/** ms from the peer's answer until what it has not acknowledged counts as lost: two of its ticks. */
const GRACE = 2500;
/** ms between two HELLOs of a peer that are answered. */
const PAUSE = 1000;

export interface HelloParts {
  arena: Arena;
  controls: Controls;
  resend: Resend;
  members: Members;
  /** Number of this node in its tails. */
  node: bigint;
  /** A multicast group: everybody is answered by name. */
  group: boolean;
  /** The peer (re)started. */
  onPeerStart: () => void;
}

export class Hello {
  /** ms: a peer said HELLO. */
  heardAt = Number.NEGATIVE_INFINITY;
  private answeredAt: number | undefined;
  /** Up to which number we said HELLO, until that is known to have arrived. */
  private unheard: { since: number; last: number } | undefined;

  constructor(private readonly parts: HelloParts) {}

  /** We have just started and say so with every message. */
  begin(): void {
    const { arena } = this.parts;
    arena.set(arena.sender + L.SENDER_FLAGS, FLAG.HELLO);
  }

  /** A HELLO_BACK: from the only peer, or for us, or from a C daemon, which names nobody. */
  takeAnswer(peer: Peer, message: number): void {
    const { arena, group, members, node } = this.parts;
    if (!group) {
      this.end();
      return;
    }
    const named = tailOf(arena.view, message)?.addressees;
    if (named === undefined ? peer.isOurs && members.peers.size > 1 : !named.includes(node)) return;
    peer.answered = true;
    this.answeredAt ??= members.lastReceived;
    this.endWhenAnswered(members.lastReceived);
  }

  /** HELLO ends when everybody heard has answered, or has had time enough to. */
  endWhenAnswered(now: number): void {
    if (this.answeredAt === undefined) return;
    const { peers } = this.parts.members;
    const open = peers.all.some((peer) => !peer.answered && peer.isPresent(now));
    if (open && now - this.answeredAt < MOST) return;
    this.answeredAt = undefined;
    this.end();
  }

  private end(): void {
    const { arena, resend } = this.parts;
    if (arena.get(arena.sender + L.SENDER_FLAGS) === 0) return;
    arena.set(arena.sender + L.SENDER_FLAGS, 0);
    this.unheard = { since: performance.now(), last: (resend.next - 1) >>> 0 };
  }

  /** Once a second: what was lost while we said HELLO is sent again. */
  repeatUnheard(now: number): void {
    if (this.unheard === undefined || now - this.unheard.since < GRACE) return;
    const { last } = this.unheard;
    this.unheard = undefined;
    this.parts.resend.missedUpTo(last, true);
  }

  /**
   * The peer says HELLO: it runs anew and knows nothing of what was sent before. What it never
   * acknowledged is sent again, once per start; acknowledgements of its former life are void. It is
   * answered at once: until then it says HELLO with everything, and counts no losses.
   */
  hear(peer: Peer, now: number): void {
    const { arena, controls, group, members, onPeerStart, resend } = this.parts;
    const { sender } = arena;
    this.heardAt = now;
    const greeting = !group && arena.get(sender + L.SENDER_ONCE) !== 0;
    if (!group) arena.set(sender + L.SENDER_ONCE, FLAG.HELLO_BACK);
    if (greeting || now - peer.greetedAt < PAUSE) return;
    peer.greetedAt = now;
    controls.keep((control) => control.flags === FLAG.RESYNC || (group && control.peer !== peer));
    const back = group ? FLAG.HELLO_BACK : 0;
    controls.push({ flags: FLAG.ALIVE | back, from: 0, to: 0, peer, beacon: group });
    if (group) peer.abandoned = false;
    members.require(peer);
    resend.missedUpTo((resend.next - 1) >>> 0, group);
    onPeerStart();
  }
}
