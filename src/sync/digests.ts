// Are the flows here and their copy at a peer equal? Each node tells sums of what it owns and holds
// what a peer tells of its own against the copy of it (assembly/digest.ts has the sums, teller.ts and
// comparison.ts the two sides). A few control messages a second, on main, beside the road.
//
// Between nodes of ours in FTFW or NOTRACK, each with each in a multicast group. A direction is known if
// its owner has an internal cache and the other one an external cache. "cannot say" is the answer for a C
// daemon, for ALARM (which has no control messages and forgets by age), where one of these two caches is
// disabled, while the owner's cache is not known to be what its kernel's table is, and while all that
// differs are flows that several nodes of a group speak of.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import { Comparison } from './comparison.js';
import { readDigestParts, type Verdict, verdictPart } from './digest-parts.js';
import type { Peer } from './peers.js';
import type { Replication } from './replication.js';
import { SlicedWalk } from './slices.js';
import { CAPABILITY, type Part, type Tail } from './tail.js';
import { Teller } from './teller.js';

/** ms for which a peer's verdict counts. */
const VALID = 5000;

export interface DigestsParts {
  arena: Arena;
  shards: Shards;
  replication: Replication;
  notice: (topic: string, text: string) => void;
}

export interface DigestCounters {
  /** Comparisons made, ranges found different, repaired, and not repaired by a repair. */
  compared: number;
  found: number;
  repaired: number;
  failed: number;
  /** Flows that a repair took out of the external cache: the peer does not have them. */
  removed: number;
  /** Flows that were said again because the peer asked, in how many repairs. */
  said: number;
  repairs: number;
}

/** What is known of one peer's tables and ours. */
interface Partner {
  peer: Peer;
  /** The life of it that all this is about. */
  node: bigint;
  comparison: Comparison | undefined;
  /** What it says of its copy of our flows. */
  theirs: { verdict: Verdict; at: number } | undefined;
}

export class Digests {
  /** Our internal cache is what the kernel's table is; while not, nothing is told of it. */
  complete = false;
  private readonly teller: Teller | undefined;
  /** By their places in the receiver's list. */
  private readonly partners = new Map<number, Partner>();
  /** Of partners that are gone. */
  private readonly past = noCounters();
  /** Places whose flows are being made over to others; nothing is compared meanwhile. */
  private readonly moves: { from: number; into: number | undefined; walk?: SlicedWalk }[] = [];

  constructor(private readonly parts: DigestsParts) {
    const { arena, shards, replication } = parts;
    if (!this.keeps(L.TABLE_INTERNAL)) return;
    this.teller = new Teller({
      ...{ arena, shards },
      say: (list) => replication.say(list),
      atRest: () => replication.isAtRest(),
      mayAdd: (now) => replication.mayAdd(now),
    });
  }

  private keeps(kind: number): boolean {
    const { arena } = this.parts;
    return arena.get(arena.table(0, kind) + L.TABLE_DIGESTS) !== 0;
  }

  get counters(): DigestCounters {
    const sum = { ...this.past };
    for (const { comparison } of this.partners.values()) addCounters(sum, comparison);
    return { ...sum, said: this.teller?.flowsSaid ?? 0, repairs: this.teller?.repairs ?? 0 };
  }

  /** Is our copy of the peers' flows what they have? Of one peer, or of all that are heard. */
  external(now: number, peer?: Peer): Verdict {
    return this.together(now, peer, ({ comparison }) => comparison?.verdict(now) ?? 'cannot say');
  }

  /** Is the peers' copy of our flows what we have, as they say themselves? */
  internal(now: number, peer?: Peer): Verdict {
    return this.together(now, peer, ({ theirs }) =>
      theirs === undefined || now - theirs.at > VALID ? 'cannot say' : theirs.verdict,
    );
  }

  /** What holds for all: the worst that is known of one, or else that of one nothing is known. */
  private together(
    now: number,
    peer: Peer | undefined,
    verdictOf: (partner: Partner) => Verdict,
  ): Verdict {
    const peers = peer === undefined ? this.parts.replication.peers.all : [peer];
    const verdicts = peers
      .filter((one) => one.isPresent(now))
      .map((one) => this.partner(one, now))
      .map((partner) => (partner === undefined ? 'cannot say' : verdictOf(partner)));
    const worst = (['repairing', 'different', 'cannot say'] as const).find((verdict) =>
      verdicts.includes(verdict),
    );
    return worst ?? (verdicts.length > 0 ? 'equal' : 'cannot say');
  }

  /** What the beacon tells of it. */
  beaconParts(now: number): Part[] {
    return [...this.partners.values()]
      .filter(({ comparison, peer }) => comparison !== undefined && this.isPartner(peer, now))
      .map(({ comparison, node }) => verdictPart(node, comparison!.verdict(now)));
  }

  private isPartner(peer: Peer, now: number): boolean {
    if (!peer.isPresent(now) || peer.identity === undefined) return false;
    return (peer.capabilities & CAPABILITY.DIGESTS) !== 0;
  }

  /** What is known of a peer that compares, if it is heard. */
  private partner(peer: Peer, now: number): Partner | undefined {
    const partner = this.partners.get(peer.index);
    return partner?.peer === peer && this.isPartner(peer, now) ? partner : undefined;
  }

  hear(peer: Peer, tail: Tail, now: number): void {
    if (!this.isPartner(peer, now)) return;
    const partner = this.meet(peer, now);
    const { node } = this.parts.replication.identity;
    const told = readDigestParts(tail);
    const said = told.verdicts?.find((one) => one.node === node);
    if (said !== undefined) partner.theirs = { verdict: said.verdict, at: now };
    const forUs = tail.addressees === undefined || tail.addressees.includes(node);
    if (this.complete && forUs) this.teller?.hear(told, now);
    if (this.moves.length === 0) partner.comparison?.hear(told, now);
  }

  /** The partner that a peer is in this life of it. */
  private meet(peer: Peer, now: number): Partner {
    const { node } = peer.identity!;
    let partner = this.partners.get(peer.index);
    if (partner?.peer !== peer) {
      this.drop(peer.index);
      partner = { peer, node, comparison: this.compareWith(peer), theirs: undefined };
      this.partners.set(peer.index, partner);
    } else if (partner.node === node) {
      return partner;
    }
    partner.node = node;
    partner.theirs = undefined;
    partner.comparison?.forget(now);
    if (this.partners.size === 1) this.teller?.forget();
    return partner;
  }

  private compareWith(peer: Peer): Comparison | undefined {
    if (!this.keeps(L.TABLE_EXTERNAL)) return undefined;
    const { arena, notice, replication, shards } = this.parts;
    const name = arena.limits.multicast ? peer.address : 'the peer';
    return new Comparison(
      {
        ...{ arena, shards, place: peer.index },
        say: (list) => replication.say(list, peer),
        settle: () => replication.settleMessages(),
        mayRepair: () => this.mayRepair(peer),
        onFound: (ranges) =>
          notice(
            'difference',
            `${ranges} of 1024 ranges of the external cache differ from ${name}: repairing`,
          ),
        onRepaired: (ranges, removed, failed) =>
          notice(
            'repair',
            `repair of the external cache: ${ranges} ranges are equal now, ${removed} flows that ` +
              `${name} does not have are removed, ${failed} ranges still differ`,
          ),
      },
      0,
    );
  }

  /** One repair at a time; those of peers that are gone do not count, and end. */
  private mayRepair(peer: Peer): boolean {
    const now = this.parts.replication.lastReceived;
    const others = [...this.partners.values()].filter(
      (other) => other.peer !== peer && other.comparison?.repairing,
    );
    if (others.some((other) => this.isPartner(other.peer, now))) return false;
    for (const { comparison } of others) comparison!.giveWay();
    return true;
  }

  /** The flows of the member in place `from` are those of `into`; undefined: of nobody. */
  move(from: number, into: number | undefined): void {
    this.drop(from);
    if (this.keeps(L.TABLE_EXTERNAL)) this.moves.push({ from, into });
    // What was compared so far counted these flows as another's.
    const partner = into === undefined ? undefined : this.partners.get(into);
    partner?.comparison?.giveWay();
  }

  private drop(place: number): void {
    addCounters(this.past, this.partners.get(place)?.comparison);
    this.partners.delete(place);
  }

  /** A step of the first move; true while there are some. */
  private goOnMoving(): boolean {
    const [move] = this.moves;
    if (move === undefined) return false;
    const { from, into = -1 } = move;
    move.walk ??= new SlicedWalk(this.parts, L.TABLE_EXTERNAL, VERB.speakers, [from, into]);
    move.walk.step();
    if (move.walk.done) this.moves.shift();
    return this.moves.length > 0;
  }

  /** At the beginning of a turn, before events are taken. True when the next turn has work. */
  turn(now: number): boolean {
    if (this.goOnMoving()) return true;
    let busy = false;
    let heard = false;
    for (const { peer, comparison } of this.partners.values()) {
      if (!this.isPartner(peer, now)) continue;
      heard = true;
      if (comparison?.turn(now)) busy = true;
    }
    const telling = heard && this.complete && this.teller?.turn(now);
    return busy || telling === true;
  }
}

type Compared = Comparison['counters'];

function noCounters(): Compared {
  return { compared: 0, found: 0, repaired: 0, failed: 0, removed: 0 };
}

function addCounters(sum: Compared, comparison: Comparison | undefined): void {
  for (const key of Object.keys(sum) as (keyof Compared)[]) {
    sum[key] += comparison?.counters[key] ?? 0;
  }
}
