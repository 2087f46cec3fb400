// Which flows a command means: every criterion of a command line as a test of a wide Flow in memory.
// What the kernel has sorted out before (encode.ts) is tested again: kernels differ. Tests read
// memory and make no objects. docs/conntrack.md, "Selecting".

import * as L from '../../assembly/layout.js';
import type { Address, Translation } from './address.js';
import { failure } from './complain.js';
import type { OptionName } from './options.js';
import { P } from './protocols.js';
import type { Request } from './request.js';
import { IPS_DST_NAT_DONE, IPS_SRC_NAT_DONE } from './values.js';

/** Whether the flow at the address that the selection was made for is meant. */
export type Selection = () => boolean;

/** What -U changes is no criterion. */
const CHANGED_BY_UPDATE: readonly OptionName[] = ['mark', 'timeout', 'status'];

/** The criteria of a request over the flow at `flow`; undefined if it means every flow. */
export function compileSelection(
  request: Request,
  bytes: Uint8Array,
  view: DataView,
  flow: number,
): Selection | undefined {
  const tests = new Criteria(request, bytes, view, flow).collect();
  if (tests.length === 0) return undefined;
  if (tests.length === 1) return tests[0];
  return () => {
    for (const test of tests) if (!test()) return false;
    return true;
  };
}

class Criteria {
  private readonly tests: Selection[] = [];

  constructor(
    private readonly request: Request,
    private readonly bytes: Uint8Array,
    private readonly view: DataView,
    private readonly flow: number,
  ) {}

  collect(): Selection[] {
    const { request } = this;
    if (request.family !== 0) this.byte(L.FLOW_ORIG + L.TUPLE_L3, request.family);
    if (request.choice !== undefined) this.byte(L.FLOW_ORIG + L.TUPLE_L4, request.choice.number);
    this.addresses();
    this.places();
    this.attributes();
    this.zones();
    this.translations();
    return this.tests;
  }

  /** Given, and a criterion of this command. */
  private selects(name: OptionName): boolean {
    const { request } = this;
    if (!request.has(name)) return false;
    return request.command !== 'update' || !CHANGED_BY_UPDATE.includes(name);
  }

  private present(bit: number): boolean {
    return (this.view.getUint32(this.flow + L.FLOW_PRESENT, true) & bit) !== 0;
  }

  private byte(offset: number, value: number): void {
    const at = this.flow + offset;
    this.tests.push(() => this.bytes[at] === value);
  }

  private word(offset: number, bit: number, mask: number, value: number): void {
    const at = this.flow + offset;
    this.tests.push(
      () => this.present(bit) && (this.view.getUint32(at, true) & mask) >>> 0 === value,
    );
  }

  private addresses(): void {
    const { orig, reply, mask } = this.request;
    this.address(L.FLOW_ORIG + L.TUPLE_SRC, orig.src, mask.src);
    this.address(L.FLOW_ORIG + L.TUPLE_DST, orig.dst, mask.dst);
    this.address(L.FLOW_REPLY + L.TUPLE_SRC, reply.src, undefined);
    this.address(L.FLOW_REPLY + L.TUPLE_DST, reply.dst, undefined);
  }

  private address(offset: number, wanted: Address | undefined, mask: Address | undefined): void {
    if (wanted === undefined) return;
    const at = this.flow + offset;
    const { bytes } = this;
    const { length } = wanted.bytes;
    const bits = mask?.bytes ?? new Uint8Array(length).fill(0xff);
    const value = wanted.bytes.map((byte, i) => byte & bits[i]!);
    this.tests.push(() => {
      for (let i = 0; i < length; i++) {
        if ((bytes[at + i]! & bits[i]!) !== value[i]) return false;
      }
      return true;
    });
  }

  /** Ports, keys and ICMP members; the state. */
  private places(): void {
    const { places, values, command } = this.request;
    const raw16 = (place: number, offset: number) => {
      if (!(places & (1 << place))) return;
      const at = this.flow + offset;
      const value = values[place];
      this.tests.push(() => this.view.getUint16(at) === value);
    };
    raw16(P.sport, L.FLOW_ORIG + L.TUPLE_SPORT);
    raw16(P.dport, L.FLOW_ORIG + L.TUPLE_DPORT);
    raw16(P.replySport, L.FLOW_REPLY + L.TUPLE_SPORT);
    raw16(P.replyDport, L.FLOW_REPLY + L.TUPLE_DPORT);
    raw16(P.icmpId, L.FLOW_ORIG + L.TUPLE_SPORT);
    for (const [place, offset] of [
      [P.icmpType, L.TUPLE_ICMP_TYPE],
      [P.icmpCode, L.TUPLE_ICMP_CODE],
    ] as const) {
      if (places & (1 << place)) this.byte(L.FLOW_ORIG + offset, values[place]!);
    }
    if (places & (1 << P.state) && command !== 'update') {
      const at = this.flow + L.FLOW_STATE;
      const state = values[P.state];
      this.tests.push(() => this.present(L.HAS_STATE) && this.bytes[at] === state);
    }
  }

  private attributes(): void {
    const { request } = this;
    if (this.selects('mark')) {
      const { value, mask } = request.mark;
      this.word(L.FLOW_MARK, L.HAS_MARK, mask ?? 0xffffffff, value);
    }
    if (this.selects('status')) {
      const { set, clear } = request.status;
      // An empty list would mean every flow; a slip must not empty the table.
      if ((set | clear) === 0 && request.command === 'delete') {
        throw failure('Operation failed: invalid parameters');
      }
      this.word(L.FLOW_STATUS, L.HAS_STATUS, set | clear, set);
    }
    if (this.selects('timeout')) {
      this.word(L.FLOW_TIMEOUT, L.HAS_TIMEOUT, 0xffffffff, request.timeout);
    }
    if (this.selects('id')) this.word(L.FLOW_ID, L.HAS_ID, 0xffffffff, request.id);
    if (request.label !== undefined) this.labels(request.label);
  }

  private labels(wanted: Uint8Array): void {
    const at = this.flow + L.FLOW_LABELS;
    const { bytes } = this;
    this.tests.push(
      () =>
        this.present(L.HAS_LABELS) && wanted.every((byte, i) => (bytes[at + i]! & byte) === byte),
    );
  }

  private zones(): void {
    const { request } = this;
    this.zone('zone', L.FLOW_ZONE, L.HAS_ZONE, request.zone);
    this.zone('orig-zone', L.FLOW_ZONE_ORIG, L.HAS_ZONE_ORIG, request.origZone);
    this.zone('reply-zone', L.FLOW_ZONE_REPLY, L.HAS_ZONE_REPLY, request.replyZone);
  }

  /** A zone that is absent counts as 0. */
  private zone(option: OptionName, offset: number, bit: number, wanted: number): void {
    if (!this.request.has(option)) return;
    const at = this.flow + offset;
    this.tests.push(() => (this.present(bit) ? this.view.getUint16(at, true) : 0) === wanted);
  }

  private translations(): void {
    const { request } = this;
    if (request.has('src-nat')) this.tests.push(this.sourceChanged(request.srcNat));
    if (request.has('dst-nat')) this.tests.push(this.targetChanged(request.dstNat));
    if (request.has('any-nat')) {
      const source = this.sourceChanged(request.anyNat);
      const target = this.targetChanged(request.anyNat);
      this.tests.push(() => source() || target());
    }
  }

  private sourceChanged(wanted: Translation | undefined): Selection {
    return this.changed(
      IPS_SRC_NAT_DONE,
      L.FLOW_ORIG + L.TUPLE_SRC,
      L.FLOW_REPLY + L.TUPLE_DST,
      L.FLOW_ORIG + L.TUPLE_SPORT,
      L.FLOW_REPLY + L.TUPLE_DPORT,
      wanted,
    );
  }

  private targetChanged(wanted: Translation | undefined): Selection {
    return this.changed(
      IPS_DST_NAT_DONE,
      L.FLOW_ORIG + L.TUPLE_DST,
      L.FLOW_REPLY + L.TUPLE_SRC,
      L.FLOW_ORIG + L.TUPLE_DPORT,
      L.FLOW_REPLY + L.TUPLE_SPORT,
      wanted,
    );
  }

  /**
   * Translated: the reply's end is not the original's. The ports of ICMP are its id, type and code,
   * so an ICMP flow always seems to be translated once translation was set up; C does the same.
   */
  private changed(
    done: number,
    address: number,
    newAddress: number,
    port: number,
    newPort: number,
    wanted: Translation | undefined,
  ): Selection {
    const { view, flow, bytes } = this;
    const differs = (length: number) => {
      for (let i = 0; i < length; i++) {
        if (bytes[flow + address + i] !== bytes[flow + newAddress + i]) return true;
      }
      return false;
    };
    const isDone = () =>
      this.present(L.HAS_STATUS) && (view.getUint32(flow + L.FLOW_STATUS, true) & done) !== 0;
    if (wanted === undefined) {
      return () =>
        isDone() && (differs(16) || view.getUint16(flow + port) !== view.getUint16(flow + newPort));
    }
    const { bytes: to } = wanted.address;
    const matches = () => to.every((byte, i) => bytes[flow + newAddress + i] === byte);
    return () =>
      isDone() &&
      differs(to.length) &&
      matches() &&
      (wanted.port === undefined || view.getUint16(flow + newPort) === wanted.port);
  }
}
