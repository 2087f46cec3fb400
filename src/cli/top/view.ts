// What --top shows: one look at the table summed up into the rows of a view. Flows stream by; only
// the best rows and one sum for each source, port or state are kept, and of every flow its byte count
// to know its rate at the next look. Pure data; the caller feeds it flows and asks for rows.

import {
  HAS_STATE,
  HAS_TIMEOUT,
  SAW_COUNTERS_ORIG,
  SAW_COUNTERS_REPLY,
} from '../../../assembly/layout.js';
import {
  AF_INET,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  layer4Name,
  stateName,
} from '../../report/names.js';
import type { FlowReader } from '../../report/reader.js';
import { hasPorts as hasPortsOrKeys } from '../tuple.js';
import { best } from './best.js';

export const VIEWS = ['flows', 'sources', 'ports', 'states'] as const;
export type ViewName = (typeof VIEWS)[number];

export const SORTS = ['rate', 'bytes', 'packets', 'flows', 'timeout'] as const;
export type Sort = (typeof SORTS)[number];

/** One row: what it is about and its sums. Rates are bytes per second. */
export interface Row {
  readonly title: string;
  /** What may be cut off where there is no room: the state of a flow. */
  readonly detail: string;
  rate: number;
  bytes: number;
  packets: number;
  flows: number;
  /** Seconds left, of a single flow. */
  timeout: number;
}

export interface Look {
  readonly rows: Row[];
  readonly flows: number;
  /** Whether the kernel counts bytes at all. */
  readonly counted: boolean;
  /** Sum of all rates, bytes per second. */
  readonly rate: number;
  /** Flows that were not there at the last look, and flows that have gone. */
  readonly added: number;
  readonly gone: number;
}

/** Looks at the table again and again. */
export class Watch {
  private before = new Map<number, number>();
  private first = true;

  /** Begins a look that shows `view`, the `most` best rows by `sort`, whose text holds `filter`. */
  look(view: ViewName, sort: Sort, most: number, filter: string, seconds: number): Looking {
    return new Looking(this.before, this.first, view, sort, most, filter, seconds);
  }

  /** Keeps what the next look is compared with. */
  done(looking: Looking): Look {
    const look = looking.result();
    this.before = looking.after;
    this.first = false;
    return look;
  }
}

export class Looking {
  readonly after = new Map<number, number>();
  private readonly sums = new Map<number | string, Row>();
  private readonly rows;
  private flows = 0;
  private matched = 0;
  private counted = false;
  private rate = 0;

  constructor(
    private readonly before: ReadonlyMap<number, number>,
    private readonly first: boolean,
    private readonly view: ViewName,
    sort: Sort,
    most: number,
    private readonly filter: string,
    private readonly seconds: number,
  ) {
    // Where that tells nothing apart, a flow is ranked by what is left of its time, a sum by its flows.
    this.rows = best<Row>(most, (row) => row[sort] || (row.timeout || row.flows) / 2 ** 40);
  }

  /** Takes one flow, as it lies in memory now. */
  take(flow: FlowReader): void {
    this.flows++;
    const bytes = counters(flow, 'bytes');
    const { id } = flow;
    const old = this.before.get(id);
    // Ids are hashes: two flows may share one, which must not count twice.
    if (old !== undefined && !this.after.has(id)) this.matched++;
    this.after.set(id, bytes);
    if (flow.saw(SAW_COUNTERS_ORIG)) this.counted = true;
    // A flow that is new since the last look has sent all its bytes since then.
    const rate = this.first ? 0 : Math.max(0, bytes - (old ?? 0)) / this.seconds;
    this.rate += rate;
    if (this.view === 'flows') this.takeSingle(flow, bytes, rate);
    else this.add(flow, bytes, rate);
  }

  private takeSingle(flow: FlowReader, bytes: number, rate: number): void {
    const packets = counters(flow, 'packets');
    const timeout = flow.has(HAS_TIMEOUT) ? flow.timeout : 0;
    const sums = { rate, bytes, packets, flows: 1, timeout };
    const row = { title: '', detail: '', ...sums };
    // The text is made only of flows that are shown, unless it decides that.
    if (this.filter === '') this.rows.offer(row, () => ({ ...flowText(flow), ...sums }));
    else {
      const shown = { ...flowText(flow), ...sums };
      if (this.passes(shown)) this.rows.offer(shown, () => shown);
    }
  }

  private passes({ title, detail }: Row): boolean {
    return `${title} ${detail}`.includes(this.filter);
  }

  private add(flow: FlowReader, bytes: number, rate: number): void {
    const key = keyOf(this.view, flow);
    let row = this.sums.get(key);
    if (row === undefined) {
      const title = titleOf(this.view, flow);
      row = { title, detail: '', rate: 0, bytes: 0, packets: 0, flows: 0, timeout: 0 };
      this.sums.set(key, row);
    }
    row.rate += rate;
    row.bytes += bytes;
    row.packets += counters(flow, 'packets');
    row.flows++;
  }

  result(): Look {
    for (const row of this.sums.values()) {
      if (this.passes(row)) this.rows.offer(row, () => row);
    }
    const { flows, counted, rate, matched, first, before } = this;
    return {
      rows: this.rows.sorted(),
      flows,
      counted,
      rate,
      added: first ? 0 : this.after.size - matched,
      gone: first ? 0 : before.size - matched,
    };
  }
}

function counters(flow: FlowReader, what: 'bytes' | 'packets'): number {
  const bytes = what === 'bytes';
  let sum = 0;
  if (flow.saw(SAW_COUNTERS_ORIG)) sum += Number(bytes ? flow.bytesOrig : flow.packetsOrig);
  if (flow.saw(SAW_COUNTERS_REPLY)) sum += Number(bytes ? flow.bytesReply : flow.packetsReply);
  return sum;
}

/** What a row sums up: a number where one can tell, text otherwise. */
function keyOf(view: ViewName, flow: FlowReader): number | string {
  const { orig } = flow;
  if (view === 'ports') return orig.protocol * 65536 + portOf(flow);
  if (view === 'states') {
    return orig.protocol * 256 + (flow.has(HAS_STATE) ? flow.state : 255);
  }
  if (orig.family !== AF_INET) return orig.src;
  const [a, b, c, d] = orig.srcBytes;
  return ((a! * 256 + b!) * 256 + c!) * 256 + d!;
}

function titleOf(view: ViewName, flow: FlowReader): string {
  const { orig } = flow;
  const protocol = protocolText(orig.protocol);
  if (view === 'sources') return orig.src;
  if (view === 'ports') return portTitle(flow, protocol);
  const state = flow.has(HAS_STATE) ? stateName(orig.protocol, flow.state) : undefined;
  return state === undefined ? protocol : `${protocol} ${state}`;
}

function protocolText(protocol: number): string {
  const name = layer4Name(protocol);
  return name === 'unknown' ? `${protocol}` : name;
}

function hasPorts(protocol: number): boolean {
  return hasPortsOrKeys(protocol) && protocol !== IPPROTO_GRE;
}

function isIcmp(protocol: number): boolean {
  return protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6;
}

/** What a row of the ports stands for within its protocol: a port, or the type of an ICMP message. */
function portOf({ orig }: FlowReader): number {
  if (isIcmp(orig.protocol)) return orig.icmpType;
  return hasPorts(orig.protocol) ? orig.dport : 0;
}

function portTitle(flow: FlowReader, protocol: string): string {
  const { orig } = flow;
  if (isIcmp(orig.protocol)) return `${protocol} type ${orig.icmpType}`;
  return hasPorts(orig.protocol) ? `${protocol} ${orig.dport}` : protocol;
}

/** `tcp 10.0.0.1:40000 > 10.0.0.2:443` and `ESTABLISHED`. */
function flowText(flow: FlowReader): { title: string; detail: string } {
  const { orig } = flow;
  const ported = hasPorts(orig.protocol);
  const from = ported ? endText(orig.src, orig.sport) : orig.src;
  const to = ported ? endText(orig.dst, orig.dport) : orig.dst;
  const words = [protocolText(orig.protocol).padEnd(6), from.padEnd(21), '>', to.padEnd(21)];
  return { title: words.join(' '), detail: detailText(flow) };
}

/** What a flow has besides its ends. */
function detailText(flow: FlowReader): string {
  const { orig } = flow;
  if (isIcmp(orig.protocol)) return `type ${orig.icmpType} id ${orig.sport}`;
  if (orig.protocol === IPPROTO_GRE) {
    return `keys 0x${orig.sport.toString(16)} 0x${orig.dport.toString(16)}`;
  }
  const state = flow.has(HAS_STATE) ? stateName(orig.protocol, flow.state) : undefined;
  return state ?? '';
}

function endText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
