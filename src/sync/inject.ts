// Direct injection (DisableExternalCache): the messages of a peer into this kernel, at once.
//
//   messages ─▶ requests, up to 128 a send ─▶ kernel ─▶ errors ─▶ delete + create ─▶ kernel
//                                                         └─▶ later messages of these flows, again
//
// The kernel carries a batch out inside the send, in order, each request for itself, so an error is
// known before the next batch is written. A NEW that exists already, and an UPD that the kernel does
// not know or refuses (a status bit that cannot be taken back), become a delete and a create. What a
// batch said of such a flow behind the failed message is said once more: the order of messages
// counts within a flow and nowhere else. Everything here runs on main, inside the turn that read the
// datagrams, and keeps nothing: the messages lie in their receive slots until it returns.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Core } from '../cache/wasm.js';
import type { Failures } from '../kernel/requests.js';
import { EEXIST, EINVAL, ENOENT, SystemCallError } from '../kernel/syscalls.js';

/** What a message asks for, by its type: NEW, UPD, DEL. */
export type InjectStep = 'create' | 'update' | 'destroy';
const STEPS: readonly InjectStep[] = ['create', 'update', 'destroy'];

/** What injection needs of the request socket: see src/kernel/requests.ts. */
export interface KernelRequests {
  takeSequence(count: number): number;
  send(address: number, bytes: number, first: number, count: number): Failures;
}

export interface InjectFailure {
  step: InjectStep;
  errno: number;
  /** The flow was deleted first, and still could not be created. */
  again: boolean;
  /** Address of the message. */
  message: number;
}

export interface InjectOptions {
  tcpWindowTracking: boolean;
  /** NEWs are repeated (ALARM): one that exists is updated. */
  repeats: boolean;
  onFailure: (failure: InjectFailure) => void;
}

export class Injection {
  /** Messages carried out, and those that could not be, by type. */
  readonly done = { create: 0, update: 0, destroy: 0 };
  readonly failed = { create: 0, update: 0, destroy: 0 };
  private readonly list: number;
  private readonly rows: number;
  private readonly flags: number;

  constructor(
    private readonly arena: Arena,
    private readonly core: Core,
    private readonly requests: KernelRequests,
    private readonly options: InjectOptions,
  ) {
    this.list = arena.injection.list;
    this.rows = arena.injection.rows;
    this.flags =
      (options.tcpWindowTracking ? L.INJECT_WINDOW_TRACKING : 0) |
      (options.repeats ? L.INJECT_REPEATS : 0);
  }

  /** Carries out the `count` messages listed at `list`. */
  inject(list: number, count: number): void {
    const { u32 } = this.arena;
    for (let first = 0; first < count; first += L.INJECT_BATCH) {
      const end = Math.min(first + L.INJECT_BATCH, count);
      let pending: number[] = Array.from(u32.subarray(list / 4 + first, list / 4 + end));
      while (pending.length > 0) {
        const { taken, later } = this.carryOut(pending);
        // Of each flow in `later` one message less is left than before: this ends.
        pending = [...later, ...pending.slice(taken)];
      }
    }
  }

  /** One batch from the front of `messages`; how many it took, and which are to be said once more. */
  private carryOut(messages: readonly number[]): { taken: number; later: number[] } {
    const { arena, core, rows } = this;
    const { buffer, size } = arena.requests;
    this.listMessages(messages);
    const first = this.requests.takeSequence(messages.length);
    const taken = core.injectRequests(
      this.list,
      messages.length,
      buffer,
      size,
      rows,
      first,
      arena.scratch,
      this.flags,
    );
    const failures = this.send(buffer, arena.get(rows + L.INJECT_WRITTEN), first, taken);
    const again: number[] = [];
    const later: number[] = [];
    const stuck = new Set<number>(); // hashes of flows whose message failed in this batch
    for (let i = 0; i < taken; i++) {
      const message = messages[i]!;
      const row = rows + i * L.INJECT_ROW;
      const outcome = arena.get(row + L.INJECT_OUTCOME);
      if (outcome === L.INJECT_UNREADABLE) continue; // its shard counts it
      const hash = arena.get(row + L.INJECT_HASH);
      if (stuck.has(hash)) {
        later.push(message);
        continue;
      }
      const errno = outcome === L.INJECT_UNENCODABLE ? EINVAL : failures.get(i);
      if (errno === undefined) {
        this.done[this.step(message)]++;
      } else if (this.isDestroy(message)) {
        // A flow that is gone already is what a DEL wants.
        if (errno !== ENOENT) this.fail(message, errno, false);
      } else if (outcome === L.INJECT_UNENCODABLE) {
        this.fail(message, errno, false);
      } else {
        stuck.add(hash);
        again.push(message);
      }
    }
    if (again.length > 0) this.replace(again);
    return { taken, later };
  }

  /** A delete and a create for each. */
  private replace(messages: readonly number[]): void {
    const { arena, core, rows } = this;
    const { buffer, size } = arena.requests;
    this.listMessages(messages);
    const count = 2 * messages.length;
    const first = this.requests.takeSequence(count);
    core.injectAgain(
      this.list,
      messages.length,
      buffer,
      size,
      rows,
      first,
      arena.scratch,
      this.flags,
    );
    const failures = this.send(buffer, arena.get(rows + L.INJECT_WRITTEN), first, count);
    messages.forEach((message, i) => {
      const outcome = arena.get(rows + i * L.INJECT_ROW + L.INJECT_OUTCOME);
      // The delete may fail where the create does not: the tuple clashes with another's reply.
      const errno = outcome !== 0 ? EINVAL : failures.get(2 * i + 1);
      if (errno === undefined) this.done[this.step(message)]++;
      else this.fail(message, errno, true);
    });
  }

  /** Failures by position. When the kernel takes nothing at all, that is everybody's failure. */
  private send(address: number, bytes: number, first: number, count: number): Failures {
    if (bytes === 0) return new Map();
    try {
      return this.requests.send(address, bytes, first, count);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      return new Map(Array.from({ length: count }, (_, i) => [i, error.errno]));
    }
  }

  private listMessages(messages: readonly number[]): void {
    messages.forEach((message, i) => {
      this.arena.set(this.list + i * 4, message);
    });
  }

  private fail(message: number, errno: number, again: boolean): void {
    const step = this.step(message);
    this.failed[step]++;
    this.options.onFailure({ step, errno, again, message });
  }

  private isDestroy(message: number): boolean {
    return this.step(message) === 'destroy';
  }

  private step(message: number): InjectStep {
    return STEPS[this.arena.bytes[message]! & 0xf] ?? 'update';
  }
}

/** The C daemon's words for a failure. */
export function failureText({ step, errno, again }: InjectFailure): string {
  switch (step) {
    case 'create':
      return again && errno === EEXIST
        ? 'could not add new ct entry, even when deleting it first'
        : 'could not add new ct entry';
    case 'update':
      return again
        ? 'could not update ct entry, even when deleting it first'
        : 'could not update ct entry';
    case 'destroy':
      return 'could not destroy ct entry';
  }
}
