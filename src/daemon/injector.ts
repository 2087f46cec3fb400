// The node's side of direct injection: its request socket, what `-s` says of it, and the log. The
// kernel names the socket's port in the events that injections cause, which is how they are told
// from everybody else's. Runs in the data plane's turns, on main.

import * as L from '../../assembly/layout.js';
import type { Arena } from '../cache/arena.js';
import type { Core } from '../cache/wasm.js';
import type { Sync } from '../config/index.js';
import { RequestSocket } from '../kernel/requests.js';
import { errorText } from '../kernel/syscalls.js';
import { FlowReader, flowText } from '../report/flow.js';
import type { InjectCounters } from '../report/statistics.js';
import { failureText, type InjectFailure, Injection } from '../sync/inject.js';
import type { Log } from './log.js';

/** Failures told with their flow, a second; the rest is counted. */
const FAILURES_LOGGED = 10;

/** Requests of one expectation: delete, create, time. Only the second one's failure matters. */
const EXPECT_REQUESTS = 3;
const CREATION = 1;

export interface InjectorParts {
  arena: Arena;
  base: number;
  core: Core;
  log: Log;
}

export class Injector {
  private readonly requests: RequestSocket;
  private readonly injection: Injection;
  private since = 0;
  private failures = 0;

  /** Opens the socket and makes its port known to the shards. */
  constructor(
    private readonly parts: InjectorParts,
    { mode, tcpWindowTracking }: Sync,
  ) {
    const { arena, base, core } = parts;
    this.requests = new RequestSocket(arena, base, 'cannot open inject handler');
    arena.set(L.CONTROL_PORT_INJECT, this.requests.port);
    this.injection = new Injection(arena, core, this.requests, {
      tcpWindowTracking,
      repeats: mode === 'ALARM',
      onFailure: (failure) => this.logFailure(failure),
    });
  }

  /** Carries out the `count` messages listed at `list`. */
  inject(list: number, count: number): void {
    this.injection.inject(list, count);
  }

  /**
   * Carries out the messages of expectations listed at `list`. They are few: a send each. The flows
   * of the same datagrams went before, so a master is there. What fails stays in the external cache,
   * and `-c expect` tries once more.
   */
  injectExpectations(list: number, count: number): void {
    const { arena, core, log } = this.parts;
    const { buffer, size } = arena.requests;
    for (let i = 0; i < count; i++) {
      const message = arena.get(list + i * 4);
      const first = this.requests.takeSequence(EXPECT_REQUESTS);
      const bytes = core.injectExpectRequests(message, arena.scratch, buffer, size, first);
      if (bytes === 0) continue; // its shard counts it
      const errno = this.requests.send(buffer, bytes, first, EXPECT_REQUESTS).get(CREATION);
      if (errno === undefined) continue;
      log.limited('warning', 'expect', `could not add new expectation: ${errorText(errno)}`);
    }
  }

  counters(): InjectCounters {
    const { done, failed } = this.injection;
    return {
      kind: 'inject',
      created: done.create,
      createFailed: failed.create,
      updated: done.update,
      updateFailed: failed.update,
      destroyed: done.destroy,
      destroyFailed: failed.destroy,
    };
  }

  close(): void {
    this.requests.close();
  }

  private logFailure(failure: InjectFailure): void {
    const { arena, core, log } = this.parts;
    const now = performance.now();
    if (now - this.since >= 1000) {
      const silent = this.failures - FAILURES_LOGGED;
      if (silent > 0) log.warning(`${silent} more messages could not be injected`);
      this.since = now;
      this.failures = 0;
    }
    if (this.failures++ >= FAILURES_LOGGED) return;
    log.warning(`${failureText(failure)}: ${errorText(failure.errno)}`);
    const { message } = failure;
    const length = arena.view.getUint16(message + 2);
    core.decodeSync(message, length, arena.scratch, 0);
    log.flow('warning', flowText(new FlowReader(arena.view, arena.scratch)));
  }
}
