// Layout of a compiled filter: which flows are followed (docs/configuration.md, "General / Filter").
// Like layout.ts it is read by both sides: src/cache/filter.ts writes the bytes, filter.ts reads them.
//
// A compiled filter knows nothing of its own address, so it can be copied anywhere that is aligned
// to 8 bytes. It is written once before the shards start and never changes; every thread reads it.
// Integers are in host order, addresses too: they are compared as numbers.
//
//   0      4      8      12     16      20      32               64               96
//   ┌──────┬──────┬──────┬──────┬───────┬───────┬────────────────┬────────────────┬─────────────
//   │ rule │count6│  at6 │count4│  at4  │   0   │ protocols (32) │  states (32)   │ ranges …
//   └──────┴──────┴──────┴──────┴───────┴───────┴────────────────┴────────────────┴─────────────
//
// protocols and states are sets of 256 bits: number n is bit n % 8 of byte n / 8. They hold what
// passes, whatever the policy was, and all bits where the configuration has no set of that kind.
//
// Hosts and networks become ranges of addresses, first and last, sorted and disjoint: networks in
// networks and neighbours are merged. So one binary search decides, however many entries and prefix
// lengths there are, and a host is nothing special.
//
//   IPv6   ┌──────────┬──────────┬──────────┬──────────┐      IPv4   ┌───────┬──────┐
//          │ first hi │ first lo │ last hi  │ last lo  │ …           │ first │ last │ …
//          └──────────┴──────────┴──────────┴──────────┘             └───────┴──────┘
//          0          8          16         24         32            0       4      8
export const FILTER_RULE = 0; // u32: FILTER_ANY, FILTER_ACCEPT or FILTER_IGNORE, of addresses
export const FILTER_COUNT6 = 4; // u32: IPv6 ranges
export const FILTER_AT6 = 8; // u32: where they begin, from the start of the filter
export const FILTER_COUNT4 = 12; // u32: IPv4 ranges
export const FILTER_AT4 = 16; // u32: where they begin, from the start of the filter
export const FILTER_PROTOCOLS = 32; // 256 bits
export const FILTER_STATES = 64; // 256 bits, TCP states
export const FILTER_RANGES = 96; // the first range

export const FILTER_ANY = 0; // no set of addresses
export const FILTER_ACCEPT = 1;
export const FILTER_IGNORE = 2;

export const RANGE6_FIRST = 0; // 2 × u64, high half first
export const RANGE6_LAST = 16; // 2 × u64
export const RANGE6_SIZE = 32;

export const RANGE4_FIRST = 0; // u32
export const RANGE4_LAST = 4; // u32
export const RANGE4_SIZE = 8;
