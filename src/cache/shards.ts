// The shards as main sees them: the same verbs, run at once on this thread (`Workers 0`) or by
// worker threads behind rings (`Workers N`).
//
//   post(shard, verb, …)   an order without an answer; orders to one shard keep their order
//   call(shard, verb, …)   an order with an answer, as a promise
//   takeDatagrams(shard)   how many filled datagrams wait; main sends them, then releaseDatagrams()
//
// Why both: a wake-up costs 12–15 µs and the work of an event 0.1–0.2 µs. On one or two cores one
// thread that does it all is the cheapest; with more, the shards leave main free for the kernel.
//
// A batch handed over by address stays untouched until the shard is through with it: `position()`
// says how far orders were given, `reached()` whether a shard has come that far.

import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import * as L from '../../assembly/layout.js';
import type { Arena } from './arena.js';
import { VERB, VERBS } from './verbs.js';
import type { Core } from './wasm.js';
import type { ShardTask } from './worker.js';

/** What a verb that works in slices came to. */
export interface Slice {
  /** Its result: how many entries. */
  count: number;
  /** Where to go on; 0 at the end. */
  cursor: number;
  /** Bytes of requests written, for verbs that write some. */
  written: number;
}

export interface Shards {
  readonly count: number;
  /** True when orders are carried out before post() returns. */
  readonly immediate: boolean;
  post(shard: number, verb: VERB, ...args: number[]): void;
  call(shard: number, verb: VERB, ...args: number[]): Promise<number>;
  /** The same for verbs that work in slices: where this very call ended. */
  callSlice(shard: number, verb: VERB, ...args: number[]): Promise<Slice>;
  /** Filled datagram slots that wait to be sent, at most `most`. */
  takeDatagrams(shard: number, most: number): number;
  /** The datagrams taken are sent: their slots are the shard's again. */
  releaseDatagrams(shard: number): void;
  /** How many orders the shard was given so far. */
  position(shard: number): number;
  /** Is the shard through with the orders up to `position`? */
  reached(shard: number, position: number): boolean;
  /** Is every order carried out, and everything encoded that fits the slots? */
  isAtRest(): boolean;
  /** Blocks this thread until the shard is through with `position`. Only for a full ring of batches. */
  waitFor(shard: number, position: number): void;
  /** Answers to calls that are ready are given; main does this once a turn. */
  settle(): void;
  /** Is the answer to a call ready? */
  hasResults(): boolean;
  stop(): Promise<void>;
}

/** Everything on this thread: an order is a function call. */
export class LocalShards implements Shards {
  readonly count = 1;
  readonly immediate = true;
  private readonly words: Uint32Array;
  private readonly argument: number;

  constructor(
    private readonly arena: Arena,
    private readonly core: Core,
  ) {
    this.words = arena.u32;
    this.argument = (arena.rings[0]! + L.RING_JOBS + L.JOB_ARGUMENTS) / 4;
  }

  post(shard: number, verb: VERB, ...args: number[]): void {
    this.run(shard, verb, args);
  }

  call(shard: number, verb: VERB, ...args: number[]): Promise<number> {
    return Promise.resolve(this.run(shard, verb, args));
  }

  callSlice(shard: number, verb: VERB, ...args: number[]): Promise<Slice> {
    const count = this.run(shard, verb, args);
    const context = this.arena.shard(shard);
    const cursor = this.arena.get(context + L.SHARD_CURSOR);
    const written = this.arena.get(context + L.SHARD_WRITTEN);
    return Promise.resolve({ count, cursor, written });
  }

  takeDatagrams(shard: number, most: number): number {
    return this.core.shardPump(this.arena.shard(shard), most);
  }

  releaseDatagrams(): void {}

  position(): number {
    return 0;
  }

  reached(): boolean {
    return true;
  }

  isAtRest(): boolean {
    return true;
  }

  waitFor(): void {}

  settle(): void {}

  hasResults(): boolean {
    return false;
  }

  async stop(): Promise<void> {}

  private run(shard: number, verb: VERB, args: number[]): number {
    for (let i = 0; i < args.length; i++) this.words[this.argument + i] = args[i]!;
    return VERBS[verb]!(this.core, this.arena.shard(shard), this.words, this.argument);
  }
}

interface Pending {
  shard: number;
  position: number;
  resolve: (slice: Slice) => void;
}

/** One piscina task per shard, each behind its ring. */
export class WorkerShards implements Shards {
  readonly count: number;
  readonly immediate = false;
  private readonly pool: Piscina;
  private readonly tasks: Promise<void>[] = [];
  private pending: Pending[] = [];
  private stopping = false;

  /**
   * `wake` is the eventfd that ends main's sleep; `onDeath` is called once when a worker ends
   * without having been told to: its shard's flows are lost, the daemon must not go on.
   */
  constructor(
    private readonly arena: Arena,
    module: WebAssembly.Module,
    wake: number,
    onDeath: (shard: number, reason: unknown) => void,
  ) {
    this.count = arena.limits.shards;
    this.pool = new Piscina({
      filename: workerFile(),
      minThreads: this.count,
      maxThreads: this.count,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      // A shard keeps its flows in the arena: its JavaScript heap stays tiny.
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 1 },
    });
    for (let shard = 0; shard < this.count; shard++) {
      const task: ShardTask = {
        memory: arena.memory,
        module,
        context: arena.shard(shard),
        ring: arena.rings[shard]!,
        wake,
      };
      this.tasks.push(
        this.pool.run(task).then(
          () => {
            if (!this.stopping) onDeath(shard, new Error('it ended'));
          },
          (reason: unknown) => {
            if (!this.stopping) onDeath(shard, reason);
          },
        ),
      );
    }
  }

  post(shard: number, verb: VERB, ...args: number[]): void {
    const { arena } = this;
    const ring = arena.rings[shard]!;
    const headIndex = (ring + L.RING_HEAD) / 4;
    const head = arena.i32[headIndex]!;
    if (((head - Atomics.load(arena.i32, (ring + L.RING_DONE) / 4)) | 0) >= L.RING_SLOTS) {
      this.waitFor(shard, (head - L.RING_SLOTS + 1) | 0);
    }
    const job = (ring + L.RING_JOBS) / 4 + (head & (L.RING_SLOTS - 1)) * (L.JOB_SIZE / 4);
    arena.u32[job] = verb;
    for (let i = 0; i < args.length; i++) arena.u32[job + 1 + i] = args[i]!;
    Atomics.store(arena.i32, headIndex, (head + 1) | 0);
    Atomics.notify(arena.i32, headIndex, 1);
  }

  async call(shard: number, verb: VERB, ...args: number[]): Promise<number> {
    return (await this.callSlice(shard, verb, ...args)).count;
  }

  callSlice(shard: number, verb: VERB, ...args: number[]): Promise<Slice> {
    this.post(shard, verb, ...args);
    const position = this.position(shard);
    return new Promise((resolve) => {
      this.pending.push({ shard, position, resolve });
    });
  }

  takeDatagrams(shard: number, most: number): number {
    const ready = Atomics.load(this.arena.i32, (this.arena.rings[shard]! + L.RING_READY) / 4);
    return Math.min(ready, most);
  }

  releaseDatagrams(shard: number): void {
    const { arena } = this;
    Atomics.store(arena.i32, (arena.rings[shard]! + L.RING_READY) / 4, 0);
    const context = arena.shard(shard);
    const queued =
      arena.get(context + L.SHARD_QUEUE_HEAD) !== arena.get(context + L.SHARD_QUEUE_TAIL);
    const more = queued || arena.get(context + L.SHARD_BYPASS_WAITING) !== 0;
    if (more || arena.get(context + L.SHARD_BULK) !== 0) this.post(shard, VERB.pump);
  }

  position(shard: number): number {
    return this.arena.i32[(this.arena.rings[shard]! + L.RING_HEAD) / 4]!;
  }

  reached(shard: number, position: number): boolean {
    const done = Atomics.load(this.arena.i32, (this.arena.rings[shard]! + L.RING_DONE) / 4);
    return ((done - position) | 0) >= 0;
  }

  isAtRest(): boolean {
    const { i32, rings } = this.arena;
    return rings.every((ring) => {
      const head = i32[(ring + L.RING_HEAD) / 4]!;
      return (
        Atomics.load(i32, (ring + L.RING_PUMPED) / 4) === head &&
        Atomics.load(i32, (ring + L.RING_READY) / 4) === 0
      );
    });
  }

  waitFor(shard: number, position: number): void {
    const index = (this.arena.rings[shard]! + L.RING_DONE) / 4;
    while (!this.reached(shard, position)) {
      // The worker does not notify DONE: look again soon. A dead worker is noticed elsewhere.
      Atomics.wait(this.arena.i32, index, Atomics.load(this.arena.i32, index), 1);
      if (this.stopping) return;
    }
  }

  settle(): void {
    if (this.pending.length === 0) return;
    const { arena } = this;
    const still: Pending[] = [];
    for (const entry of this.pending) {
      if (!this.reached(entry.shard, entry.position)) {
        still.push(entry);
        continue;
      }
      const slot = (entry.position - 1) & (L.RING_SLOTS - 1);
      const job = arena.rings[entry.shard]! + L.RING_JOBS + slot * L.JOB_SIZE;
      entry.resolve({
        count: arena.get(job + L.JOB_RESULT),
        cursor: arena.get(job + L.JOB_CURSOR),
        written: arena.get(job + L.JOB_WRITTEN),
      });
    }
    this.pending = still;
  }

  hasResults(): boolean {
    return this.pending.some(({ shard, position }) => this.reached(shard, position));
  }

  async stop(): Promise<void> {
    this.stopping = true;
    const { arena } = this;
    Atomics.store(arena.i32, L.CONTROL_STOP / 4, 1);
    for (const ring of arena.rings) Atomics.notify(arena.i32, (ring + L.RING_HEAD) / 4);
    await Promise.allSettled(this.tasks);
    await this.pool.close({ force: true });
  }
}

/** Workers need built JavaScript: from dist/ as well as from the sources (tests). */
function workerFile(): string {
  const here = import.meta.url;
  const built = here.includes('/dist/src/') ? './worker.js' : '../../dist/src/cache/worker.js';
  return fileURLToPath(new URL(built, here));
}

/** Shards for `workers` threads; 0 runs the one shard here. */
export function makeShards(
  arena: Arena,
  module: WebAssembly.Module,
  core: Core,
  workers: number,
  wake: number,
  onDeath: (shard: number, reason: unknown) => void,
): Shards {
  return workers === 0
    ? new LocalShards(arena, core)
    : new WorkerShards(arena, module, wake, onDeath);
}
