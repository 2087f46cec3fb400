// Layout of the words that text.ts and save.ts print: a table of slots that src/cli/words.ts fills once
// from the names of src/report/names.ts, so that no name stands twice. A slot is 32 bytes: up to 31
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

// The words of save.ts: options with the blanks around them.
export const WORD_SAVE_NEW = 348; // `-A`, ...: the command that tells the event
export const WORD_SAVE_UPDATE = 349;
export const WORD_SAVE_DESTROY = 350;
export const WORD_SAVE_TIMEOUT = 351; // ` -t `
export const WORD_SAVE_STATUS = 352; // ` -u `
export const WORD_SAVE_EXPECTED = 353; // `EXPECTED,`
export const WORD_SAVE_SEEN_REPLY = 354;
export const WORD_SAVE_ASSURED = 355;
export const WORD_SAVE_FIXED_TIMEOUT = 356;
export const WORD_SAVE_UNSET = 357;
export const WORD_SAVE_SECMARK = 358;
export const WORD_SAVE_ZONE = 359;
export const WORD_SAVE_ZONE_ORIG = 360;
export const WORD_SAVE_ZONE_REPLY = 361;
export const WORD_SAVE_SRC = 362;
export const WORD_SAVE_DST = 363;
export const WORD_SAVE_REPLY_SRC = 364;
export const WORD_SAVE_REPLY_DST = 365;
export const WORD_SAVE_SRC_NAT = 366;
export const WORD_SAVE_DST_NAT = 367;
export const WORD_SAVE_PROTOCOL = 368;
export const WORD_SAVE_SPORT = 369;
export const WORD_SAVE_DPORT = 370;
export const WORD_SAVE_REPLY_SPORT = 371;
export const WORD_SAVE_REPLY_DPORT = 372;
export const WORD_SAVE_SRCKEY = 373;
export const WORD_SAVE_DSTKEY = 374;
export const WORD_SAVE_REPLY_SRCKEY = 375;
export const WORD_SAVE_REPLY_DSTKEY = 376;
export const WORD_SAVE_ICMP_TYPE = 377;
export const WORD_SAVE_ICMP_CODE = 378;
export const WORD_SAVE_ICMP_ID = 379;
export const WORD_SAVE_ICMPV6_TYPE = 380;
export const WORD_SAVE_ICMPV6_CODE = 381;
export const WORD_SAVE_ICMPV6_ID = 382;
export const WORD_SAVE_STATE = 383; // ` --state`, a state follows with its blank
export const WORD_SAVE_VTAG_ORIG = 384;
export const WORD_SAVE_VTAG_REPLY = 385;
export const WORD_SAVE_CLIENT = 386;
export const WORD_SAVE_SERVER = 387;
export const WORD_COUNT = 388;
export const WORDS_SIZE = 12416; // WORD_COUNT * SLOT

/** Room that a line may need: two IPv6 tuples, all counters, a security context. */
export const LINE_MAX = 1024;

// What a line shows besides what is always shown.
export const LINE_EVENT = 0x1; // the tag of the event
export const LINE_FAMILY = 0x2; // the third layer's protocol
export const LINE_ID = 0x4; // the kernel's id
