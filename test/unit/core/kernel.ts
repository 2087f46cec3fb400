// What the kernel would say: ctnetlink messages of made-up flows, as bytes.
// Source: linux/netfilter/nfnetlink_conntrack.h. A flow is picked by a small number, so that tests
// can meet the same tuple again and again.

export interface KernelFlow {
  /** Picks the tuple. */
  n: number;
  v6?: boolean;
  /** TCP unless told. */
  l4?: number;
  zone?: number;
  status?: number;
  timeout?: number;
  mark?: number;
  state?: number;
  labels?: number;
  id?: number;
  /** Source address and port after translation, as numbers within the test's net. */
  snat?: number;
  helper?: string;
  counters?: { packets: number; bytes: number };
  /** The tuple of the master, by number; same family. */
  master?: number;
  synproxy?: [number, number, number];
}

export type Kind = 'new' | 'update' | 'destroy' | 'dump';

const TYPE = { new: 0x100, update: 0x100, destroy: 0x102, dump: 0x100 };
const FLAGS = { new: 0x600, update: 0, destroy: 0, dump: 2 };

const NESTED = 0x8000;

export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const out = new Uint8Array((4 + payload.length + 3) & ~3);
  const view = new DataView(out.buffer);
  view.setUint16(0, 4 + payload.length, true);
  view.setUint16(2, type, true);
  out.set(payload, 4);
  return out;
}

export function nest(type: number, ...members: Uint8Array[]): Uint8Array {
  return attribute(type | NESTED, Buffer.concat(members));
}

export function be32(type: number, value: number): Uint8Array {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value >>> 0);
  return attribute(type, payload);
}

function be16(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value >> 8, value & 255));
}

function be64(type: number, value: number): Uint8Array {
  const payload = Buffer.alloc(8);
  payload.writeBigUInt64BE(BigInt(value));
  return attribute(type, payload);
}

/** Address of the client (`side` 1), the server (2) or the translated client (3) of flow n. */
export function address(side: number, n: number, v6: boolean): Uint8Array {
  const host = [(n >> 8) & 255, n & 255];
  if (!v6) return Uint8Array.of(10, side, ...host);
  return Uint8Array.of(0xfd, side, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...host);
}

export function sportOf(n: number): number {
  return 20000 + (n % 1000);
}

interface Ends {
  src: Uint8Array;
  dst: Uint8Array;
  sport: number;
  dport: number;
}

export function tuple(type: number, l4: number, ends: Ends): Uint8Array {
  const v6 = ends.src.length === 16;
  const ip = nest(1, attribute(v6 ? 3 : 1, ends.src), attribute(v6 ? 4 : 2, ends.dst));
  const members = [attribute(1, Uint8Array.of(l4))];
  if (l4 === 1 || l4 === 58) {
    const first = l4 === 1 ? 4 : 7;
    members.push(
      be16(first, ends.sport),
      attribute(first + 1, Uint8Array.of(ends.dport >> 8)),
      attribute(first + 2, Uint8Array.of(ends.dport & 255)),
    );
  } else if (l4 === 6 || l4 === 17) {
    members.push(be16(2, ends.sport), be16(3, ends.dport));
  }
  return nest(type, ip, nest(2, ...members));
}

function tuples(flow: KernelFlow, l4: number): Uint8Array[] {
  const { n, v6 = false } = flow;
  const src = address(1, n, v6);
  const dst = address(2, n, v6);
  if (l4 === 1 || l4 === 58) {
    const [request, reply] = l4 === 1 ? [8, 0] : [128, 129];
    const id = sportOf(n);
    return [
      tuple(1, l4, { src, dst, sport: id, dport: request << 8 }),
      tuple(2, l4, { src: dst, dst: src, sport: id, dport: reply << 8 }),
    ];
  }
  const sport = sportOf(n);
  const back =
    flow.snat === undefined
      ? { src: dst, dst: src, sport: 80, dport: sport }
      : { src: dst, dst: address(3, flow.snat, v6), sport: 80, dport: sportOf(flow.snat) };
  return [tuple(1, l4, { src, dst, sport, dport: 80 }), tuple(2, l4, back)];
}

function attributes(kind: Kind, flow: KernelFlow, l4: number): Uint8Array[] {
  const list: Uint8Array[] = [];
  const gone = kind === 'destroy';
  if (flow.zone) list.push(be16(18, flow.zone));
  if (flow.id !== undefined) list.push(be32(12, flow.id));
  const nat = flow.snat === undefined ? 0 : 0x10;
  list.push(be32(3, (flow.status ?? 0x188) | nat));
  if (flow.counters) {
    const { packets, bytes } = flow.counters;
    list.push(nest(9, be64(1, packets), be64(2, bytes)));
    list.push(nest(10, be64(1, 1), be64(2, 10)));
  }
  if (!gone) list.push(be32(7, flow.timeout ?? 120));
  if (l4 === 6 && !gone) {
    const flags = (type: number) => attribute(type, Uint8Array.of(8, 0));
    list.push(nest(4, nest(1, attribute(1, Uint8Array.of(flow.state ?? 1)), flags(4), flags(5))));
  }
  if (flow.helper !== undefined) {
    list.push(nest(5, attribute(1, Buffer.from(`${flow.helper}\0`, 'latin1'))));
  }
  if (flow.mark !== undefined) list.push(be32(8, flow.mark));
  if (flow.labels !== undefined) {
    list.push(attribute(22, new Uint8Array(16).fill(flow.labels)));
  }
  if (flow.synproxy) list.push(nest(24, ...flow.synproxy.map((word, i) => be32(i + 1, word))));
  if (flow.master !== undefined) list.push(masterTuple(flow.master, flow.v6 ?? false));
  return list;
}

function masterTuple(n: number, v6: boolean): Uint8Array {
  return tuple(14, 6, {
    src: address(1, n, v6),
    dst: address(2, n, v6),
    sport: sportOf(n),
    dport: 80,
  });
}

/** A message of the kernel about `flow`, caused by the socket `port` (0: packets and timers). */
export function kernelMessage(kind: Kind, flow: KernelFlow, port = 0): Uint8Array {
  const l4 = flow.l4 ?? 6;
  const body = Buffer.concat([...tuples(flow, l4), ...attributes(kind, flow, l4)]);
  const out = new Uint8Array(20 + body.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, out.length, true);
  view.setUint16(4, TYPE[kind], true);
  view.setUint16(6, FLAGS[kind], true);
  view.setUint32(12, port, true);
  out[16] = flow.v6 ? 10 : 2;
  out.set(body, 20);
  return out;
}
