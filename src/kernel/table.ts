// The kernel's table as a whole: into the caches (start, resync) and out of the kernel (flush). Both
// go through it one datagram of the dump at a time (about 135 flows, 0.3 ms) and let the data plane
// have its turn in between, so that neither events nor the peer wait for them.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Shards } from '../cache/shards.js';
import { VERB } from '../cache/verbs.js';
import type { Core } from '../cache/wasm.js';
import { KernelDump, type RequestSocket } from './requests.js';

/** Flows to sweep per call after a dump: about 0.2 ms. */
const SWEEP_SLICE = 65536;

export interface TableParts {
  arena: Arena;
  base: number;
  core: Core;
  shards: Shards;
  /** Lets the data plane have its turn. */
  pause: () => Promise<unknown>;
}

export interface TableReading {
  replicate: boolean | 'own';
  purge: boolean | 'unreported';
}

/**
 * Merges the kernel's flows into the internal cache; returns how many it listed. With `replicate`
 * the peers hear what is new or changed (`own`: but not of flows of theirs); with `purge`, flows that
 * the kernel no longer has are removed (`unreported`: and Stats mode logs no line for them, as they have
 * not ended). Events may be applied meanwhile: the shards know which of the two is newer.
 */
export async function readKernelTable(
  parts: TableParts,
  { replicate, purge }: TableReading,
): Promise<number> {
  const { arena, shards } = parts;
  const forAll = async (verb: VERB, ...args: number[]): Promise<number[]> => {
    const answers: Promise<number>[] = [];
    for (let i = 0; i < shards.count; i++) answers.push(shards.call(i, verb, ...args));
    await parts.pause();
    return Promise.all(answers);
  };
  const kernel = new KernelDump(arena, parts.base, 'flows');
  let listed = 0;
  try {
    await forAll(VERB.dumpBegin);
    const tell = replicate === 'own' ? L.TELL_OWN : replicate ? L.TELL_ALL : L.TELL_NOBODY;
    for (let length = kernel.next(); length > 0; length = kernel.next()) {
      listed += gatherDump(parts, length);
      await giveListed(parts, VERB.dump, tell);
      await parts.pause();
    }
    const purging = purge === 'unreported' ? L.PURGE_UNREPORTED : Number(purge);
    const sweep = [purging, Number(replicate !== false), SWEEP_SLICE];
    for (;;) {
      const more = await forAll(VERB.dumpEnd, ...sweep);
      if (more.every((answer) => answer === 0)) break;
    }
  } finally {
    kernel.close();
  }
  return listed;
}

/** Lists the messages of a datagram of the dump; how many are flows. */
export function gatherDump({ arena, core }: TableParts, length: number): number {
  const { buffer, flows, expects } = arena.dump;
  arena.bytes.fill(0, arena.gather, arena.gather + L.GATHER_SIZE);
  core.gatherDatagram(buffer, length, flows, expects, arena.gather);
  return arena.get(arena.gather + L.GATHER_FLOWS);
}

/** Gives the listed flows to their shards; resolves when they have taken them in. */
export async function giveListed(
  { arena, core, shards, pause }: TableParts,
  verb: VERB,
  ...more: number[]
): Promise<void> {
  const count = arena.get(arena.gather + L.GATHER_FLOWS);
  const { flows, routed, counts } = arena.dump;
  if (shards.immediate) {
    shards.post(0, verb, flows, count, ...more);
    return;
  }
  arena.bytes.fill(0, counts, counts + shards.count * 4);
  core.routeFlows(flows, count, shards.count, routed, counts, arena.scratch);
  const answers: Promise<number>[] = [];
  for (let shard = 0; shard < shards.count; shard++) {
    const part = arena.get(counts + shard * 4);
    const list = routed + shard * L.LIST_MAX * 4;
    if (part > 0) answers.push(shards.call(shard, verb, list, part, ...more));
  }
  await pause();
  await Promise.all(answers);
}

/**
 * Calls `visit` with the kernel's flows that pass the filter, a datagram of the dump at a time; the
 * wide Flow at the address it gets lasts until it returns. What it said is then written.
 */
export async function showKernelTable(
  parts: TableParts,
  visit: (flow: number) => string,
  write: (chunk: string) => Promise<void>,
): Promise<void> {
  const { arena, core } = parts;
  const flow = arena.scratch;
  const kernel = new KernelDump(arena, parts.base, 'flows');
  try {
    for (let length = kernel.next(); length > 0; length = kernel.next()) {
      const count = gatherDump(parts, length);
      let lines = '';
      for (let i = 0; i < count; i++) {
        const message = arena.get(arena.dump.flows + i * 4);
        if (core.decodeFlow(message, arena.get(message), flow) !== 0) continue;
        if (core.filterPasses(arena.get(L.CONTROL_FILTER), flow, 0) === 0) continue;
        lines += visit(flow);
      }
      if (lines !== '') await write(lines);
      await parts.pause();
    }
  } finally {
    kernel.close();
  }
}

/** Deletes the kernel's flows that pass the filter, one by one. */
export async function flushKernelTable(parts: TableParts, requests: RequestSocket): Promise<void> {
  const { arena, core } = parts;
  const { buffer, size } = arena.requests;
  const kernel = new KernelDump(arena, parts.base, 'flows');
  try {
    for (let length = kernel.next(); length > 0; length = kernel.next()) {
      const count = gatherDump(parts, length);
      if (count === 0) continue;
      const first = requests.takeSequence(count);
      const list = arena.dump.flows;
      const written = core.deleteRequests(list, count, arena.scratch, buffer, size, first);
      // A flow that ended by itself meanwhile (ENOENT) is what we wanted.
      if (written > 0) requests.send(buffer, written, first, count);
      await parts.pause();
    }
  } finally {
    kernel.close();
  }
}
