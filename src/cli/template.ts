// Files of command lines (-R) are mostly one line again and again with other addresses and ports. A
// template is such a line once read: the bytes between its values, and where in the request each
// value goes. Of a line that fits the request is copied and patched without the line being parsed, in
// the module (assembly/template.ts); templates are made here.
//
//   line      -A -t 431999 -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 40001 --dport 443 ...
//   template  -A -t ┄┄┄┄┄┄ -s ┄┄┄┄┄┄┄┄ -d ┄┄┄┄┄┄┄┄ -p tcp --sport ┄┄┄┄┄ --dport ┄┄┄ ...
//
// Where a value goes is not known here but found out: the line is read twice more by the parser with
// other values in its place, and the bytes of the request that changed must be those values and
// nothing else. If they are not, the line has no template. So what a template makes is what the
// parser would have made. Values that are not written plainly (octal, a prefix, a name) do not fit.

import * as T from '../../assembly/template-layout.js';
import { MESSAGE_MAX } from './message.js';

/** Reads a line the long way and encodes its request; undefined if that is not a creation. */
export type Encode = (line: string) => Uint8Array | undefined;

interface Slot {
  readonly kind: 'number' | 'ipv4' | 'ipv6';
  /** Bytes in the request: 2 or 4 for a number. */
  readonly width: number;
  /** Where they go; in the order of the packet. */
  offsets: number[];
  /** A slot before it that must hold the same value, or -1. */
  tied: number;
  /** A slot before it that must hold another value, or -1. */
  apart: number;
}

/** Options whose values vary, with the bytes of the value. Addresses are told by their form. */
const WIDTHS = new Map<string, number>([
  ...['-t', '--timeout', '-m', '--mark'].map((word): [string, number] => [word, 4]),
  ...['-w', '--zone', '--orig-zone', '--reply-zone', '-(', '-)', '--icmp-id', '--icmpv6-id'].map(
    (word): [string, number] => [word, 2],
  ),
]);
for (const what of ['port', 'key']) {
  for (const direction of ['orig', 'reply']) {
    for (const end of ['src', 'dst']) WIDTHS.set(`--${direction}-${what}-${end}`, 2);
  }
}
for (const word of ['--sport', '--dport', '--srckey', '--dstkey']) WIDTHS.set(word, 2);
const ADDRESSES = new Set([
  ...['-s', '-d', '-r', '-q', '-n', '-g', '--src', '--orig-src', '--dst', '--orig-dst'],
  ...['--reply-src', '--reply-dst', '--src-nat', '--dst-nat'],
]);
/** Ports that are compared with each other where a translation was saved (encode.ts). */
const TIES: readonly (readonly [string, string])[] = [
  ['--sport', '--reply-port-dst'],
  ['--dport', '--reply-port-src'],
];
const TRANSLATION = /(^| )(-n|-g|--src-nat|--dst-nat) /;

const PLAIN_NUMBER = /^(0|[1-9]\d{0,9})$/;
const PLAIN_IPV4 = /^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/;
const PLAIN_IPV6 = /^[0-9a-f:]*:[0-9a-f:]*$/;

/** A line once read. What `place` writes of it is matched by assembly/template.ts. */
export class Template {
  constructor(
    private readonly literals: readonly Uint8Array[],
    private readonly slots: readonly Slot[],
    readonly request: Uint8Array,
  ) {}

  /** Writes it at `at`, a multiple of 16; returns where it ends. There must be room for SIZE_MAX. */
  place(bytes: Uint8Array, view: DataView, at: number): number {
    const { literals, slots, request } = this;
    const values = align(at + T.TEMPLATE_SLOTS + slots.length * T.SLOT_SIZE);
    let free = values + slots.length * T.VALUE_SIZE;
    const put = (data: Uint8Array): number => {
      const place = free;
      bytes.set(data, place);
      free = align(place + data.length + 16); // it is read by vectors
      return place;
    };
    const word = (place: number, value: number) => view.setInt32(place, value, true);
    const tail = literals[slots.length]!;
    word(at + T.TEMPLATE_REQUEST, put(request));
    word(at + T.TEMPLATE_LENGTH, request.length);
    word(at + T.TEMPLATE_COUNT, slots.length);
    word(at + T.TEMPLATE_VALUES, values);
    word(at + T.TEMPLATE_TAIL, put(tail));
    word(at + T.TEMPLATE_TAIL_LENGTH, tail.length);
    for (const [i, { kind, width, tied, apart, offsets }] of slots.entries()) {
      const slot = at + T.TEMPLATE_SLOTS + i * T.SLOT_SIZE;
      word(slot + T.SLOT_TEXT, put(literals[i]!));
      word(slot + T.SLOT_TEXT_LENGTH, literals[i]!.length);
      word(slot + T.SLOT_KIND, KINDS[kind]);
      word(slot + T.SLOT_WIDTH, width);
      word(slot + T.SLOT_TIED, tied);
      word(slot + T.SLOT_APART, apart);
      word(slot + T.SLOT_PLACES, offsets.length);
      for (const [k, offset] of offsets.entries()) word(slot + T.SLOT_OFFSETS + k * 4, offset);
    }
    return free;
  }
}

const KINDS = { number: T.KIND_NUMBER, ipv4: T.KIND_IPV4, ipv6: T.KIND_IPV6 } as const;

function align(at: number): number {
  return (at + 15) & ~15;
}

/** Longest line that may become a template, and the most values in it. */
const LINE_MAX = 2048;
const SLOTS_MAX = 32;
/** Bytes that a template takes at most. */
export const SIZE_MAX =
  T.TEMPLATE_SLOTS +
  SLOTS_MAX * (T.SLOT_SIZE + T.VALUE_SIZE + 32) + // a text ends with up to 31 bytes of nothing
  LINE_MAX +
  MESSAGE_MAX +
  128;

/** The template of a line whose request is `request`; undefined if it can have none. */
export function makeTemplate(
  line: string,
  request: Uint8Array,
  encode: Encode,
): Template | undefined {
  if (line.length > LINE_MAX || line.includes('"')) return undefined;
  const { literals, slots, names, texts } = takeApart(line);
  if (slots.length > SLOTS_MAX) return undefined;
  if (TRANSLATION.test(line)) tie(slots, names, texts);
  const rebuilt = (values: readonly string[]) =>
    literals.reduce((sum, literal, i) => sum + literal + (values[i] ?? ''), '');
  for (const [i, slot] of slots.entries()) {
    if (slot.tied >= 0) continue; // found out together with the slot it is tied to
    const [first, second] = [0, 1].map((turn) => {
      const probe = probeOf(slot, turn);
      const values = texts.map((text, k) => (k === i || slots[k]!.tied === i ? probe.text : text));
      return { bytes: probe.bytes, request: encode(rebuilt(values)) };
    });
    const offsets = placesOf(request, first!, second!);
    if (offsets === undefined || offsets.length > T.PLACES_MAX) return undefined;
    slot.offsets = offsets;
  }
  return new Template(
    literals.map((literal) => Buffer.from(literal, 'latin1')), // as lineText reads them
    slots,
    request,
  );
}

interface Parts {
  readonly literals: string[];
  readonly slots: Slot[];
  /** The option of each slot, and its value in this line. */
  readonly names: string[];
  readonly texts: string[];
}

function takeApart(line: string): Parts {
  const parts: Parts = { literals: [], slots: [], names: [], texts: [] };
  let before = '';
  let at = 0;
  for (const match of line.matchAll(/[^ \t]+/g)) {
    const word = match[0];
    const slot = slotOf(before, word);
    if (slot !== undefined) {
      parts.literals.push(line.slice(at, match.index));
      parts.slots.push(slot);
      parts.names.push(before);
      parts.texts.push(word);
      at = match.index + word.length;
    }
    before = word;
  }
  parts.literals.push(line.slice(at));
  return parts;
}

function slotOf(option: string, word: string): Slot | undefined {
  const width = WIDTHS.get(option);
  if (width !== undefined && PLAIN_NUMBER.test(word)) {
    return { kind: 'number', width, offsets: [], tied: -1, apart: -1 };
  }
  if (!ADDRESSES.has(option)) return undefined;
  if (PLAIN_IPV4.test(word)) return { kind: 'ipv4', width: 4, offsets: [], tied: -1, apart: -1 };
  return PLAIN_IPV6.test(word)
    ? { kind: 'ipv6', width: 16, offsets: [], tied: -1, apart: -1 }
    : undefined;
}

/** Ports that are equal here must be equal in every line that fits, and the other way round. */
function tie(slots: readonly Slot[], names: readonly string[], texts: readonly string[]): void {
  for (const [one, other] of TIES) {
    const i = names.indexOf(one);
    const k = names.indexOf(other);
    if (i < 0 || k < 0) continue;
    slots[Math.max(i, k)]![texts[i] === texts[k] ? 'tied' : 'apart'] = Math.min(i, k);
  }
}

interface Probe {
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** A value that no line is likely to hold by chance; each turn another in every byte. */
function probeOf(slot: Slot, turn: number): Probe {
  const bytes = Uint8Array.from({ length: slot.width }, (_, i) => (turn ? 0x9b : 0x61) + 3 * i);
  if (slot.kind === 'ipv4') return { bytes, text: bytes.join('.') };
  const hex = Buffer.from(bytes).toString('hex');
  if (slot.kind === 'number') return { bytes, text: `${Number.parseInt(hex, 16)}` };
  return { bytes, text: (hex.match(/..../g) ?? []).join(':') };
}

/**
 * Where the probes went: every byte that differs between the two requests must belong to a place
 * where each has its own probe, and at all other places both are the original request.
 */
function placesOf(
  original: Uint8Array,
  first: { bytes: Uint8Array; request: Uint8Array | undefined },
  second: { bytes: Uint8Array; request: Uint8Array | undefined },
): number[] | undefined {
  const [a, b] = [first.request, second.request];
  if (a?.length !== original.length || b?.length !== original.length) return undefined;
  const width = first.bytes.length;
  const places: number[] = [];
  for (let at = 0; at < original.length; ) {
    if (a[at] === b[at] && a[at] === original[at]) {
      at++;
      continue;
    }
    for (let k = 0; k < width; k++) {
      if (a[at + k] !== first.bytes[k] || b[at + k] !== second.bytes[k]) return undefined;
    }
    places.push(at);
    at += width;
  }
  return places;
}
