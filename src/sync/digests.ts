// Are the flows here and their copy at the peer equal? Both nodes tell sums of what they own and hold
// what the peer tells of its own against their copy of it (assembly/digest.ts has the sums, teller.ts
// and comparison.ts the two sides). A few control messages a second, on main, beside the road.
//
// Between two nodes of ours in FTFW or NOTRACK, each with both caches. "cannot say" is the answer for
// a C daemon, for ALARM (which has no control messages and forgets by age), without one of the caches,
// with more than two nodes (an external cache holds the flows of all peers, and no sum tells whose), and
// while our own cache is not known to be what the kernel's table is.

import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { Comparison } from './comparison.js';
import { readDigestParts, type Verdict, verdictPart } from './digest-parts.js';
import type { Peer } from './peers.js';
import type { Replication } from './replication.js';
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

export class Digests {
  /** Our internal cache is what the kernel's table is; while not, nothing is told of it. */
  complete = false;
  private readonly teller: Teller;
  private readonly comparison: Comparison;
  /** The life of the peer that all this is about. */
  private node: bigint | undefined;
  /** What the peer says of its copy of our flows. */
  private theirs: { verdict: Verdict; at: number } | undefined;

  constructor(private readonly parts: DigestsParts) {
    const { arena, shards, replication, notice } = parts;
    const say = (list: readonly Part[]): void => replication.say(list);
    this.teller = new Teller({
      ...{ arena, shards, say },
      atRest: () => replication.isAtRest(),
      mayAdd: (now) => replication.mayAdd(now),
    });
    this.comparison = new Comparison(
      {
        ...{ arena, shards, say },
        settle: () => replication.settleMessages(),
        onFound: (ranges) =>
          notice(
            'difference',
            `${ranges} of 1024 ranges of the external cache differ from the peer: repairing`,
          ),
        onRepaired: (ranges, removed, failed) =>
          notice(
            'repair',
            `repair of the external cache: ${ranges} ranges are equal now, ${removed} flows that ` +
              `the peer does not have are removed, ${failed} ranges still differ`,
          ),
      },
      0,
    );
  }

  get counters(): DigestCounters {
    const { flowsSaid: said, repairs } = this.teller;
    return { ...this.comparison.counters, said, repairs };
  }

  /** Is our copy of the peer's flows what the peer has? */
  external(now: number): Verdict {
    return this.partner(now) === undefined ? 'cannot say' : this.comparison.verdict(now);
  }

  /** Is the peer's copy of our flows what we have, as it says itself? */
  internal(now: number): Verdict {
    if (this.partner(now) === undefined || this.theirs === undefined) return 'cannot say';
    return now - this.theirs.at > VALID ? 'cannot say' : this.theirs.verdict;
  }

  /** What the beacon tells of it. */
  beaconParts(now: number): Part[] {
    if (this.node === undefined || this.partner(now) === undefined) return [];
    return [verdictPart(this.node, this.comparison.verdict(now))];
  }

  /** The one peer to compare with. */
  private partner(now: number): Peer | undefined {
    const present = this.parts.replication.peers.all.filter((peer) => peer.isPresent(now));
    const [peer] = present;
    if (present.length !== 1 || peer?.identity === undefined) return undefined;
    return peer.capabilities & CAPABILITY.DIGESTS ? peer : undefined;
  }

  hear(peer: Peer, tail: Tail, now: number): void {
    const partner = this.partner(now);
    if (partner === undefined || partner !== peer) return;
    if (peer.identity!.node !== this.node) {
      this.node = peer.identity!.node;
      this.theirs = undefined;
      this.teller.forget();
      this.comparison.forget(now);
    }
    const told = readDigestParts(tail);
    if (told.verdict?.node === this.parts.replication.identity.node) {
      this.theirs = { verdict: told.verdict.verdict, at: now };
    }
    if (this.complete) this.teller.hear(told, now);
    this.comparison.hear(told, now);
  }

  /** At the beginning of a turn, before events are taken. True when the next turn has work. */
  turn(now: number): boolean {
    if (this.partner(now) === undefined) return false;
    const telling = this.complete && this.teller.turn(now);
    return this.comparison.turn(now) || telling;
  }
}
