// A shard's thread: one long-lived piscina task. It sleeps on the head of its ring, runs the jobs
// main put there in their order, then encodes what is queued for the peers into the shard's
// datagram slots and hands them to main. It makes no other system call than the wake-up of main,
// and only when main sleeps.

import * as L from '../../assembly/layout.js';
import { signalEventfd } from '../kernel/syscalls.js';
import { VERBS } from './verbs.js';
import { instantiate } from './wasm.js';

export interface ShardTask {
  memory: WebAssembly.Memory;
  module: WebAssembly.Module;
  /** Context of the shard. */
  context: number;
  ring: number;
  /** Written to when main sleeps and datagrams or results are ready. */
  wake: number;
}

const SLEEP = 200; // ms; only how soon a lost wake-up would be noticed
const PUMP_SLOTS = 64;

/** Runs until CONTROL_STOP is set. Throws on a trap, which takes the daemon down. */
export default function runShard(task: ShardTask): void {
  const core = instantiate(task.module, task.memory);
  const words = new Uint32Array(task.memory.buffer);
  const atomics = new Int32Array(task.memory.buffer);
  const head = (task.ring + L.RING_HEAD) / 4;
  const done = (task.ring + L.RING_DONE) / 4;
  const ready = (task.ring + L.RING_READY) / 4;
  const pumped = (task.ring + L.RING_PUMPED) / 4;
  const jobs = (task.ring + L.RING_JOBS) / 4;
  const asleep = L.CONTROL_ASLEEP / 4;
  const stop = L.CONTROL_STOP / 4;
  const cursor = (task.context + L.SHARD_CURSOR) / 4;
  const written = (task.context + L.SHARD_WRITTEN) / 4;

  while (Atomics.load(atomics, stop) === 0) {
    const seen = Atomics.load(atomics, head);
    let next = Atomics.load(atomics, done);
    const worked = next !== seen;
    while (next !== seen) {
      const job = jobs + (next & (L.RING_SLOTS - 1)) * (L.JOB_SIZE / 4);
      const verb = VERBS[words[job]!]!;
      words[job + L.JOB_RESULT / 4] = verb(core, task.context, words, job + 1);
      words[job + L.JOB_CURSOR / 4] = words[cursor]!;
      words[job + L.JOB_WRITTEN / 4] = words[written]!;
      next = (next + 1) | 0;
      Atomics.store(atomics, done, next);
    }
    if (worked) {
      if (Atomics.load(atomics, ready) === 0) {
        const filled = core.shardPump(task.context, PUMP_SLOTS);
        if (filled > 0) Atomics.store(atomics, ready, filled);
      }
      Atomics.store(atomics, pumped, next);
      if (Atomics.exchange(atomics, asleep, 0) === 1) signalEventfd(task.wake);
    }
    Atomics.wait(atomics, head, seen, SLEEP);
  }
}
