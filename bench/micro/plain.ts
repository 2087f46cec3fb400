// The rival of the micro parts: the same work in plain JavaScript, written for speed. Numbers of a
// DataView and typed arrays, one object reused, no allocation per message; the generic walk over
// attributes, as the module's own for shapes it has no template for.
//
// Source: linux/netfilter/nfnetlink_conntrack.h, docs/wire-protocol.md. Results are compared with
// the module's before anything is timed (codec.ts).

/** What both codecs read of a TCP flow over IPv4. Addresses and ports as numbers. */
export class PlainFlow {
  source = 0;
  target = 0;
  sport = 0;
  dport = 0;
  replySource = 0;
  replyTarget = 0;
  replySport = 0;
  replyDport = 0;
  protocol = 0;
  status = 0;
  timeout = 0;
  state = 0;
  id = 0;
  mark = 0;
}

const TYPE_MASK = 0x3fff;

/** Decodes a ctnetlink event of `length` bytes at `at`; false when it is malformed. */
export function decodeEvent(view: DataView, at: number, length: number, flow: PlainFlow): boolean {
  const end = at + length;
  for (let next = at + 20; next + 4 <= end; ) {
    const size = view.getUint16(next, true);
    if (size < 4 || next + size > end) return false;
    switch (view.getUint16(next + 2, true) & TYPE_MASK) {
      case 1:
        decodeTuple(view, next + 4, next + size, flow, false);
        break;
      case 2:
        decodeTuple(view, next + 4, next + size, flow, true);
        break;
      case 3:
        flow.status = view.getUint32(next + 4);
        break;
      case 4:
        decodeProtocol(view, next + 4, next + size, flow);
        break;
      case 7:
        flow.timeout = view.getUint32(next + 4);
        break;
      case 8:
        flow.mark = view.getUint32(next + 4);
        break;
      case 12:
        flow.id = view.getUint32(next + 4);
        break;
    }
    next += (size + 3) & ~3;
  }
  return true;
}

function decodeTuple(
  view: DataView,
  from: number,
  end: number,
  flow: PlainFlow,
  reply: boolean,
): void {
  for (let nest = from; nest + 4 <= end; nest += (view.getUint16(nest, true) + 3) & ~3) {
    const inner = nest + view.getUint16(nest, true);
    const addresses = (view.getUint16(nest + 2, true) & TYPE_MASK) === 1;
    for (let at = nest + 4; at + 4 <= inner; at += (view.getUint16(at, true) + 3) & ~3) {
      const type = view.getUint16(at + 2, true) & TYPE_MASK;
      if (addresses) setAddress(flow, type, view.getUint32(at + 4), reply);
      else if (type === 1) flow.protocol = view.getUint8(at + 4);
      else setPort(flow, type, view.getUint16(at + 4), reply);
    }
  }
}

function setAddress(flow: PlainFlow, type: number, value: number, reply: boolean): void {
  if (type === 1) {
    if (reply) flow.replySource = value;
    else flow.source = value;
  } else if (reply) flow.replyTarget = value;
  else flow.target = value;
}

function setPort(flow: PlainFlow, type: number, value: number, reply: boolean): void {
  if (type === 2) {
    if (reply) flow.replySport = value;
    else flow.sport = value;
  } else if (reply) flow.replyDport = value;
  else flow.dport = value;
}

function decodeProtocol(view: DataView, from: number, end: number, flow: PlainFlow): void {
  for (let at = from + 4; at + 4 <= end; at += (view.getUint16(at, true) + 3) & ~3) {
    if ((view.getUint16(at + 2, true) & TYPE_MASK) === 1) flow.state = view.getUint8(at + 4);
  }
}

/** Writes the sync message of a TCP flow over IPv4 without NAT; returns its length. */
export function encodeMessage(view: DataView, at: number, type: number, flow: PlainFlow): number {
  view.setUint8(at, 0x10 | type);
  view.setUint8(at + 1, 0);
  view.setUint32(at + 4, 0);
  let next = at + 8;
  view.setUint32(next, 0x000c0000); // IPV4
  view.setUint32(next + 4, flow.source);
  view.setUint32(next + 8, flow.target);
  view.setUint32(next + 12, 0x00080005); // STATUS
  view.setUint32(next + 16, flow.status);
  view.setUint32(next + 20, 0x00050002); // L4PROTO
  view.setUint32(next + 24, flow.protocol << 24);
  view.setUint32(next + 28, 0x00080003); // PORT
  view.setUint16(next + 32, flow.sport);
  view.setUint16(next + 34, flow.dport);
  view.setUint32(next + 36, 0x00050004); // TCP_STATE
  view.setUint32(next + 40, flow.state << 24);
  view.setUint32(next + 44, 0x00080006); // TIMEOUT
  view.setUint32(next + 48, flow.timeout);
  next += 52;
  if (flow.mark !== 0) {
    view.setUint32(next, 0x00080007); // MARK
    view.setUint32(next + 4, flow.mark);
    next += 8;
  }
  view.setUint16(at + 2, next - at);
  return next - at;
}

/** Decodes a sync message of `length` bytes; false when it is malformed. */
export function decodeMessage(
  view: DataView,
  at: number,
  length: number,
  flow: PlainFlow,
): boolean {
  const end = at + length;
  for (let next = at + 8; next + 4 < end; ) {
    const size = view.getUint16(next);
    if (size < 4 || next + size > end) return false;
    switch (view.getUint16(next + 2)) {
      case 0:
        flow.source = view.getUint32(next + 4);
        flow.target = view.getUint32(next + 8);
        break;
      case 2:
        flow.protocol = view.getUint8(next + 4);
        break;
      case 3:
        flow.sport = view.getUint16(next + 4);
        flow.dport = view.getUint16(next + 6);
        break;
      case 4:
        flow.state = view.getUint8(next + 4);
        break;
      case 5:
        flow.status = view.getUint32(next + 4);
        break;
      case 6:
        flow.timeout = view.getUint32(next + 4);
        break;
      case 7:
        flow.mark = view.getUint32(next + 4);
        break;
      default:
        return false;
    }
    next += (size + 3) & ~3;
  }
  return true;
}

/** Keyed 32-bit hash of four words (MurmurHash3, Austin Appleby, public domain). */
export function hashWords(words: Uint32Array, at: number, seed: number): number {
  let hash = seed;
  for (let i = 0; i < 4; i++) {
    let word = Math.imul(words[at + i]!, 0xcc9e2d51);
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash ^= word;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
