// Layout of the words that text.ts prints: a table of slots that src/cli/words.ts fills once from the
// names of src/report/names.ts, so that no name stands twice. A slot is 32 bytes: up to 31
// characters, and their number in the last byte. A whole slot is copied, only its length counts.
//
//   ┌───────────────┬───────────────┬─────────────┬──────────────┐
//   │ protocols 256 │ states 3 × 16 │ families 16 │ fixed words  │
//   └───────────────┴───────────────┴─────────────┴──────────────┘
export const SLOT = 32;
export const SLOT_LENGTH = 31; // u8, within a slot

export const WORD_PROTOCOL = 0; // + protocol number: `tcp      6`
export const WORD_TCP_STATE = 256; // + state: ` ESTABLISHED`, ` NONE` out of range
export const WORD_SCTP_STATE = 272;
export const WORD_DCCP_STATE = 288;
export const WORD_FAMILY = 304; // + address family below 16: `ipv4     2 `
export const WORD_NEW = 320; // `    [NEW] `
export const WORD_UPDATE = 321;
export const WORD_DESTROY = 322;
export const WORD_SRC = 323; // ` src=`
export const WORD_DST = 324;
export const WORD_SPORT = 325;
export const WORD_DPORT = 326;
export const WORD_SRCKEY = 327; // ` srckey=0x`
export const WORD_DSTKEY = 328;
export const WORD_TYPE = 329;
export const WORD_CODE = 330;
export const WORD_ICMP_ID = 331;
export const WORD_ZONE_ORIG = 332;
export const WORD_ZONE_REPLY = 333;
export const WORD_PACKETS = 334;
export const WORD_BYTES = 335;
export const WORD_UNREPLIED = 336; // ` [UNREPLIED]`
export const WORD_HW_OFFLOAD = 337;
export const WORD_OFFLOAD = 338;
export const WORD_ASSURED = 339;
export const WORD_MARK = 340;
export const WORD_SECMARK = 341;
export const WORD_SECCTX = 342;
export const WORD_ZONE = 343;
export const WORD_DELTA = 344;
export const WORD_HELPER = 345;
export const WORD_USE = 346;
export const WORD_ID = 347;
export const WORD_COUNT = 348;
export const WORDS_SIZE = 11136; // WORD_COUNT * SLOT

/** Room that a line may need: two IPv6 tuples, all counters, a security context. */
export const LINE_MAX = 1024;

// What a line shows besides what is always shown.
export const LINE_EVENT = 0x1; // the tag of the event
export const LINE_FAMILY = 0x2; // the third layer's protocol
export const LINE_ID = 0x4; // the kernel's id
