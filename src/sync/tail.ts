// The tail of a control message: what our nodes tell each other, and a C daemon never sees. A C
// daemon takes a control message that is longer than it need be and ignores the excess; that excess
// is the only place in the protocol where something new can stand (docs/wire-protocol.md, "The
// tail").
//
//   ┌───────────────────┬────────────────────┬───────────┬───────────┬─────┐
//   │ ALIVE 8, others 16│ magic │ V │ 0 │ len│ type, len │ value     │ …   │
//   └───────────────────┴────────────────────┴───────────┴───────────┴─────┘
//                        0       4   5   6    8           12
//
//   magic "FLTW"   V 1   len u16: the whole tail, this header included
//   part: type u16, len u16 of the value alone, value, zeros up to a multiple of 4
//
// All integers are big-endian. A type that is not known is skipped, so parts can be added; a tail
// that does not add up is ignored as a whole, and the message counts as one without a tail.
//
// Control messages are rare (a few a second), so this is ordinary TypeScript on main. A hostile tail
// costs one walk along its own bytes and changes nothing but what is known of the peer that sent it.

import { FLAG } from './flags.js';

/** What a part is. A number, once used, never changes its meaning. */
export const PART = {
  /** u64 node, u64 start. */
  NODE: 1,
  /** u32, CAPABILITY bits. */
  CAPABILITIES: 2,
  /** u8, MODE_* of layout.ts. */
  MODE: 3,
  /** Text: the program's version. */
  PROGRAM: 4,
  /** u32 × 4: flows in the internal and the external cache, messages unacknowledged and waiting. */
  FLOWS: 5,
  /** u64 × 1 … n: the nodes that an ACK, NACK or HELLO_BACK is meant for. */
  FOR: 6,
  /** Nothing: acknowledge now, please. */
  ASK: 7,
  /** 16 … 31 belong to the digests of tables. */
  DIGEST_FIRST: 16,
  DIGEST_LAST: 31,
} as const;

/** What a node can do that a C daemon cannot. */
export const CAPABILITY = {
  /** Acknowledgements name the node that they answer. */
  ADDRESSED: 1,
  /** Digests of tables are compared and differences repaired. */
  DIGESTS: 2,
  /** Zones of one direction only are understood. */
  ZONES: 4,
} as const;

export interface Part {
  readonly type: number;
  readonly value: Uint8Array;
}

/** Who a node is: a number of its own for each of its lives, and when this one began (ms, Unix). */
export interface Identity {
  readonly node: bigint;
  readonly start: number;
}

/** What a node holds, in flows, and what it has still to bring over, in messages. */
export interface Holdings {
  readonly internal: number;
  readonly external: number;
  readonly unacknowledged: number;
  readonly waiting: number;
}

/** What the tail of a message said; what it did not say, or not well, is undefined. */
export interface Tail {
  readonly identity: Identity | undefined;
  readonly capabilities: number | undefined;
  readonly mode: number | undefined;
  readonly program: string | undefined;
  readonly holdings: Holdings | undefined;
  readonly addressees: readonly bigint[] | undefined;
  readonly asks: boolean;
  /** Every part as it came, also those that are told above. */
  readonly parts: readonly Part[];
}

/** Bytes of a control message before its tail: of ALIVE, and of those with a range. */
const ALIVE_HEADER = 8;
const RANGED_HEADER = 16;

const CONTROL_TYPE = 10;
const RANGED = FLAG.ACK | FLAG.NACK | FLAG.RESYNC;

const MAGIC = 0x464c5457; // "FLTW"
const VERSION = 1;
const HEADER = 8;
const PART_HEADER = 4;
/** Parts of one tail that are looked at: more than there are types. */
const PARTS_MOST = 64;
const ADDRESSEES_MOST = 16;
const PROGRAM_MOST = 32;

/** Bytes that `parts` take as a tail; a multiple of 4. */
export function tailLength(parts: readonly Part[]): number {
  return parts.reduce((sum, { value }) => sum + PART_HEADER + padded(value.length), HEADER);
}

/**
 * Appends `parts` to the control message of `length` bytes at `at`; returns its new length. The
 * caller has tailLength(parts) bytes of room.
 */
export function appendTail(
  view: DataView,
  at: number,
  length: number,
  parts: readonly Part[],
): number {
  const size = tailLength(parts);
  let out = at + length;
  view.setUint32(out, MAGIC);
  view.setUint16(out + 4, VERSION << 8);
  view.setUint16(out + 6, size);
  out += HEADER;
  for (const { type, value } of parts) {
    view.setUint16(out, type);
    view.setUint16(out + 2, value.length);
    out += PART_HEADER;
    for (let i = 0; i < padded(value.length); i++) view.setUint8(out + i, value[i] ?? 0);
    out += padded(value.length);
  }
  view.setUint16(at + 2, length + size);
  return length + size;
}

/**
 * The tail of the control message at `at`, which the framing has accepted. Undefined: it has none,
 * or none of ours. `header`: 8 for ALIVE, 16 for the others.
 */
export function readTail(view: DataView, at: number, header: 8 | 16): Tail | undefined {
  const room = view.getUint16(at + 2) - header;
  if (room < HEADER) return undefined;
  const start = at + header;
  if (view.getUint32(start) !== MAGIC || view.getUint8(start + 4) !== VERSION) return undefined;
  const size = view.getUint16(start + 6);
  if (size < HEADER || size > room) return undefined;
  const parts = readParts(view, start + HEADER, size - HEADER);
  return parts && tellParts(parts);
}

/** The same of a message of any kind: only control messages have a tail. */
export function tailOf(view: DataView, at: number): Tail | undefined {
  if ((view.getUint8(at) & 15) !== CONTROL_TYPE) return undefined;
  const ranged = (view.getUint8(at + 1) & RANGED) !== 0;
  return readTail(view, at, ranged ? RANGED_HEADER : ALIVE_HEADER);
}

/** Undefined when they do not add up. */
function readParts(view: DataView, start: number, size: number): Part[] | undefined {
  const parts: Part[] = [];
  const end = start + size;
  let at = start;
  while (at < end) {
    if (end - at < PART_HEADER || parts.length === PARTS_MOST) return undefined;
    const length = view.getUint16(at + 2);
    if (PART_HEADER + padded(length) > end - at) return undefined;
    const type = view.getUint16(at);
    at += PART_HEADER;
    // A copy: the slot is overwritten by the next datagram.
    const value = new Uint8Array(length);
    value.set(new Uint8Array(view.buffer, view.byteOffset + at, length));
    parts.push({ type, value });
    at += padded(length);
  }
  return parts;
}

function tellParts(parts: readonly Part[]): Tail {
  const find = (type: number, lengths: (length: number) => boolean): DataView | undefined => {
    const part = parts.find((one) => one.type === type && lengths(one.value.length));
    return part && new DataView(part.value.buffer);
  };
  const exactly = (length: number) => (other: number) => other === length;
  const node = find(PART.NODE, exactly(16));
  const program = find(PART.PROGRAM, (length) => length <= PROGRAM_MOST);
  const flows = find(PART.FLOWS, exactly(16));
  const whom = find(
    PART.FOR,
    (length) => length > 0 && length % 8 === 0 && length <= 8 * ADDRESSEES_MOST,
  );
  return {
    identity: node && { node: node.getBigUint64(0), start: Number(node.getBigUint64(8)) },
    capabilities: find(PART.CAPABILITIES, exactly(4))?.getUint32(0),
    mode: find(PART.MODE, exactly(1))?.getUint8(0),
    program: program && printable(program),
    holdings: flows && {
      internal: flows.getUint32(0),
      external: flows.getUint32(4),
      unacknowledged: flows.getUint32(8),
      waiting: flows.getUint32(12),
    },
    addressees: whom && readNodes(whom),
    asks: parts.some(({ type }) => type === PART.ASK),
    parts,
  };
}

export function identityPart({ node, start }: Identity): Part {
  const value = new Uint8Array(16);
  const view = new DataView(value.buffer);
  view.setBigUint64(0, node);
  view.setBigUint64(8, BigInt(start));
  return { type: PART.NODE, value };
}

export function capabilitiesPart(bits: number): Part {
  return { type: PART.CAPABILITIES, value: words([bits]) };
}

export function modePart(mode: number): Part {
  return { type: PART.MODE, value: Uint8Array.of(mode) };
}

export function programPart(version: string): Part {
  const value = new TextEncoder().encode(version).subarray(0, PROGRAM_MOST);
  return { type: PART.PROGRAM, value };
}

export function holdingsPart(holdings: Holdings): Part {
  const { internal, external, unacknowledged, waiting } = holdings;
  return { type: PART.FLOWS, value: words([internal, external, unacknowledged, waiting]) };
}

export function addresseesPart(nodes: readonly bigint[]): Part {
  const value = new Uint8Array(nodes.length * 8);
  const view = new DataView(value.buffer);
  nodes.forEach((node, i) => {
    view.setBigUint64(i * 8, node);
  });
  return { type: PART.FOR, value };
}

export function askPart(): Part {
  return { type: PART.ASK, value: new Uint8Array(0) };
}

function readNodes(view: DataView): bigint[] {
  return Array.from({ length: view.byteLength / 8 }, (_, i) => view.getBigUint64(i * 8));
}

function words(list: readonly number[]): Uint8Array {
  const value = new Uint8Array(list.length * 4);
  const view = new DataView(value.buffer);
  list.forEach((word, i) => {
    view.setUint32(i * 4, word);
  });
  return value;
}

/** What an operator may see on a terminal: a stranger's text could hold anything. */
function printable(view: DataView): string {
  const bytes = new Uint8Array(view.buffer);
  return String.fromCharCode(...bytes.map((byte) => (byte > 0x20 && byte < 0x7f ? byte : 0x3f)));
}

function padded(length: number): number {
  return (length + 3) & ~3;
}
