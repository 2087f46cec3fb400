// What --top shows: one look at the table summed up into the rows of a view. Flows stream by; only
// the best rows and one sum for each source, port or state are kept, and of every flow its byte count
// to know its rate at the next look. Pure data; the caller feeds it flows and asks for rows.

import {
  HAS_STATE,
  HAS_TIMEOUT,
  SAW_COUNTERS_ORIG,
  SAW_COUNTERS_REPLY,
} from '../../../assembly/layout.js';
import { AF_INET, layer4Name, stateName } from '../../report/names.js';
import type { FlowReader } from '../../report/reader.js';
import { best } from './best.js';

export const VIEWS = ['flows', 'sources', 'ports', 'states'] as const;
export type ViewName = (typeof VIEWS)[number];

export const SORTS = ['rate', 'bytes', 'packets', 'flows', 'timeout'] as const;
export type Sort = (typeof SORTS)[number];

/** One row: what it is about and its sums. Rates are bytes per second. */
export interface Row {
  readonly title: string;
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
    // Flows without counters are ranked by what is left of their time instead.
    this.rows = best<Row>(most, (row) => row[sort] || row.timeout / 2 ** 40);
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
    if (bytes > 0) this.counted = true;
    // A flow that is new since the last look has sent all its bytes since then.
    const rate = this.first ? 0 : Math.max(0, bytes - (old ?? 0)) / this.seconds;
    this.rate += rate;
    if (this.view === 'flows') this.takeSingle(flow, bytes, rate);
    else this.add(flow, bytes, rate);
  }

  private takeSingle(flow: FlowReader, bytes: number, rate: number): void {
    const packets = counters(flow, 'packets');
    const timeout = flow.has(HAS_TIMEOUT) ? flow.timeout : 0;
    const row = { title: '', rate, bytes, packets, flows: 1, timeout };
    // The text is made only of flows that are shown, unless it decides that.
    if (this.filter === '') this.rows.offer(row, () => ({ ...row, title: flowTitle(flow) }));
    else {
      const title = flowTitle(flow);
      if (title.includes(this.filter)) this.rows.offer(row, () => ({ ...row, title }));
    }
  }

  private add(flow: FlowReader, bytes: number, rate: number): void {
    const key = keyOf(this.view, flow);
    let row = this.sums.get(key);
    if (row === undefined) {
      const title = titleOf(this.view, flow);
      row = { title, rate: 0, bytes: 0, packets: 0, flows: 0, timeout: 0 };
      this.sums.set(key, row);
    }
    row.rate += rate;
    row.bytes += bytes;
    row.packets += counters(flow, 'packets');
    row.flows++;
  }

  result(): Look {
    for (const row of this.sums.values()) {
      if (row.title.includes(this.filter)) this.rows.offer(row, () => row);
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
  if (view === 'ports') return orig.protocol * 65536 + orig.dport;
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
  if (view === 'ports') return `${protocol} ${orig.dport}`;
  const state = flow.has(HAS_STATE) ? stateName(orig.protocol, flow.state) : undefined;
  return state === undefined ? protocol : `${protocol} ${state}`;
}

function protocolText(protocol: number): string {
  const name = layer4Name(protocol);
  return name === 'unknown' ? `${protocol}` : name;
}

/** `tcp 10.0.0.1:40000 > 10.0.0.2:443 ESTABLISHED`. */
function flowTitle(flow: FlowReader): string {
  const { orig } = flow;
  const state = flow.has(HAS_STATE) ? stateName(orig.protocol, flow.state) : undefined;
  const from = endText(orig.src, orig.sport);
  const to = endText(orig.dst, orig.dport);
  const words = [protocolText(orig.protocol).padEnd(6), from.padEnd(21), '>', to.padEnd(21)];
  return state === undefined ? words.join(' ') : `${words.join(' ')} ${state}`;
}

function endText(address: string, port: number): string {
  if (port === 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
