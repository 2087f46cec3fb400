// The nodes at the other end of the dedicated link: who they are, what they can do and how far they
// have come. Fed by what they say in the tails of control messages (tail.ts) and by their
// acknowledgements; read by whoever must know before it uses what a C daemon does not understand,
// and by `conntrackd -s ready`. Main owns it; a handful of objects, made when a node is first heard.
//
// A node that sends no tail is a C daemon, or one of ours that has been heard for less than a second:
// of both nothing is known, and nothing may be sent that C does not know.

import type { Holdings, Identity, Tail } from './tail.js';

/** ms without a tail, while messages come, after which a node is not the one that sent it. */
const TAIL_VALID = 5000;
/** Ranges kept of a sender whose name is not known; it tells it within a second or never. */
const ANONYMOUS_MOST = 64;
/** ms without a word after which a node counts as gone; it speaks at least once a second. */
export const SILENT = 3000;

export class Peer {
  identity: Identity | undefined;
  capabilities = 0;
  mode: number | undefined;
  program: string | undefined;
  holdings: Holdings | undefined;
  /** Flows in our external cache when it told its holdings. */
  externalThen = 0;
  /** The tail of its last beacon, with the parts that others understand. */
  tail: Tail | undefined;
  /** Clock of the last accepted message, and of the last tail; ms, 0 before the first. */
  heardAt = 0;
  tailAt = 0;
  /** Last number of ours that it has acknowledged; undefined before the first. */
  acknowledged: number | undefined;
  /**
   * Ranges that it acknowledged before its tail told who it is, ends included: if it is a node that is
   * known already, they are that node's.
   */
  readonly anonymous: [number, number][] = [];
  /** Its last HELLO that was answered. */
  greetedAt = Number.NEGATIVE_INFINITY;
  /** It has answered our HELLO. */
  answered = false;
  /** It acknowledged nothing for so long that nobody waits for it; until it does again. */
  abandoned = false;
  /** Messages accepted from it when it was last looked at. */
  accepted = 0n;
  /** Entry of the receiver's list by which its identity was learnt. */
  entry: number;

  /** `index`: its place in the receiver's list, and its bit among those who must acknowledge. */
  constructor(
    readonly index: number,
    readonly address: string,
    /** Clock of its first datagram, ms. */
    readonly since = 0,
  ) {
    this.entry = index;
  }

  /** Its bit among those who must acknowledge. */
  get bit(): number {
    return 1 << this.index;
  }

  get isOurs(): boolean {
    return this.identity !== undefined;
  }

  isPresent(now: number): boolean {
    return this.heardAt > 0 && now - this.heardAt <= SILENT;
  }

  /** Takes what a tail tells. True when it comes from another life than the one before. */
  take(tail: Tail, now: number): boolean {
    const before = this.identity;
    if (tail.identity === undefined) return false;
    this.identity = tail.identity;
    this.capabilities = tail.capabilities ?? 0;
    this.mode = tail.mode;
    this.program = tail.program;
    this.holdings = tail.holdings;
    this.tail = tail;
    this.tailAt = now;
    return before !== undefined && before.node !== tail.identity.node;
  }

  /** Remembers what a node without a name has acknowledged; neighbouring ranges are one. */
  noteAnonymous(from: number, to: number): void {
    const last = this.anonymous.at(-1);
    if (last !== undefined && ((from - last[1]) | 0) === 1) last[1] = to;
    else this.anonymous.push([from, to]);
    if (this.anonymous.length > ANONYMOUS_MOST) this.anonymous.shift();
  }

  /** A node that speaks without tails has taken the place of the one that had them. */
  expire(now: number): void {
    if (this.identity === undefined || !this.isPresent(now)) return;
    if (now - this.tailAt > TAIL_VALID) this.forget();
  }

  forget(): void {
    this.identity = undefined;
    this.capabilities = 0;
    this.mode = undefined;
    this.program = undefined;
    this.holdings = undefined;
    this.tail = undefined;
  }
}

export class Peers {
  private readonly list = new Map<number, Peer>();

  /** Every node that was heard and not forgotten since, in the order of their places. */
  get all(): Peer[] {
    return [...this.list.values()].sort((a, b) => a.index - b.index);
  }

  get size(): number {
    return this.list.size;
  }

  values(): IterableIterator<Peer> {
    return this.list.values();
  }

  get(index: number): Peer | undefined {
    return this.list.get(index);
  }

  /** The node in this place; `address` is asked for when it is new. */
  at(index: number, now: number, address: () => string): Peer {
    let peer = this.list.get(index);
    if (peer === undefined) {
      peer = new Peer(index, address(), now);
      this.list.set(index, peer);
    }
    return peer;
  }

  remove(index: number): void {
    this.list.delete(index);
  }

  /** There is somebody, and everybody is ours. */
  get everyPeerIsOurs(): boolean {
    return this.list.size > 0 && this.every((peer) => peer.isOurs);
  }

  /** There is somebody, and everybody has all of these CAPABILITY bits. */
  peerSpeaks(capability: number): boolean {
    return (
      this.list.size > 0 &&
      this.every((peer) => peer.isOurs && (peer.capabilities & capability) === capability)
    );
  }

  tick(now: number): void {
    for (const peer of this.list.values()) peer.expire(now);
  }

  private every(test: (peer: Peer) => boolean): boolean {
    for (const peer of this.list.values()) if (!test(peer)) return false;
    return true;
  }
}
