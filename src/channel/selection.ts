// Which dedicated link to send on. All are received on, one is sent on: the default one, unless it
// is not well. Plain logic: states and clock readings in, moves out; no socket, no log.
//
//   why a link is left         evidence                              way back to the default link
//   ─────────────────────────  ────────────────────────────────────  ─────────────────────────────
//   carrier  our end is dead   the kernel says so                    carrier again, for STABLE ms
//   silence  the way is dead   nothing heard for SILENCE ms, while   the peer is heard there; to
//                              another link has carrier              give it reason, we probe
//   peer     the peer left it  it speaks on another link             likewise
//
// The two nodes must end up on the same link although nobody is in charge. A peer that speaks on
// another link is followed: that is all the C daemon does, so it follows us. Two reasons not to
// follow: our end of that link has no carrier, or we have just moved ourselves (HOLD), when what
// arrives was on its way already. A C daemon never goes back to its default link by itself; a probe
// there, a lone ALIVE, makes it. While it is probed nothing is lost: data goes on on the other link.
//
// A silent peer may be dead instead of cut off. Then every link is tried in turn, ever more rarely,
// so that a peer that comes back is found whatever link it can use.

import type { LinkStatus } from '../kernel/links.js';

/** ms without a message on the link in use until another one is tried; a peer speaks every second. */
export const SILENCE = 3000;
/** ms the default link must have had carrier before it is used or probed again. */
export const STABLE = 5000;
/** ms after a move of our own during which the peer is not followed. */
export const HOLD = 2000;
/** ms between probes of the default link: at first, and at most. */
export const PROBE_FIRST = 5000;
export const PROBE_MOST = 30_000;
/** ms between two tries at most, while the peer is heard nowhere. */
export const SILENCE_MOST = 60_000;

export type Reason = 'carrier' | 'silence' | 'peer' | 'return';

/** A change of the link that is sent on. */
export interface Move {
  from: number;
  to: number;
  reason: Reason;
  /** One more of many tries to find a peer that is probably dead: not worth a line in the log. */
  again: boolean;
}

/** The link in use died and no other has carrier. */
export const NO_LINK = 'no link';

interface LinkState {
  status: LinkStatus;
  /** Clock reading since when it has carrier. */
  runningSince: number;
  /** Clock reading of the last message accepted on it. */
  heardAt: number;
}

export class Selection {
  private readonly links: LinkState[];
  /** Index of the link that is sent on. */
  current: number;
  private since: number;
  private holdUntil = 0;
  /** Why the default link was left. */
  private leftFor: Reason = 'carrier';
  private probeAt = 0;
  private probeInterval = PROBE_FIRST;
  /** Moves for silence since the peer was last heard. */
  private tries = 0;

  /**
   * `listening`: the peer speaks at least once a second, so silence means something. `now` in ms,
   * here and everywhere.
   */
  constructor(
    statuses: readonly LinkStatus[],
    private readonly preferred: number,
    private readonly listening: boolean,
    now: number,
  ) {
    this.links = statuses.map((status) => ({
      status,
      runningSince: now - STABLE,
      heardAt: -Infinity,
    }));
    this.current = preferred;
    this.since = now;
  }

  /** The kernel reports on the interface of link `index`. */
  changed(index: number, status: LinkStatus, now: number): Move | typeof NO_LINK | undefined {
    const link = this.links[index]!;
    if (link.status === status) return undefined;
    link.status = status;
    if (status === 'RUNNING') link.runningSince = now;
    if (index === this.preferred) this.probeInterval = PROBE_FIRST;
    return this.flee(now, index === this.current);
  }

  /** Leaves a link without carrier. Also right at start, before anything has changed. */
  flee(now: number, fresh = true): Move | typeof NO_LINK | undefined {
    if (this.isRunning(this.current)) return undefined;
    const to = this.best(now);
    if (to !== undefined) return this.move(to, 'carrier', now);
    return fresh ? NO_LINK : undefined;
  }

  /** A message was accepted on link `index`. */
  heard(index: number, now: number): Move | undefined {
    this.links[index]!.heardAt = now;
    this.tries = 0;
    if (index === this.current || !this.isRunning(index) || now < this.holdUntil) return undefined;
    const move = this.move(index, 'peer', now);
    // What the peer still says elsewhere does not take us away again: it will follow our answer.
    this.holdUntil = index === this.preferred ? now + HOLD : 0;
    return move;
  }

  /** To be asked every now and then: has a link been silent for too long, is the default well? */
  tick(now: number): Move | undefined {
    if (this.isSilent(now)) {
      const to = this.nextRunning();
      if (to !== undefined) {
        const again = this.tries >= this.links.length;
        this.tries++;
        return { ...this.move(to, 'silence', now), again };
      }
    }
    if (this.leftFor === 'carrier' && this.mayReturn(now)) {
      return this.move(this.preferred, 'return', now);
    }
    return undefined;
  }

  /** Is it time for an ALIVE on the default link, to learn whether the peer hears us there? */
  takeProbe(now: number): boolean {
    if (!this.listening || this.leftFor === 'carrier' || !this.mayReturn(now)) return false;
    if (now < this.probeAt) return false;
    this.probeAt = now + this.probeInterval;
    this.probeInterval = Math.min(2 * this.probeInterval, PROBE_MOST);
    return true;
  }

  private isRunning(index: number): boolean {
    return this.links[index]!.status === 'RUNNING';
  }

  private mayReturn(now: number): boolean {
    if (this.current === this.preferred || !this.isRunning(this.preferred)) return false;
    return now - this.links[this.preferred]!.runningSince >= STABLE;
  }

  private isSilent(now: number): boolean {
    if (!this.listening) return false;
    const last = Math.max(this.since, this.links[this.current]!.heardAt);
    const rounds = Math.floor(this.tries / this.links.length);
    return now - last > Math.min(SILENCE * 2 ** Math.min(rounds, 10), SILENCE_MOST);
  }

  /** The link to flee to: where the peer is heard, or the default, or the first with carrier. */
  private best(now: number): number | undefined {
    const order = [this.preferred, ...this.links.keys()].filter((i) => this.isRunning(i));
    return order.find((i) => now - this.links[i]!.heardAt <= SILENCE) ?? order[0];
  }

  /** The next link with carrier, in the order of the file and round. */
  private nextRunning(): number | undefined {
    const count = this.links.length;
    for (let step = 1; step < count; step++) {
      const index = (this.current + step) % count;
      if (this.isRunning(index)) return index;
    }
    return undefined;
  }

  private move(to: number, reason: Reason, now: number): Move {
    const from = this.current;
    if (from === this.preferred) {
      this.leftFor = reason;
      this.probeAt = now + PROBE_FIRST;
    }
    this.current = to;
    this.since = now;
    this.holdUntil = now + HOLD;
    return { from, to, reason, again: false };
  }
}
