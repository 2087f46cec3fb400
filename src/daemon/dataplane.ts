// The data plane's turn and its loop, on main. One turn serves everybody once, with a bound on each:
// kernel events into the shards, datagrams of the peer, the once-a-second duties, and out with what
// waits.
//
//   idle: sleep in poll(2) on a thread of libuv's pool; the first event wakes us at once
//   busy: after a drain sleep CoalesceTime (about 1 ms), then drain again without asking poll first
//   busy, but only with what a peer sends: five times that; nobody waits for a backup's cache
//
// Sleeping after the drain, not before, is what makes both ends meet: a lone event leaves at once,
// and under load one wake-up (12–15 µs) is shared by everything that came meanwhile.

import * as L from '../../assembly/layout.js';
import type { Arena, EventBatch } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { Core } from '../cache/wasm.js';
import type { DedicatedLinks } from '../channel/links.js';
import type { EventSource } from '../kernel/events.js';
import { clearEventfd, POLLFD_SIZE, POLLIN, pollAsync, signalEventfd } from '../kernel/syscalls.js';
import type { Alarm } from '../sync/alarm.js';
import type { Digests } from '../sync/digests.js';
import type { Expectations } from '../sync/expectations.js';
import type { Replication } from '../sync/replication.js';

/** Events per turn unless EventIterationLimit is set: 16 full batches of the event socket. */
const TURN_EVENTS = 4096;
/** Vectors (256 datagrams) of the links per turn. */
const LINK_VECTORS = 4;
/** ms after which a turn reads no further vector of the links. */
const LINK_TIME = 10;
const LONGEST_SLEEP = 1000; // ms
/** Drains that may find nothing before the sleep in poll, which costs three times as much. */
const PATIENCE = 2;
/** Turns without a kernel event after which a node only receives. */
const ONLY_RECEIVES = 16;
/** How much longer such a node sleeps after a drain. */
const RECEIVER_SLACK = 5;
/** Datagrams in a turn above which it does not: a bulk send waits for the acknowledgements. */
const FEW_DATAGRAMS = 32;

export interface DataPlaneParts {
  arena: Arena;
  /** Address of the arena in this process. */
  base: number;
  core: Core;
  shards: Shards;
  /** eventfd that ends the sleep. */
  wake: number;
  events: EventSource;
  /** Undefined in Stats mode: there is no peer. */
  peers:
    | { links: DedicatedLinks; replication: Replication; digests?: Digests | undefined }
    | undefined;
  /** Takes the kernel's events of expectations; undefined without ExpectationSync. */
  expectations?: Pick<Expectations, 'events'> | undefined;
  /** ALARM mode only. */
  alarm: Alarm | undefined;
  /** Do the peers' messages go into the kernel at once? Then they are not kept waiting. */
  injects?: boolean;
  /** Microseconds. */
  coalesceTime: number;
  /** The kernel dropped events for want of room. */
  onOverrun: () => void;
  /** So many datagrams of events did not fit their slot since the last call: their events are lost. */
  onCut: (datagrams: number) => void;
  /** Stats mode: takes some of the flows that ended; true when more wait. */
  reports?: { take: () => boolean; waiting: () => boolean };
}

export class DataPlane {
  private stopping = false;
  private finished: Promise<void> = Promise.resolve();
  private ended: () => void = () => undefined;
  private onFatal: (reason: string) => void = () => undefined;
  /** Drains in a row that found nothing. */
  private idle = 0;
  /** A timer for each length of a nap, ms: to set one anew costs a third of making one. */
  private readonly naps = new Map<number, NodeJS.Timeout>();
  private batch = 0;
  private readonly batchPositions: number[][];
  private overruns = 0;
  private cutsTold = 0;
  private coalesceTime: number;
  /** Turns since the last kernel event, and datagrams of peers in the last turn. */
  private withoutEvents = 0;
  private datagrams = 0;
  /** Called at the end of each turn: proof that the data plane goes on. */
  onTurn: ((now: number) => void) | undefined;
  /** Most events served before the links have their turn. */
  eventLimit = TURN_EVENTS;
  /** Longest sleep, ms: the once-a-second duties, or a watchdog that wants to hear more often. */
  longestSleep = LONGEST_SLEEP;
  /** Datagrams of events that did not fit their slot. */
  cutEvents = 0;
  unknownEvents = 0;

  constructor(private readonly parts: DataPlaneParts) {
    const { arena, base, shards } = parts;
    for (const batch of arena.batches) arena.armVector(batch, base);
    arena.armVector(arena.link, base);
    if (arena.limits.multicast) arena.armNames(base);
    this.coalesceTime = parts.coalesceTime;
    this.batchPositions = arena.batches.map(() => new Array<number>(shards.count).fill(0));
  }

  /** Runs until stop(). A failure of the loop, a trap of the module above all, ends the daemon. */
  start(onFatal: (reason: string) => void): void {
    this.onFatal = onFatal;
    this.finished = new Promise((resolve) => {
      this.ended = resolve;
    });
    this.step();
  }

  /** Sets CoalesceTime, in microseconds, from the next turn on. */
  setCoalesceTime(microseconds: number): void {
    this.coalesceTime = microseconds;
  }

  async stop(): Promise<void> {
    this.stopping = true;
    signalEventfd(this.parts.wake);
    await this.finished;
  }

  /** Serves everybody once. True when something was done; `more` when there is more to do at once. */
  turn(): { busy: boolean; more: boolean } {
    const { arena, peers, shards } = this.parts;
    const now = performance.now();
    arena.set(L.CONTROL_NOW, monotonicSeconds(now));
    let more = false;
    // First: what the last turn changed is told by now, and nothing has changed since.
    let busy = peers?.digests?.turn(now) ?? false;
    this.withoutEvents++;
    for (let room = this.eventLimit; room > 0; ) {
      const most = Math.min(room, arena.batches[0]!.count);
      const count = this.takeEvents(most);
      if (count > 0) {
        busy = true;
        this.withoutEvents = 0;
      }
      more = count === most;
      if (!more) break;
      room -= count;
    }
    if (peers !== undefined) {
      const served = this.servePeers(peers, now);
      busy ||= served.busy;
      more ||= served.more;
    }
    shards.settle();
    if (this.parts.reports?.take()) more = true;
    this.onTurn?.(now);
    if (this.parts.events.overruns !== this.overruns) {
      this.overruns = this.parts.events.overruns;
      this.parts.onOverrun();
    }
    if (this.cutEvents !== this.cutsTold) {
      const cut = this.cutEvents - this.cutsTold;
      this.cutsTold = this.cutEvents;
      this.parts.onCut(cut);
    }
    return { busy, more };
  }

  /** What the peers sent, the once-a-second duties, and out with what waits. */
  private servePeers(
    { links, replication }: NonNullable<DataPlaneParts['peers']>,
    now: number,
  ): { busy: boolean; more: boolean } {
    const { arena } = this.parts;
    let busy = false;
    let more = false;
    this.datagrams = 0;
    for (let i = 0; i < LINK_VECTORS; i++) {
      const count = replication.receive(now);
      this.datagrams += count;
      busy ||= count > 0;
      if (count < arena.link.count) break;
      more = i === LINK_VECTORS - 1;
      // Injection: the kernel's work is in here, too. Events shall not wait for all of it.
      if (performance.now() - now > LINK_TIME) {
        more = true;
        break;
      }
    }
    links.tend(now);
    this.parts.alarm?.tick(now);
    replication.tick(now);
    const left = replication.transmit(now);
    const probed = links.takeProbe(now);
    if (probed !== undefined) replication.probe(probed, now);
    more ||= left && !replication.blocked;
    return { busy: busy || replication.bulkWaits, more };
  }

  /** One batch of kernel events into the shards; the number of datagrams read. */
  private takeEvents(most: number): number {
    const { arena, core, events, shards } = this.parts;
    const batch = arena.batches[this.batch]!;
    const positions = this.batchPositions[this.batch]!;
    for (let shard = 0; shard < shards.count; shard++) shards.waitFor(shard, positions[shard]!);
    const count = events.receive(batch, most);
    if (count === 0) return 0;
    const { headers, slots, slotSize, flows, expects } = batch;
    core.gatherBatch(headers, slots, slotSize, count, flows, expects, arena.gather);
    this.cutEvents += arena.get(arena.gather + L.GATHER_CUT);
    this.unknownEvents += arena.get(arena.gather + L.GATHER_OTHER);
    const listed = arena.get(arena.gather + L.GATHER_FLOWS);
    const announced = arena.get(arena.gather + L.GATHER_EXPECTS);
    if (shards.immediate) shards.post(0, VERB.events, flows, listed);
    else this.routeEvents(batch, listed, positions);
    // After the flows: a master comes before what it announces.
    if (announced > 0) this.parts.expectations?.events(expects, announced, positions);
    return count;
  }

  private routeEvents(batch: EventBatch, listed: number, positions: number[]): void {
    const { arena, core, shards } = this.parts;
    const { flows, routed, counts } = batch;
    arena.bytes.fill(0, counts, counts + shards.count * 4);
    core.routeFlows(flows, listed, shards.count, routed, counts, arena.scratch);
    for (let shard = 0; shard < shards.count; shard++) {
      const part = arena.get(counts + shard * 4);
      if (part === 0) continue;
      shards.post(shard, VERB.events, routed + shard * L.LIST_MAX * 4, part);
      positions[shard] = shards.position(shard);
    }
    this.batch = (this.batch + 1) % arena.batches.length;
  }

  /**
   * One turn, and when the next one is. Callbacks, not an async loop: at 300 to 1000 turns a second the
   * promises and fresh timers of one cost a fifth of the daemon's processor time.
   */
  private readonly step = (): void => {
    if (this.stopping) {
      this.ended();
      return;
    }
    try {
      const { busy, more } = this.turn();
      this.idle = busy ? 0 : this.idle + 1;
      if (more) setImmediate(this.step);
      else if (this.idle <= PATIENCE && this.coalesceTime > 0) this.nap(this.drainInterval());
      else if (busy) setImmediate(this.step);
      else this.sleepUntilWoken().then(this.step, this.fail);
    } catch (error) {
      this.fail(error);
    }
  };

  private readonly fail = (error: unknown): void => {
    this.ended();
    this.onFatal(error instanceof Error ? (error.stack ?? error.message) : String(error));
  };

  private nap(milliseconds: number): void {
    const timer = this.naps.get(milliseconds);
    if (timer === undefined) this.naps.set(milliseconds, setTimeout(this.step, milliseconds));
    else timer.refresh();
  }

  /** Ends the sleep: somebody beside the road has given the replication something to send. */
  wake(): void {
    signalEventfd(this.parts.wake);
  }

  /** Waits for an event, a datagram, room on the link, a worker, or the next duty. */
  private async sleepUntilWoken(): Promise<void> {
    const { arena, events, peers, shards, wake } = this.parts;
    if (!shards.immediate) {
      // Announce the sleep first, then look once more: a worker that is done in between either sees
      // the announcement or is seen here.
      Atomics.store(arena.i32, L.CONTROL_ASLEEP / 4, 1);
      if (this.workersAreDone()) {
        Atomics.store(arena.i32, L.CONTROL_ASLEEP / 4, 0);
        await new Promise(setImmediate);
        return;
      }
    }
    let count = 0;
    const add = (fd: number, what: number): void => {
      const at = arena.pollfds + count++ * POLLFD_SIZE;
      arena.set(at, fd);
      arena.set(at + 4, what);
    };
    add(events.fd, POLLIN);
    add(wake, POLLIN);
    peers?.links.watch(add, peers.replication.blocked);
    await pollAsync(this.parts.base + arena.pollfds, count, this.longestSleep);
    if (arena.get(arena.pollfds + POLLFD_SIZE + 4) >>> 16) clearEventfd(wake);
    Atomics.store(arena.i32, L.CONTROL_ASLEEP / 4, 0);
  }

  /** ms of sleep after a drain. */
  private drainInterval(): number {
    const interval = Math.max(1, Math.round(this.coalesceTime / 1000));
    const receives = this.withoutEvents > ONLY_RECEIVES && this.datagrams < FEW_DATAGRAMS;
    const { injects, peers } = this.parts;
    return receives && !injects && !peers?.replication.bulkWaits
      ? interval * RECEIVER_SLACK
      : interval;
  }

  private workersAreDone(): boolean {
    const { peers, reports, shards } = this.parts;
    if (reports?.waiting()) return true;
    for (let shard = 0; shard < shards.count; shard++) {
      if (peers === undefined || peers.replication.blocked) break;
      if (shards.takeDatagrams(shard, 1) > 0) return true;
    }
    return shards.hasResults();
  }
}

/** The clock of CONTROL_NOW: whole seconds, never set back. Starts at 1, so that 0 means "never". */
export function monotonicSeconds(now = performance.now()): number {
  return Math.floor(now / 1000) + 1;
}
