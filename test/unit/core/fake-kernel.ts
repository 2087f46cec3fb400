// A kernel for the tests of injection: carries out ctnetlink requests on a table of its own and
// refuses what the real kernel refuses. It reads no more of a request than it needs for that.
// Sources: linux/netfilter/nfnetlink_conntrack.h; errors as the lab shows them.

import * as L from '../../../assembly/layout.js';
import type { Failures } from '../../../src/kernel/requests.js';
import type { TestNode } from './arena.js';
import { nameOfFlow } from './spoken.js';

const CT_NEW = 0x100;
const NLM_F_ACK = 4;
const NLM_F_CREATE = 0x400;
const ENOENT = 2;
const EBUSY = 16;
const EEXIST = 17;
const EINVAL = 22;
const ASSURED_SEEN_REPLY = 0x6;

export interface KernelEntry {
  mark: number;
  status: number;
  timeout: number;
}

export class FakeKernel {
  readonly table = new Map<string, KernelEntry>();
  readonly sends: { requests: number; acknowledgements: number }[] = [];
  readonly errors: number[] = [];
  deletes = 0;
  /** Thrown by every send. */
  refusal: Error | undefined;
  private sequence = 1;

  constructor(private readonly node: TestNode) {}

  takeSequence(count: number): number {
    const first = this.sequence;
    this.sequence += count;
    return first;
  }

  send(address: number, bytes: number, first: number, count: number): Failures {
    if (this.refusal !== undefined) throw this.refusal;
    const { view } = this.node;
    const failures: Failures = new Map();
    const send = { requests: 0, acknowledgements: 0 };
    let at = address;
    while (at < address + bytes) {
      const length = view.getUint32(at, true);
      const position = view.getUint32(at + 8, true) - first;
      if (length < 20 || position < 0 || position >= count) throw new Error('a bad request');
      const errno = this.request(at, length);
      if (errno !== 0) failures.set(position, errno);
      if (errno !== 0) this.errors.push(errno);
      send.requests++;
      if (view.getUint16(at + 6, true) & NLM_F_ACK) send.acknowledgements++;
      at += length;
    }
    this.sends.push(send);
    return failures;
  }

  /** Marks by flow. */
  marks(): Record<string, number> {
    return Object.fromEntries([...this.table].map(([name, { mark }]) => [name, mark]).sort());
  }

  timeouts(): Record<string, number> {
    return Object.fromEntries([...this.table].map(([name, { timeout }]) => [name, timeout]));
  }

  private request(at: number, length: number): number {
    const { node } = this;
    const { fn, view } = node;
    const type = view.getUint16(at + 4, true);
    const flags = view.getUint16(at + 6, true);
    // A request is built of the attributes of events: the module's own decoder reads it.
    const flow = node.key + 64; // behind the scratch Flow that injection writes from
    if (fn.decodeFlow!(at, length, flow) !== 0) return EINVAL;
    const name = nameOfFlow(node, flow);
    const has = node.get(flow + L.FLOW_PRESENT);
    const entry = this.table.get(name);
    if (type !== CT_NEW) {
      this.deletes++;
      return this.table.delete(name) ? 0 : ENOENT;
    }
    const status = node.get(flow + L.FLOW_STATUS);
    const mark = has & L.HAS_MARK ? node.get(flow + L.FLOW_MARK) : undefined;
    const timeout = has & L.HAS_TIMEOUT ? node.get(flow + L.FLOW_TIMEOUT) : undefined;
    if (flags & NLM_F_CREATE) {
      if (entry !== undefined) return EEXIST;
      if (timeout === undefined) return EINVAL;
      if (has & L.HAS_MASTER && !this.table.has(this.masterName(flow))) return ENOENT;
      this.table.set(name, { mark: mark ?? 0, status, timeout });
      return 0;
    }
    if (entry === undefined) return ENOENT;
    if (entry.status & ASSURED_SEEN_REPLY & ~status) return EBUSY;
    entry.status |= status;
    entry.mark = mark ?? entry.mark;
    entry.timeout = timeout ?? entry.timeout;
    return 0;
  }

  private masterName(flow: number): string {
    const { node } = this;
    const tuple = flow + L.FLOW_MASTER;
    const v6 = node.bytes[tuple + L.TUPLE_L3] === 10;
    const host = tuple + L.TUPLE_SRC + (v6 ? 14 : 2);
    return `${(node.bytes[host]! << 8) | node.bytes[host + 1]!}${v6 ? 'v6' : ''}`;
  }
}
