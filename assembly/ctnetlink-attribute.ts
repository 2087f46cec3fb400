// ctnetlink attributes: the numbers of the kernel's interface, and how one attribute is found, read
// and written. What all of ctnetlink.ts, ctnetlink-request.ts, ctnetlink-tuple.ts and expect.ts
// stand on. Callers own every byte and have proved lengths; nothing is kept, nothing blocks.
//
// An attribute is u16 length (header included, padding not), u16 type, payload, zero padding to a
// multiple of 4. Bit 0x8000 of the type marks a nest, 0x4000 network order: both are masked off.
//
// Sources: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h.

// linux/netlink.h, linux/netfilter/nfnetlink.h
export const HEADER: u32 = 20; // nlmsghdr and nfgenmsg
export const NLM_F_REQUEST: u32 = 1;
export const NLA_NESTED: u32 = 0x8000;
export const TYPE_MASK: u32 = 0x3fff;
export const SUBSYSTEM_CONNTRACK: u32 = 1;
export const CT_NEW: u32 = 0x100;
export const CT_GET: u32 = 0x101;
export const CT_DELETE: u32 = 0x102;

export const AF_INET: u32 = 2;
export const AF_INET6: u32 = 10;
export const ICMP: u32 = 1;
export const TCP: u32 = 6;
export const UDP: u32 = 17;
export const DCCP: u32 = 33;
export const GRE: u32 = 47;
export const ICMPV6: u32 = 58;
export const SCTP: u32 = 132;
export const UDPLITE: u32 = 136;

// linux/netfilter/nfnetlink_conntrack.h: top level
export const CTA_TUPLE_ORIG: u32 = 1;
export const CTA_TUPLE_REPLY: u32 = 2;
export const CTA_STATUS: u32 = 3;
export const CTA_PROTOINFO: u32 = 4;
export const CTA_HELP: u32 = 5;
export const CTA_NAT_SRC: u32 = 6;
export const CTA_TIMEOUT: u32 = 7;
export const CTA_MARK: u32 = 8;
export const CTA_COUNTERS_ORIG: u32 = 9;
export const CTA_COUNTERS_REPLY: u32 = 10;
export const CTA_USE: u32 = 11;
export const CTA_ID: u32 = 12;
export const CTA_NAT_DST: u32 = 13;
export const CTA_TUPLE_MASTER: u32 = 14;
export const CTA_SEQ_ADJ_ORIG: u32 = 15;
export const CTA_SEQ_ADJ_REPLY: u32 = 16;
export const CTA_SECMARK: u32 = 17;
export const CTA_ZONE: u32 = 18;
export const CTA_SECCTX: u32 = 19;
export const CTA_TIMESTAMP: u32 = 20;
export const CTA_LABELS: u32 = 22;
export const CTA_SYNPROXY: u32 = 24;
export const CTA_TIMESTAMP_EVENT: u32 = 27;
// inside a tuple
export const CTA_TUPLE_IP: u32 = 1;
export const CTA_TUPLE_PROTO: u32 = 2;
export const CTA_TUPLE_ZONE: u32 = 3;
// inside CTA_PROTOINFO
export const CTA_PROTOINFO_TCP: u32 = 1;
export const CTA_PROTOINFO_DCCP: u32 = 2;
export const CTA_PROTOINFO_SCTP: u32 = 3;

// ---------------------------------------------------------------------------------------------
// Reading

/** Finds member `wanted` of a nest, at least `need` bytes with its header; its address or 0. */
export function findMember(at: usize, left: u32, wanted: u32, need: u32): usize {
  let found: usize = 0;
  while (left >= 4) {
    const head = load<u32>(at);
    const length = head & 0xffff;
    if (length < 4 || length > left) break;
    if (((head >> 16) & TYPE_MASK) == wanted && length >= need) found = at;
    const step = (length + 3) & ~3;
    if (step >= left) break;
    at += step;
    left -= step;
  }
  return found;
}

/**
 * Copies the text of the attribute at `attribute` (0: none) up to its NUL or end into an area of
 * `area` bytes, padded with NUL, at most area - 1 characters. Returns the length of the text, which
 * is more than was copied when it did not fit.
 */
export function readText(attribute: usize, to: usize, area: u32): u32 {
  memory.fill(to, 0, area);
  if (attribute == 0) return 0;
  const size: u32 = <u32>load<u16>(attribute) - 4;
  let length: u32 = 0;
  while (length < size) {
    const char = load<u8>(attribute + 4 + length);
    if (char == 0) break;
    if (length < area - 1) store<u8>(to + length, char);
    length++;
  }
  return length;
}

// ---------------------------------------------------------------------------------------------
// Writing. Every writer returns the address behind what it wrote, always a multiple of 4 away.

/** An attribute of one byte. */
export function putByte(at: usize, type: u32, value: u32): usize {
  store<u32>(at, 5 | (type << 16));
  store<u32>(at, value & 0xff, 4);
  return at + 8;
}

/** An attribute of two raw bytes, as they lie in memory. */
export function putPair(at: usize, type: u32, raw: u32): usize {
  store<u32>(at, 6 | (type << 16));
  store<u32>(at, raw & 0xffff, 4);
  return at + 8;
}

/** A be32 attribute. */
export function putWord(at: usize, type: u32, value: u32): usize {
  store<u32>(at, 8 | (type << 16));
  store<u32>(at, bswap<u32>(value), 4);
  return at + 8;
}

/** An attribute with an address of 4 or, for v6, 16 bytes. */
export function putAddress(at: usize, type: u32, v6: bool, from: usize): usize {
  if (v6) {
    store<u32>(at, 20 | (type << 16));
    v128.store(at + 4, v128.load(from));
    return at + 20;
  }
  store<u32>(at, 8 | (type << 16));
  store<u32>(at, load<u32>(from), 4);
  return at + 8;
}

/** A NUL-terminated text attribute from an area of `area` bytes that is padded with NUL. */
export function putText(at: usize, type: u32, from: usize, area: u32): usize {
  let length: u32 = 0;
  while (length < area - 1 && load<u8>(from + length) != 0) length++;
  const end = at + 4 + ((length + 4) & ~3);
  store<u32>(end - 4, 0); // NUL and padding
  store<u32>(at, (length + 5) | (type << 16));
  memory.copy(at + 4, from, length);
  return end;
}

/** Closes a nest of `type` that began at `start` and ends at `end`; returns `end`. */
export function closeNest(start: usize, type: u32, end: usize): usize {
  store<u32>(start, <u32>(end - start) | ((type | NLA_NESTED) << 16));
  return end;
}

/** nlmsghdr and nfgenmsg at `out` for a message that ends at `end`; returns its length. */
export function putHeader(
  out: usize, end: usize, type: u32, nlflags: u32, seq: u32, family: u32,
): i32 {
  const length = <u32>(end - out);
  store<u32>(out, length);
  store<u16>(out, type, 4);
  store<u16>(out, nlflags | NLM_F_REQUEST, 6);
  store<u32>(out, seq, 8);
  store<u32>(out, 0, 12);
  store<u32>(out, family, 16); // version 0, res_id 0
  return length;
}
