// Requests to the kernel's connection tracking, as templates: every byte but the tuple's addresses
// and source port. load.ts copies one as often as a burst is long and patches only those.
//
// Source: linux/netfilter/nfnetlink_conntrack.h, linux/netlink.h. Netlink's own fields are in host
// order (little-endian on every machine this runs on), the payload of attributes is big-endian.

export type RequestKind = 'create' | 'update' | 'delete';

const NESTED = 0x8000;
const HEADER = 20; // struct nlmsghdr, struct nfgenmsg

// struct nlmsghdr.nlmsg_type, subsystem 1 (NFNL_SUBSYS_CTNETLINK)
const TYPE = { create: 0x100, update: 0x100, delete: 0x102 } as const;
// NLM_F_REQUEST; NLM_F_CREATE | NLM_F_EXCL
const FLAGS = { create: 0x601, update: 0x001, delete: 0x001 } as const;

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_PROTOINFO = 4;
const CTA_TIMEOUT = 7;
const IPPROTO_TCP = 6;
const IPS_SEEN_REPLY_ASSURED_CONFIRMED = 0xe;
const TIMEOUT = 7200; // s
const FLAGS_BOTH = 0x0a0a; // SACK permitted and liberal, value and mask

/** Bytes of one tuple attribute with IPv4 addresses and ports. */
const TUPLE = 52;

/** Where the fields of a tuple lie in a request: CTA_TUPLE_ORIG comes first, REPLY behind it. */
export const ORIG = { src: HEADER + 12, dst: HEADER + 20, sport: HEADER + 40 } as const;
export const REPLY = {
  src: HEADER + TUPLE + 12,
  dst: HEADER + TUPLE + 20,
  dport: HEADER + TUPLE + 48,
} as const;

function attribute(type: number, ...payload: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(payload);
  const out = Buffer.alloc((4 + body.length + 3) & ~3);
  out.writeUInt16LE(4 + body.length, 0);
  out.writeUInt16LE(type, 2);
  out.set(body, 4);
  return out;
}

function u32(value: number): Uint8Array {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255);
}

/** A tuple without addresses; its ports are 80 until they are patched. */
function tuple(type: number): Uint8Array {
  const address = attribute(1 | NESTED, attribute(1, u32(0)), attribute(2, u32(0)));
  const ports = [attribute(2, u16(80)), attribute(3, u16(80))];
  const protocol = attribute(2 | NESTED, attribute(1, Uint8Array.of(IPPROTO_TCP)), ...ports);
  return attribute(type | NESTED, address, protocol);
}

function protocolState(state: number): Uint8Array {
  const tcp = [
    attribute(1, Uint8Array.of(state)),
    attribute(4, u16(FLAGS_BOTH)),
    attribute(5, u16(FLAGS_BOTH)),
  ];
  return attribute(CTA_PROTOINFO | NESTED, attribute(1 | NESTED, ...tcp));
}

/** One request of this kind. Its tuple is patched before it is sent. */
export function template(kind: RequestKind, state: number): Uint8Array {
  const parts = [tuple(CTA_TUPLE_ORIG)];
  if (kind === 'create') {
    parts.push(tuple(CTA_TUPLE_REPLY));
    parts.push(attribute(CTA_STATUS, u32(IPS_SEEN_REPLY_ASSURED_CONFIRMED)));
  }
  if (kind !== 'delete') {
    parts.push(attribute(CTA_TIMEOUT, u32(TIMEOUT)), protocolState(state));
  }
  const body = Buffer.concat(parts);
  const out = Buffer.alloc(HEADER + body.length);
  out.writeUInt32LE(out.length, 0);
  out.writeUInt16LE(TYPE[kind], 4);
  out.writeUInt16LE(FLAGS[kind], 6);
  out[16] = 2; // AF_INET
  out.set(body, HEADER);
  return out;
}

/** Throws unless the delete request carries a whole tuple: without one the kernel deletes all. */
export function checkDelete(request: Uint8Array): void {
  const view = new DataView(request.buffer, request.byteOffset, request.length);
  const whole =
    request.length === HEADER + TUPLE &&
    view.getUint32(0, true) === request.length &&
    view.getUint16(HEADER, true) === TUPLE &&
    view.getUint16(HEADER + 2, true) === (CTA_TUPLE_ORIG | NESTED);
  if (!whole) throw new Error('a delete request without a tuple would empty the table');
}
