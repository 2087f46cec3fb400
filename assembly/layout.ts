// Memory layouts, drawn once. Both sides read this file: AssemblyScript compiles it into the
// module, TypeScript imports it as plain numbers. Nothing else in the project knows an offset.
//
// Rules that hold for every layout here:
//  - integers are in host order (little-endian, as WebAssembly is), except what is named `raw`:
//    addresses, ports, ICMP ids and GRE keys keep the byte order of the packet;
//  - an attribute counts only if its bit in a `present` or `observed` word is set;
//  - sizes and offsets are in bytes.

// ---------------------------------------------------------------------------------------------
// Tuple: one direction of a flow.
//
//   0    1    2      3     4          6          8                    24                   40
//   ┌────┬────┬──────┬─────┬──────────┬──────────┬────────────────────┬────────────────────┐
//   │ l3 │ l4 │known │  0  │sport raw │dport raw │ src raw (16)       │ dst raw (16)       │
//   └────┴────┴──────┴─────┴──────────┴──────────┴────────────────────┴────────────────────┘
//
// IPv4 addresses use the first four bytes, the other twelve are zero. ICMP and ICMPv6 keep the id
// in sport, the type in the first and the code in the second byte of dport. GRE keeps its keys.
export const TUPLE_L3 = 0; // u8: AF_INET 2, AF_INET6 10, 0 unknown
export const TUPLE_L4 = 1; // u8: IANA protocol number
export const TUPLE_KNOWN = 2; // u8: KNOWN_* bits
export const TUPLE_SPORT = 4; // raw u16: source port, GRE source key or ICMP id
export const TUPLE_DPORT = 6; // raw u16: destination port or GRE destination key
export const TUPLE_ICMP_TYPE = 6; // u8, shares dport
export const TUPLE_ICMP_CODE = 7; // u8, shares dport
export const TUPLE_SRC = 8; // raw, 4 or 16 bytes
export const TUPLE_DST = 24; // raw, 4 or 16 bytes
export const TUPLE_SIZE = 40;

export const KNOWN_L3 = 1; // both addresses
export const KNOWN_L4 = 2; // protocol number
export const KNOWN_PORTS = 4; // sport and dport (TCP, UDP, UDPlite, SCTP, DCCP, GRE keys)
export const KNOWN_ICMP = 8; // id, type and code

// ---------------------------------------------------------------------------------------------
// Flow: the wide form. Every codec reads or writes this form and no other; the table packs it into
// a record (below). One Flow is a scratch area, never kept.
export const FLOW_PRESENT = 0; // u32: HAS_* bits, what is replicated
export const FLOW_OBSERVED = 4; // u32: SAW_* bits, what only this kernel can tell
export const FLOW_ORIG = 8; // Tuple
export const FLOW_REPLY = 48; // Tuple
export const FLOW_MASTER = 88; // Tuple, original direction of the master flow
export const FLOW_STATUS = 128; // u32: IPS_* (linux/netfilter/nf_conntrack_common.h)
export const FLOW_TIMEOUT = 132; // u32: seconds left
export const FLOW_MARK = 136; // u32
export const FLOW_ID = 140; // u32: CTA_ID, opaque
export const FLOW_ZONE = 144; // u16: zone of both directions
export const FLOW_ZONE_ORIG = 146; // u16: zone of the original direction only
export const FLOW_ZONE_REPLY = 148; // u16: zone of the reply direction only
export const FLOW_STATE = 152; // u8: TCP, SCTP or DCCP state, by the protocol of FLOW_ORIG
export const FLOW_WSCALE_ORIG = 153; // u8: TCP window scale
export const FLOW_WSCALE_REPLY = 154; // u8
export const FLOW_DCCP_ROLE = 155; // u8: 0 client, 1 server
export const FLOW_TCP_FLAGS_ORIG = 156; // u8: IP_CT_TCP_FLAG_*
export const FLOW_TCP_MASK_ORIG = 157; // u8
export const FLOW_TCP_FLAGS_REPLY = 158; // u8
export const FLOW_TCP_MASK_REPLY = 159; // u8
export const FLOW_VTAG_ORIG = 160; // u32: SCTP verification tag
export const FLOW_VTAG_REPLY = 164; // u32
export const FLOW_SEQADJ = 168; // 6 × u32: orig pos, before, after, then reply pos, before, after
export const FLOW_SYNPROXY = 192; // 3 × u32: isn, its, tsoff
export const FLOW_USE = 204; // u32: reference count
export const FLOW_LABELS = 208; // 16 bytes: label i is bit i%8 of byte i/8
export const FLOW_HELPER = 224; // 16 bytes, NUL-padded name, at most 15 characters
export const FLOW_NAT_SRC = 240; // raw, 4 or 16 bytes: new source (reply destination)
export const FLOW_NAT_DST = 256; // raw, 4 or 16 bytes: new destination (reply source)
export const FLOW_NAT_SPORT = 272; // raw u16: new source port
export const FLOW_NAT_DPORT = 274; // raw u16: new destination port
export const FLOW_PORTID = 276; // u32: netlink port that caused the event, 0 for packets and timers
export const FLOW_PACKETS_ORIG = 280; // u64
export const FLOW_BYTES_ORIG = 288; // u64
export const FLOW_PACKETS_REPLY = 296; // u64
export const FLOW_BYTES_REPLY = 304; // u64
export const FLOW_TIME_START = 312; // u64: ns since the epoch
export const FLOW_TIME_STOP = 320; // u64: ns since the epoch
export const FLOW_TIME_EVENT = 328; // u64: ns since the epoch
export const FLOW_DCCP_SEQ = 336; // u64: DCCP handshake sequence
export const FLOW_SECMARK = 344; // u32
export const FLOW_MESSAGE = 348; // u16: nlmsg_type it came from
export const FLOW_MESSAGE_FLAGS = 350; // u16: nlmsg_flags it came with
export const FLOW_SECCTX = 352; // up to 95 characters and a NUL
export const FLOW_SECCTX_MAX = 95;
export const FLOW_SIZE = 448;

// FLOW_PRESENT: the attributes that travel to the peer or are needed to re-create the flow.
export const HAS_ORIG = 0x1;
export const HAS_REPLY = 0x2;
export const HAS_MASTER = 0x4;
export const HAS_STATUS = 0x8;
export const HAS_TIMEOUT = 0x10;
export const HAS_MARK = 0x20;
export const HAS_STATE = 0x40; // TCP, SCTP or DCCP state
export const HAS_WSCALE = 0x80; // both directions
export const HAS_TCP_FLAGS = 0x100; // both directions
export const HAS_VTAG = 0x200; // both directions
export const HAS_DCCP_ROLE = 0x400;
export const HAS_SEQADJ_ORIG = 0x800;
export const HAS_SEQADJ_REPLY = 0x1000;
export const HAS_SYNPROXY = 0x2000;
export const HAS_LABELS = 0x4000;
export const HAS_HELPER = 0x8000;
export const HAS_ZONE = 0x10000;
export const HAS_ZONE_ORIG = 0x20000;
export const HAS_ZONE_REPLY = 0x40000;
export const HAS_NAT_SRC = 0x80000; // address
export const HAS_NAT_DST = 0x100000; // address
export const HAS_NAT_SPORT = 0x200000;
export const HAS_NAT_DPORT = 0x400000;
export const HAS_ID = 0x800000;

// FLOW_OBSERVED: read from the kernel for reports, never replicated.
export const SAW_USE = 0x1;
export const SAW_COUNTERS_ORIG = 0x2;
export const SAW_COUNTERS_REPLY = 0x4;
export const SAW_TIME_START = 0x8;
export const SAW_TIME_STOP = 0x10;
export const SAW_TIME_EVENT = 0x20;
export const SAW_SECCTX = 0x40;
export const SAW_SECMARK = 0x80;
export const SAW_DCCP_SEQ = 0x100;

// ---------------------------------------------------------------------------------------------
// Expectation: the wide form of a connection that a helper announced.
export const EXPECT_PRESENT = 0; // u32: EXPECT_HAS_* bits
export const EXPECT_TIMEOUT = 4; // u32: seconds left
export const EXPECT_ID = 8; // u32: opaque
export const EXPECT_FLAGS = 12; // u32: NF_CT_EXPECT_* (1 permanent, 2 inactive, 4 user space)
export const EXPECT_CLASS = 16; // u32
export const EXPECT_NAT_DIR = 20; // u32
export const EXPECT_ZONE = 24; // u16
export const EXPECT_PORTID = 28; // u32: netlink port that caused the event
export const EXPECT_TUPLE = 32; // Tuple
export const EXPECT_MASK = 72; // Tuple
export const EXPECT_MASTER = 112; // Tuple
export const EXPECT_NAT = 152; // Tuple: saved address and port
export const EXPECT_HELPER = 192; // 16 bytes, NUL-padded
export const EXPECT_FN = 208; // 32 bytes, NUL-padded
export const EXPECT_MESSAGE = 240; // u16: nlmsg_type
export const EXPECT_MESSAGE_FLAGS = 242; // u16: nlmsg_flags
export const EXPECT_SIZE = 256;

export const EXPECT_HAS_TUPLE = 0x1;
export const EXPECT_HAS_MASK = 0x2;
export const EXPECT_HAS_MASTER = 0x4;
export const EXPECT_HAS_NAT = 0x8; // saved tuple
export const EXPECT_HAS_NAT_DIR = 0x10;
export const EXPECT_HAS_TIMEOUT = 0x20;
export const EXPECT_HAS_FLAGS = 0x40;
export const EXPECT_HAS_CLASS = 0x80;
export const EXPECT_HAS_HELPER = 0x100;
export const EXPECT_HAS_FN = 0x200;
export const EXPECT_HAS_ZONE = 0x400;
export const EXPECT_HAS_ID = 0x800;

// ---------------------------------------------------------------------------------------------
// Reasons a decoder refuses a message. A decoder returns 0 for success or one of these; the message
// is then counted and changes nothing.
export const BAD_LENGTH = -1; // a length runs past the message, or is below its minimum
export const BAD_SIZE = -2; // a fixed-size attribute has another size
export const BAD_TYPE = -3; // an attribute type that the format does not define
export const BAD_TUPLE = -4; // no address, no protocol, or no ports where the protocol has them
export const BAD_ROOM = -5; // an encoder's output does not fit

// =============================================================================================
// Memory map. One shared WebAssembly memory holds everything the data path touches: the kernel
// writes received bytes into it, shards keep their flows in it, datagrams leave from it. It is laid
// out once at start from the limits of the configuration and never grows: views made over it stay
// valid in every thread, and an address is an address for the life of the daemon. Pages that no
// flow has used yet cost no memory.
//
//   ┌─────────┬───────────────┬────────────────────────────────────┬──────────────────────────┐
//   │ CONTROL │ receive slots │ shard 0: context, records, index,  │ side chunks, handed out  │
//   │ 64 KiB  │ resend ring   │ queue, datagrams ── shard 1 ── …   │ to shards as they need   │
//   └─────────┴───────────────┴────────────────────────────────────┴──────────────────────────┘

// CONTROL, at address 0. Address 0 itself stays unused, so that 0 means "none" everywhere.
export const CONTROL_SECRET = 64; // 2 × u64: hash secrets, random at every start
export const CONTROL_NOW = 80; // u32: seconds of the monotonic clock, set by main before each batch
export const CONTROL_SIDE_NEXT = 84; // u32, atomic: next free side chunk
export const CONTROL_SIDE_END = 88; // u32: end of the side chunks
export const CONTROL_COUNT = 96; // 2 × u32, atomic: objects in all internal, all external tables
export const CONTROL_LIMIT = 104; // 2 × u32: HashLimit for each
export const CONTROL_PORT_COMMIT = 112; // u32: netlink port of our commit socket
export const CONTROL_PORT_FLUSH = 116; // u32: netlink port of our flush socket
export const CONTROL_PORT_INJECT = 120; // u32: netlink port of our injection socket
export const CONTROL_FILTER = 124; // u32: address of the compiled filter (filter-layout.ts), or 0
export const CONTROL_STOP = 128; // u32, atomic: 1 asks every shard to leave its loop
export const CONTROL_ASLEEP = 136; // u32, atomic: 1 while main sleeps in poll and wants a wake-up
export const CONTROL_STARVED = 132; // u32: 1 when the side chunks ran out
export const CONTROL_SIZE = 65536;

// Record: a flow at rest, 80 bytes. The key comes first and shares its cache line with the chain.
//
//   0      4      8     10    12   14 15 16   20     24      28    32   36      40 … 52  52   56
//   ┌──────┬──────┬─────┬─────┬────┬──┬──┬────┬──────┬───────┬─────┬────┬───────┬───────┬────┐
//   │ src  │ dst  │sport│dport│zone│l4│l3│next│status│timeout│stamp│mark│present│ reply │ id │
//   └──────┴──────┴─────┴─────┴────┴──┴──┴────┴──────┴───────┴─────┴────┴───────┴───────┴────┘
//   56    57     58     59     60   64    68   72    76 … 80
//   ┌─────┬──────┬──────┬──────┬────┬─────┬────┬─────┬──────────────────────┐
//   │state│wscale│wscale│object│ seq│added│ v6 │extra│tcp flags, visit, sent │
//   └─────┴──────┴──────┴──────┴────┴─────┴────┴─────┴──────────────────────┘
//
// IPv6 addresses live in a v6 side part; src and dst then hold a keyed 64-bit fold of them, so that
// one 16-byte compare decides nearly always. An external record has no reply tuple: its translated
// addresses and ports use the same twelve bytes (reply src = new destination, reply dst = new source).
export const RECORD_KEY = 0; // 16 bytes: what a flow is
export const RECORD_SRC = 0; // raw IPv4, or low half of the fold
export const RECORD_DST = 4; // raw IPv4, or high half of the fold
export const RECORD_SPORT = 8; // raw u16
export const RECORD_DPORT = 10; // raw u16
export const RECORD_ZONE = 12; // u16: zone of the original direction
export const RECORD_L4 = 14; // u8
export const RECORD_L3 = 15; // u8
export const RECORD_NEXT = 16; // u32: next record of the bucket, or of the free list
export const RECORD_STATUS = 20; // u32
export const RECORD_TIMEOUT = 24; // u32 s, as last reported
export const RECORD_STAMP = 28; // u32 s: when it was last written (clock of CONTROL_NOW)
export const RECORD_MARK = 32; // u32
export const RECORD_PRESENT = 36; // u32: HAS_* bits
export const RECORD_REPLY_SRC = 40; // raw IPv4
export const RECORD_REPLY_DST = 44; // raw IPv4
export const RECORD_REPLY_SPORT = 48; // raw u16
export const RECORD_REPLY_DPORT = 50; // raw u16
export const RECORD_ID = 52; // u32
export const RECORD_STATE = 56; // u8
export const RECORD_WSCALE_ORIG = 57; // u8
export const RECORD_WSCALE_REPLY = 58; // u8
export const RECORD_OBJECT = 59; // u8: OBJECT_* state and queue bit; written by the shard only
export const RECORD_SEQUENCE = 60; // u32: sequence it was last sent with; written by the sender only
export const RECORD_SPEAKERS = 60; // u32, external: places that speak of it (high), and said what it says (low)
export const RECORD_ADDED = 64; // u32 s: when it entered this table
export const RECORD_V6 = 68; // u32: address of its v6 part, or 0
export const RECORD_EXTRA = 72; // u32: address of its extra part, or 0
export const RECORD_TCP_FLAGS_ORIG = 76; // u8
export const RECORD_TCP_FLAGS_REPLY = 77; // u8
export const RECORD_VISIT = 78; // u8: generation of the last kernel dump or event that saw it
export const RECORD_UNACKED = 79; // u8: 1 while the resend queue holds it; written by the sender only
export const RECORD_SIZE = 80;

export const OBJECT_STATE = 0x3; // mask of the state
export const OBJECT_NEW = 0; // added, not updated since its NEW left: travels as NEW
export const OBJECT_ALIVE = 1; // updated at least once: travels as UPD
export const OBJECT_DEAD = 2; // destroyed, kept until its DEL is acknowledged
export const OBJECT_FREE = 3; // on the free list
export const OBJECT_QUEUED = 0x4; // in the transmit queue
export const OBJECT_TOMB = 0x8; // dead, and nobody is told: remembered only while a dump runs
export const OBJECT_FRESH = 0x10; // a new flow on an old tuple: travels as NEW until that is acknowledged
export const OBJECT_TOLD = 0x20; // FRESH, and a NEW of it has left
export const OBJECT_DOUBTED = 0x40; // external: its range is being repaired, and nobody spoke of it since

// v6 part, 64 bytes.
export const V6_SRC = 0;
export const V6_DST = 16;
export const V6_REPLY_SRC = 32; // or the new destination
export const V6_REPLY_DST = 48; // or the new source
export const V6_SIZE = 64;

// Extra part, 128 bytes: what few flows have.
export const EXTRA_LABELS = 0; // 16 bytes
export const EXTRA_HELPER = 16; // 16 bytes
export const EXTRA_SEQADJ = 32; // 6 × u32
export const EXTRA_SYNPROXY = 56; // 3 × u32
export const EXTRA_VTAG = 68; // 2 × u32
export const EXTRA_ZONE_REPLY = 76; // u16
export const EXTRA_DCCP_ROLE = 78; // u8
export const EXTRA_MASTER = 80; // Tuple, 40 bytes
export const EXTRA_SIZE = 128;

export const SIDE_CHUNK = 16384; // bytes a shard takes at a time

// Table: the index and the slab of one cache in one shard.
export const TABLE_KIND = 0; // u32: 0 internal, 1 external
export const TABLE_RECORDS = 4; // u32: address of the first record
export const TABLE_CAPACITY = 8; // u32: records that fit
export const TABLE_USED = 12; // u32: records ever taken; the slab is dense below it
export const TABLE_FREE = 16; // u32: first record of the free list
export const TABLE_COUNT = 20; // u32: records in the index (dead ones included)
export const TABLE_DEAD = 24; // u32: of those, dead
export const TABLE_HEADS = 28; // u32: address of the bucket heads
export const TABLE_BUCKETS = 32; // u32: buckets in use
export const TABLE_BUCKETS_MAX = 36; // u32
export const TABLE_CREATED = 40; // u64 counters from here on
export const TABLE_CREATE_FAILED = 48;
export const TABLE_NO_MEMORY = 56;
export const TABLE_NO_SPACE = 64;
export const TABLE_UPDATED = 72;
export const TABLE_DESTROYED = 80;
export const TABLE_DIGESTS = 88; // u32: address of its digests, or 0: none are kept
export const TABLE_SHARES = 92; // u32: address of its SHARES_*, or 0: nobody asks whose a flow is
export const TABLE_SIZE = 96;

// Digests of a table (digest.ts): a sum for each range of flows, then the same of the doubted alone.
export const DIGEST_RANGES = 1024;
export const DIGEST_DOUBTED = 8192; // where the second array begins, 8 bytes a range
export const DIGEST_SIZE = 16384;

// Shares of the members of a multicast group in the digests of an external table (shares.ts). A place is
// that of the member in the receiver's list.
export const SHARES_SPEAKER = 0; // u32: bit of the place whose message is being applied; 0: nobody's
export const SHARES_DOUBTER = 4; // u32: bit of the place whose flows are in doubt
export const SHARES_BEFORE = 8; // u64: digest of the record at hand before it is changed
export const SHARES_CONTESTED = 64; // for each place: u32 a range
export const SHARES_CONTESTED_SIZE = 4096; // of one place
export const SHARES_SUMS = 65600; // for each place: u64 a range
export const SHARES_SUMS_SIZE = 8192; // of one place
export const SHARES_SIZE = 196672;

export const TABLE_INTERNAL = 0;
export const TABLE_EXTERNAL = 1;

// Shard context.
export const SHARD_INDEX = 0; // u32
export const SHARD_OPTIONS = 4; // u32: SHARD_* option bits below
export const SHARD_TABLES = 64; // 2 × Table
export const SHARD_V6_FREE = 256; // u32: free list of v6 parts
export const SHARD_V6_NEXT = 260; // u32: bump pointer in the current chunk
export const SHARD_V6_END = 264; // u32
export const SHARD_EXTRA_FREE = 268; // u32
export const SHARD_EXTRA_NEXT = 272; // u32
export const SHARD_EXTRA_END = 276; // u32
export const SHARD_QUEUE = 280; // u32: address of the transmit queue, a ring of record addresses
export const SHARD_QUEUE_SIZE = 284; // u32: entries
export const SHARD_QUEUE_HEAD = 288; // u32: next to send
export const SHARD_QUEUE_TAIL = 292; // u32: next free
export const SHARD_BULK = 296; // u32: next record of a bulk send, or 0
export const SHARD_OUT = 300; // u32: address of the datagram area
export const SHARD_OUT_SIZE = 304; // u32: bytes of one datagram slot
export const SHARD_OUT_SLOTS = 308; // u32: datagram slots
export const SHARD_PAYLOAD_MAX = 312; // u32: most bytes in one datagram
export const SHARD_HANDLES = 316; // u32: addresses of the records in each datagram (u32 each)
export const SHARD_HANDLES_SLOT = 320; // u32: handles that fit one datagram
export const SHARD_VISIT = 324; // u32: current generation, 1..255
export const SHARD_DUMPING = 328; // u32: 1 while a kernel dump is being merged
export const SHARD_SWEEP = 332; // u32: next record of a sweep, or 0
export const SHARD_CURSOR = 336; // u32: where the last snapshot or commit slice ended; 0 = at the end
export const SHARD_WRITTEN = 340; // u32: bytes of requests the last commit slice wrote
export const SHARD_EVENTS = 344; // u64: kernel events received
export const SHARD_FILTERED = 352; // u64: events the filter refused
export const SHARD_EVENT_BAD = 360; // u64: events that did not decode
export const SHARD_BAD_PAYLOAD = 368; // u64: sync messages whose attributes did not decode
export const SHARD_TRAFFIC_BYTES = 376; // u64: bytes of destroyed flows
export const SHARD_TRAFFIC_PACKETS = 384; // u64
export const SHARD_OVERSIZED = 392; // u64: messages that fit no datagram
export const SHARD_LAST_BAD = 400; // i32: reason of the last refused message
export const SHARD_IGNORED = 408; // u64: events of our own injection
export const SHARD_FLOW = 448; // Flow scratch
export const SHARD_SCRATCH = 896; // record-key scratch, 64 bytes
export const SHARD_TOUCH = 960; // 16 × u32: records of the messages that come next
export const SHARD_REPORT_RING = 1088; // u32: address of REPORT_SLOTS flows that ended, or 0
export const SHARD_REPORT_HEAD = 1092; // u32, atomic: flows reported, written by the shard
export const SHARD_REPORT_TAIL = 1096; // u32, atomic: flows taken, written by main
export const SHARD_REPORT_LOST = 1104; // u64: ended flows that found the ring full
export const SHARD_BYPASS_NEW = 1152; // u64: messages made straight of events, by type
export const SHARD_BYPASS_UPDATED = 1160; // u64
export const SHARD_BYPASS_DESTROYED = 1168; // u64
export const SHARD_BYPASS_DROPPED = 1176; // u64: messages that found no room to wait in
export const SHARD_BYPASS_WAITING = 1184; // u32: messages that wait to be sent
export const SHARD_BYPASS_HEAD = 1188; // u32: offset of the one that has waited longest
export const SHARD_BYPASS_TAIL = 1192; // u32: offset of the next one to come
export const SHARD_SIZE = 4096;

export const SHARD_ACKNOWLEDGED = 0x1; // FTFW: dead records wait for their acknowledgement
export const SHARD_OMIT_TIMEOUT = 0x2; // CommitTimeout is set: no TIMEOUT on the wire
export const SHARD_WINDOW_TRACKING = 0x4; // TCPWindowTracking: window scales on the wire
export const SHARD_SILENT = 0x8; // no peer to send to (Stats): nothing is queued
export const SHARD_INJECT = 0x100; // DisableExternalCache: the external table is a register of copies
export const SHARD_BYPASS = 0x200; // DisableInternalCache: events become messages, not records
export const SHARD_EXTENDED = 0x400; // every peer takes attributes that no C daemon knows
export const SHARD_REPORT = 0x10; // flows that end are reported (Stats)

export const REPORT_SLOTS = 8192; // a power of two; two turns' worth of events
// shardDump: who hears of what is new or changed. Own flows are all but copies of a peer's.
export const TELL_NOBODY = 0;
export const TELL_ALL = 1;
export const TELL_OWN = 2;
export const PURGE_UNREPORTED = 2; // shardDumpEnd: what the filter now refuses has not ended

// Snapshot: a Flow with what only its cache knows, for dumps and logs.
export const SNAPSHOT_ADDED = 448; // u32 s, clock of CONTROL_NOW
export const SNAPSHOT_STAMP = 452; // u32 s
export const SNAPSHOT_SEQUENCE = 456; // u32
export const SNAPSHOT_OBJECT = 460; // u8
export const SNAPSHOT_SIZE = 464;

// Datagram slot: what a shard hands to the sender.
export const OUT_LENGTH = 0; // u32: payload bytes
export const OUT_MESSAGES = 4; // u32: messages in it
export const OUT_PAYLOAD = 16; // the datagram

// Job: one order to a shard, in its ring. A batch travels as an address and a count, never as bytes.
export const JOB_VERB = 0; // u32: an index into the verbs of src/cache/verbs.ts
export const JOB_ARGUMENTS = 4; // up to 9 × u32
export const JOB_CURSOR = 52; // u32: SHARD_CURSOR after the verb
export const JOB_WRITTEN = 56; // u32: SHARD_WRITTEN after the verb
export const JOB_RESULT = 60; // u32, valid once the job counts as done
export const JOB_SIZE = 64;

// Ring: jobs of one shard, single producer (main), single consumer (the shard's worker).
//
//   head ── written by main, waited on by the worker     done ── written by the worker
//   jobs done … head - 1 (mod RING_SLOTS) are under way
//
// ready: datagrams the worker has filled. While it is not 0 they are main's; main sends them and
// sets it to 0, then they are the worker's again.
export const RING_HEAD = 0; // u32, atomic
export const RING_DONE = 64; // u32, atomic, on a cache line of its own
export const RING_READY = 128; // u32, atomic
export const RING_PUMPED = 132; // u32, atomic: of the jobs done, those after which it has encoded
export const RING_JOBS = 192;
export const RING_SLOTS = 256; // a power of two
export const RING_SIZE = 16640; // RING_JOBS + RING_SLOTS * JOB_SIZE, rounded up

// Injection of a batch of messages: a list of their addresses and a row for each.
export const INJECT_BATCH = 128; // messages a send
export const INJECT_HASH = 0; // u32: of the flow; equal for messages of one flow
export const INJECT_OUTCOME = 4; // u32: 0, or why there is no request
export const INJECT_ROW = 8;
export const INJECT_WRITTEN = 1024; // u32, behind the rows: bytes of requests
export const INJECT_SIZE = 1088; // rows and what is behind them
export const INJECT_UNREADABLE = 1;
export const INJECT_UNENCODABLE = 2; // the kernel knows no such flow
export const INJECT_WINDOW_TRACKING = 0x1; // option: TCPWindowTracking
export const INJECT_REPEATS = 0x2; // option: a NEW may be a repetition (ALARM)

// struct mmsghdr of a 64-bit Linux (linux/socket.h): msghdr 56 bytes, msg_len at 56.
export const MMSG_NAME = 0;
export const MMSG_NAMELEN = 8;
export const MMSG_IOV = 16;
export const MMSG_IOVLEN = 24;
export const MMSG_CONTROL = 32;
export const MMSG_CONTROLLEN = 40;
export const MMSG_FLAGS = 48;
export const MMSG_LEN = 56;
export const MMSG_SIZE = 64;
export const MSG_TRUNC = 0x20;

// Sender: the sequence space of this node and its resend queue. Main owns it.
//
//   ring[sequence & mask] = address of the record sent with it, bit 0: the message was a DEL
//                         = control slot << 4 | 2: an ACK, NACK or RESYNC, kept in the control ring
//                         = 0: nothing to resend (ALIVE, acknowledged, pushed out)
export const SENDER_NEXT = 0; // u32: sequence of the next message
export const SENDER_TAIL = 4; // u32: no entry is held before this sequence
export const SENDER_HELD = 8; // u32: entries held
export const SENDER_LIMIT = 12; // u32: ResendQueueSize
export const SENDER_RING = 16; // u32: address
export const SENDER_MASK = 20; // u32: entries of the ring - 1
export const SENDER_CONTROLS = 24; // u32: address of the control ring
export const SENDER_CONTROL_NEXT = 28; // u32
export const SENDER_FLAGS = 32; // u32: flag bits every message carries (HELLO)
export const SENDER_ONCE = 36; // u32: flag bits the next message alone carries (HELLO_BACK)
export const SENDER_TRACKED = 40; // u32: 1 when messages are kept for resending (FTFW)
export const SENDER_REAP = 44; // u32: address of the list of dead records to remove
export const SENDER_REAP_COUNT = 48; // u32
export const SENDER_AGAIN = 52; // u32: address of the list of records to send again
export const SENDER_AGAIN_COUNT = 56; // u32
export const SENDER_CONTROL_AGAIN = 60; // u32: address of the list of control slots to send again
export const SENDER_CONTROL_AGAIN_COUNT = 64; // u32
export const SENDER_SENT = 72; // u64: messages
export const SENDER_PUSHED_OUT = 80; // u64: unacknowledged entries lost to the limit
export const SENDER_RESENT = 88; // u64: entries a NACK asked for
export const SENDER_HELD_CONTROLS = 96; // u32: of the entries held, those that are control messages
export const SENDER_BITS = 100; // u32: address of the u16 of each ring entry: PEER bits that have it; or 0
export const SENDER_REQUIRED = 104; // u32: PEER bits that an entry waits for
export const SENDER_SIZE = 128;

export const CONTROL_SLOTS = 4096; // slots of the control ring, 16 bytes each
export const CONTROL_SLOT_SEQUENCE = 0; // u32
export const CONTROL_SLOT_FLAGS = 4; // u32: flags; from bit 8 on the place of the addressee + 1
export const CONTROL_SLOT_FROM = 8; // u32
export const CONTROL_SLOT_TO = 12; // u32
export const CONTROL_SLOT_SIZE = 16;

export const ENTRY_DEL = 1;
export const ENTRY_CONTROL = 2;

// Receiver: what is known of a peer's sequence numbers. Main owns it.
export const RECEIVER_MODE = 0; // u32: MODE_*
export const RECEIVER_PEERS = 4; // u32: address of PEERS_MAX entries of PEER_SIZE bytes
export const RECEIVER_CURRENT = 8; // u32: entry of the datagram at hand
export const RECEIVER_NAMES = 12; // u32: address of the senders' names, or 0: there is one peer
export const RECEIVER_LINK = 16; // u32: number of the link that was read
export const RECEIVER_WINDOW_SIZE = 24; // u32: ACKWindowSize
export const RECEIVER_FLOWS = 28; // u32: address of the list of flow messages
export const RECEIVER_FLOW_COUNT = 32; // u32
export const RECEIVER_EXPECTS = 36; // u32: address of the list of expectation messages
export const RECEIVER_EXPECT_COUNT = 40; // u32
export const RECEIVER_ACTIONS = 44; // u32: address of the list of actions, ACTION_SIZE each
export const RECEIVER_ACTION_COUNT = 48; // u32
export const RECEIVER_ACCEPTED = 56; // u64: messages accepted; u64 counters from here on
export const RECEIVER_MALFORMED = 64;
export const RECEIVER_BAD_VERSION = 72;
export const RECEIVER_BAD_HEADER = 80;
export const RECEIVER_BAD_TYPE = 88;
export const RECEIVER_TRUNCATED = 96;
export const RECEIVER_BAD_SIZE = 104;
export const RECEIVER_LOST = 112;
export const RECEIVER_BEFORE = 120;
export const RECEIVER_DATAGRAMS = 128;
export const RECEIVER_BYTES = 136;
export const RECEIVER_CUT = 144; // datagrams that did not fit the receive slot
export const RECEIVER_STRANGERS = 152; // datagrams of senders for whom there is no room
export const RECEIVER_SIZE = 192;

// Peers: what is known of each sender's sequence numbers. Over UDP and TCP there is one, entry 0. In
// a multicast group a sender is a link and an address; `of` names the entry that has the numbers, so
// that a node which speaks on several links has them once.
export const PEERS_MAX = 16;
export const PEER_USED = 0; // u32: 1
export const PEER_OF = 4; // u32: entry with the numbers of this sender; its own, mostly
export const PEER_ON = 8; // u32: number of the link
export const PEER_FAMILY = 12; // u32: AF_*
export const PEER_ADDRESS = 16; // 16 bytes, an IPv4 address padded with zeros
export const PEER_SET = 32; // u32: 1 once a message was accepted
export const PEER_LAST = 36; // u32: sequence of the last accepted message
export const PEER_ACK_FROM_SET = 40; // u32
export const PEER_ACK_FROM = 44; // u32: first sequence not acknowledged by us
export const PEER_WINDOW = 48; // u32: messages until the next ACK
export const PEER_FIRST = 52; // u32: sequence of the first accepted message
export const PEER_ACCEPTED = 56; // u64: messages accepted
export const PEER_LOST = 64; // u64: numbers that never came
export const PEER_PLACE = 72; // u32: whose word its messages are: its own entry until a tail tells who it is
export const PEER_SIZE = 96;

/** In a flow message of a group that was accepted, in the place of its sequence: who said it. */
export const MESSAGE_PLACE = 4; // u32: PEER_PLACE of its sender
export const NAME_SIZE = 32; // room for a sockaddr_in6 (linux/in6.h)

export const MODE_FTFW = 0;
export const MODE_NOTRACK = 1;
export const MODE_ALARM = 2;

// Actions that a received message asks of main. Five u32 each.
export const ACTION_KIND = 0;
export const ACTION_FROM = 4;
export const ACTION_TO = 8;
export const ACTION_PEER = 12; // entry of the sender of the message
export const ACTION_MESSAGE = 16; // address of a GOT_*'s message, for its tail; 0: none
export const ACTION_SIZE = 20;
export const ACTION_SEND_ACK = 1;
export const ACTION_SEND_NACK = 2;
export const ACTION_GOT_ACK = 3;
export const ACTION_GOT_NACK = 4;
export const ACTION_GOT_RESYNC = 5;
export const ACTION_GOT_HELLO = 6;
export const ACTION_GOT_HELLO_BACK = 7;
export const ACTION_GOT_ALIVE = 8; // only of one that has a tail; from: flow messages listed before it
export const ACTION_NEW_PEER = 9; // a sender that has no entry yet has got one
export const ACTIONS_MAX = 32768; // room in the list: four a message of the largest datagram
export const LIST_MAX = 65536; // entries of a list of messages

// Result of listing a batch of netlink messages: counts, and what ended a dump.
export const GATHER_FLOWS = 0; // u32: entries in the flow list
export const GATHER_EXPECTS = 4; // u32: entries in the expectation list
export const GATHER_CUT = 8; // u32: datagrams that did not fit their slot
export const GATHER_DONE = 12; // u32: 1 after NLMSG_DONE
export const GATHER_ERROR = 16; // i32: errno (negative) of an NLMSG_ERROR or NLMSG_DONE
export const GATHER_OTHER = 20; // u32: messages of no known kind
export const GATHER_SIZE = 32;
