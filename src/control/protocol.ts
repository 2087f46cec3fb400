// The control protocol: what a client may ask of the daemon over its UNIX socket, and who answers.
// Constant tables; owns nothing, never blocks.
//
//   client                                   daemon
//     │ connect                                │
//     │ request: i32, host byte order ────────▶│
//     │◀──────────────── text, zero or more ───│
//     │◀───────────────────── end of file ─────│
//
// That is all the C programs speak: one request a connection, no length, no error indication. A C
// client that asks for something refused exits with 0.
//
// Our extension lets a command fail visibly and stays invisible to C programs on either side:
//
//     │ request | WANTS_STATUS ───────────────▶│
//     │◀──────────────────────────── NUL ──────│  "I know the flag", before anything is done
//     │◀──────────────── text, zero or more ───│
//     │◀── NUL, exit status, ' ', message, \n ─│
//     │◀───────────────────── end of file ─────│
//
//  - Our server sends NUL bytes only to those who set the flag; a C client never does.
//  - To a C daemon a flagged code is unknown, and it closes an unknown request without a byte and
//    without a trace. A client that gets nothing at all asks again without the flag. Nothing is
//    done twice: a daemon that knows the flag says so before it acts.
//  - Reports hold no NUL, so the first NUL after the text begins the status.
//  - Codes from 0x100 on, and those with the bit for JSON, are requests that only our daemon knows. A C
//    daemon leaves them unanswered however they are asked.
//  - TERMINATE needs no status: end of file is the success, for it comes when the process is gone.

/** Request codes, by the names that the documentation uses. */
export const Request = {
  FLUSH_KERNEL_FLOWS: 0,
  RESYNC_KERNEL_FLOWS: 1,
  DUMP_INTERNAL: 16,
  DUMP_EXTERNAL: 17,
  COMMIT_FLOWS: 18,
  FLUSH_FLOW_CACHES: 19, // no option sends it any more
  TERMINATE: 20,
  STATISTICS: 21,
  SEND_BULK: 22,
  REQUEST_RESYNC: 23,
  DUMP_INTERNAL_XML: 24,
  DUMP_EXTERNAL_XML: 25,
  SCHEDULE_PURGE: 26,
  STATISTICS_NETWORK: 28,
  STATISTICS_CACHE: 29,
  STATISTICS_RUNTIME: 30,
  STATISTICS_LINK: 31,
  STATISTICS_RESEND_QUEUE: 32,
  FLUSH_INTERNAL: 33,
  FLUSH_EXTERNAL: 34,
  STATISTICS_PROCESS: 35,
  STATISTICS_QUEUE: 36,
  STATISTICS_EXPECT: 37,
  FLUSH_KERNEL_EXPECT: 38,
  RESYNC_KERNEL_EXPECT: 39,
  DUMP_INTERNAL_EXPECT: 40,
  DUMP_EXTERNAL_EXPECT: 41,
  COMMIT_EXPECT: 42,
  FLUSH_KERNEL: 43, // 0, then 38
  RESYNC_KERNEL: 44, // 1, then 39
  FLUSH_CACHES: 45,
  COMMIT: 46, // 18, then 42
  DUMP_INTERNAL_EXPECT_XML: 47,
  DUMP_EXTERNAL_EXPECT_XML: 48,
  // From here on ours alone.
  PROMOTE: 0x100,
  DEMOTE: 0x101,
  STATISTICS_READY: 0x102,
} as const;
export type Request = (typeof Request)[keyof typeof Request];

/** Bit of a request that asks for a status at the end of the reply. */
export const WANTS_STATUS = 0x10000;

/** Requests from this code on are ours: the C programs have none there. */
export const FIRST_EXTENSION = 0x100;

/** Bit of a request that asks for the answer as JSON; ours, like all codes that have it. */
export const AS_JSON = 0x200;

const withJson = new Set<number>([
  Request.DUMP_INTERNAL,
  Request.DUMP_EXTERNAL,
  Request.DUMP_INTERNAL_EXPECT,
  Request.DUMP_EXTERNAL_EXPECT,
  Request.COMMIT,
  Request.COMMIT_FLOWS,
  Request.COMMIT_EXPECT,
  Request.STATISTICS,
  Request.STATISTICS_NETWORK,
  Request.STATISTICS_CACHE,
  Request.STATISTICS_RUNTIME,
  Request.STATISTICS_LINK,
  Request.STATISTICS_RESEND_QUEUE,
  Request.STATISTICS_PROCESS,
  Request.STATISTICS_QUEUE,
  Request.STATISTICS_EXPECT,
  Request.PROMOTE,
  Request.DEMOTE,
  Request.STATISTICS_READY,
]);

/** The request for the same as JSON; undefined where there is none. */
export function jsonRequest(code: number): number | undefined {
  return withJson.has(code) ? code | AS_JSON : undefined;
}

/** Length of a request in bytes. */
export const REQUEST_LENGTH = 4;

const names = new Map<number, string>(
  Object.entries(Request).map(([name, code]) => [code, name.toLowerCase().replaceAll('_', ' ')]),
);

/** `dump internal`, `commit flows`, ...; undefined for a code that is not a request. */
export function requestName(code: number): string | undefined {
  const plain = code & ~AS_JSON;
  if (code !== plain && !withJson.has(plain)) return undefined;
  return names.get(plain);
}

/** How a daemon works, as far as requests depend on it. */
export type Mode =
  | { kind: 'sync'; replication: 'ftfw' | 'notrack' | 'alarm'; expectations: boolean }
  | { kind: 'stats' }
  | { kind: 'idle' };

/** Who answers a request in Sync mode; the rest of the table is in the two sets. */
type InSync = 'always' | 'expectations' | 'not alarm' | 'ftfw';

const sync = new Map<number, InSync>([
  [Request.SEND_BULK, 'not alarm'],
  [Request.REQUEST_RESYNC, 'not alarm'],
  [Request.STATISTICS_RESEND_QUEUE, 'ftfw'],
  [Request.STATISTICS_EXPECT, 'expectations'],
  [Request.FLUSH_KERNEL_EXPECT, 'expectations'],
  [Request.RESYNC_KERNEL_EXPECT, 'expectations'],
  [Request.DUMP_INTERNAL_EXPECT, 'expectations'],
  [Request.DUMP_EXTERNAL_EXPECT, 'expectations'],
  [Request.COMMIT_EXPECT, 'expectations'],
]);

/**
 * Requests that Stats mode answers; of 43 and 44 it does the part about flows. FLUSH_CACHES is not
 * among them: as in the C daemon, only `-f internal` empties the cache of Stats mode.
 */
const stats = new Set<number>([
  Request.FLUSH_KERNEL_FLOWS,
  Request.RESYNC_KERNEL_FLOWS,
  Request.DUMP_INTERNAL,
  Request.DUMP_INTERNAL_XML,
  Request.FLUSH_FLOW_CACHES,
  Request.TERMINATE,
  Request.STATISTICS,
  Request.STATISTICS_CACHE,
  Request.STATISTICS_RUNTIME,
  Request.FLUSH_INTERNAL,
  Request.STATISTICS_PROCESS,
  Request.FLUSH_KERNEL,
  Request.RESYNC_KERNEL,
]);

const idle = new Set<number>([
  Request.TERMINATE,
  Request.STATISTICS_RUNTIME,
  Request.STATISTICS_PROCESS,
]);

/**
 * Why a daemon in this mode does not answer a request: a message for the operator, or undefined if
 * it does. To a C client a refusal is silence.
 */
export function refusal(code: number, mode: Mode): string | undefined {
  const name = requestName(code);
  if (name === undefined) return `unknown request ${code}`;
  const plain = code & ~AS_JSON;
  if (mode.kind === 'stats') return stats.has(plain) ? undefined : `no ${name} in Stats mode`;
  if (mode.kind === 'idle') {
    return idle.has(plain) ? undefined : `no ${name} without a Sync or Stats section`;
  }
  switch (sync.get(plain) ?? 'always') {
    case 'expectations':
      return mode.expectations ? undefined : `no ${name}: ExpectationSync is off`;
    case 'not alarm':
      return mode.replication === 'alarm' ? `no ${name} in ALARM mode` : undefined;
    case 'ftfw':
      return mode.replication === 'ftfw' ? undefined : `no ${name}: only FTFW has a resend queue`;
    default:
      return undefined;
  }
}

/** The four bytes of a request. The C programs use host order, which is little-endian here. */
export function encodeRequest(code: number): Uint8Array {
  const bytes = new Uint8Array(REQUEST_LENGTH);
  new DataView(bytes.buffer).setInt32(0, code, LITTLE_ENDIAN);
  return bytes;
}

/** The code in the first four bytes. Does not bounds-check; callers have proved length. */
export function decodeRequest(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, LITTLE_ENDIAN);
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The end of a reply to a request with WANTS_STATUS, without the NUL ahead of it. */
export function encodeStatus(exit: number, message: string): string {
  return `${exit} ${message.replaceAll('\n', ' ')}\n`;
}

/** The status in the text after the NUL; undefined if it was cut off. */
export function decodeStatus(text: string): { exit: number; message: string } | undefined {
  const match = /^(\d{1,3}) (.*)\n$/.exec(text);
  return match ? { exit: Number(match[1]), message: match[2] ?? '' } : undefined;
}

/** Thrown by whoever carries out a command to let the client fail with a message. */
export class CommandError extends Error {
  readonly code = 'ERR_COMMAND';
  readonly exit: number;

  constructor(message: string, exit = 1) {
    super(message);
    this.name = 'CommandError';
    this.exit = exit;
  }
}
