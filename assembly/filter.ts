// Does the configuration let this flow through? A pure function over a compiled filter
// (filter-layout.ts) and a wide Flow. Both belong to the caller; nothing is written, any thread may
// ask, and the work is bounded by the two binary searches.
//
// A flow must pass every kind of set that the configuration has: Protocol, Address, State. The rules
// are the same whether the configuration says From Userspace or From Kernelspace; what the kernel
// drops before is only a part of what is dropped here. (docs/configuration.md, "General / Filter")

import {
  FILTER_ACCEPT,
  FILTER_ANY,
  FILTER_AT4,
  FILTER_AT6,
  FILTER_COUNT4,
  FILTER_COUNT6,
  FILTER_PROTOCOLS,
  FILTER_RULE,
  FILTER_STATES,
  RANGE4_FIRST,
  RANGE4_LAST,
  RANGE4_SIZE,
  RANGE6_FIRST,
  RANGE6_LAST,
  RANGE6_SIZE,
} from './filter-layout';
import {
  FLOW_ORIG,
  FLOW_PRESENT,
  FLOW_REPLY,
  FLOW_STATE,
  HAS_REPLY,
  HAS_STATE,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SRC,
} from './layout';

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const IPPROTO_TCP: u32 = 6;

/**
 * 1 when the flow is to be followed, 0 when not. Without a filter (0) every flow is. `destroy`: the
 * flow is from a destroy event, whose state (the last one, often TIME_WAIT) must not hide it: a flow
 * that passed while it lived would stay in the caches for ever.
 */
export function filterPasses(filter: usize, flow: usize, destroy: u32): u32 {
  if (filter == 0) return 1;
  const l4 = <u32>load<u8>(flow, FLOW_ORIG + TUPLE_L4);
  if (!holds(filter + FILTER_PROTOCOLS, l4)) return 0;
  const rule = load<u32>(filter, FILTER_RULE);
  if (rule != FILTER_ANY && listed(filter, flow) != (rule == FILTER_ACCEPT)) return 0;
  if (destroy != 0 || l4 != IPPROTO_TCP || !(load<u32>(flow, FLOW_PRESENT) & HAS_STATE)) return 1;
  return <u32>holds(filter + FILTER_STATES, <u32>load<u8>(flow, FLOW_STATE));
}

/** Is number `n`, below 256, in the set? */
// @ts-ignore: decorator
@inline
function holds(set: usize, n: u32): bool {
  return ((<u32>load<u8>(set + <usize>(n >> 3)) >> (n & 7)) & 1) != 0;
}

/**
 * Is the client listed (source of the original direction) or the real server (source of the reply
 * direction)? The original destination is not looked at: behind DNAT it is nobody's address.
 */
function listed(filter: usize, flow: usize): bool {
  const family = <u32>load<u8>(flow, FLOW_ORIG + TUPLE_L3);
  const client = flow + (FLOW_ORIG + TUPLE_SRC);
  const server = flow + (FLOW_REPLY + TUPLE_SRC);
  const answered = (load<u32>(flow, FLOW_PRESENT) & HAS_REPLY) != 0;
  if (family == AF_INET) {
    const count = load<u32>(filter, FILTER_COUNT4);
    const ranges = filter + <usize>load<u32>(filter, FILTER_AT4);
    return within4(ranges, count, client) || (answered && within4(ranges, count, server));
  }
  if (family == AF_INET6) {
    const count = load<u32>(filter, FILTER_COUNT6);
    const ranges = filter + <usize>load<u32>(filter, FILTER_AT6);
    return within6(ranges, count, client) || (answered && within6(ranges, count, server));
  }
  return false;
}

/** Lies the raw IPv4 address at `at` in one of `count` sorted, disjoint ranges? */
function within4(ranges: usize, count: u32, at: usize): bool {
  const address = bswap<u32>(load<u32>(at));
  let low: u32 = 0; // ranges before it begin at the address or before
  let high = count; // ranges from it on begin behind the address
  while (low < high) {
    const middle = (low + high) >> 1;
    const first = load<u32>(ranges + <usize>middle * RANGE4_SIZE, RANGE4_FIRST);
    if (first <= address) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return false;
  return address <= load<u32>(ranges + <usize>(low - 1) * RANGE4_SIZE, RANGE4_LAST);
}

/** The same for a raw IPv6 address. */
function within6(ranges: usize, count: u32, at: usize): bool {
  const upper = bswap<u64>(load<u64>(at));
  const lower = bswap<u64>(load<u64>(at, 8));
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = ranges + <usize>middle * RANGE6_SIZE;
    if (upTo(load<u64>(range, RANGE6_FIRST), load<u64>(range, RANGE6_FIRST + 8), upper, lower)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return false;
  const range = ranges + <usize>(low - 1) * RANGE6_SIZE;
  return upTo(upper, lower, load<u64>(range, RANGE6_LAST), load<u64>(range, RANGE6_LAST + 8));
}

/** Is the 128-bit number a ≤ b? */
// @ts-ignore: decorator
@inline
function upTo(aUpper: u64, aLower: u64, bUpper: u64, bLower: u64): bool {
  return aUpper < bUpper || (aUpper == bUpper && aLower <= bLower);
}
