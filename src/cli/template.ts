// Files of command lines (-R) are mostly one line again and again with other addresses and ports. A
// template is such a line once read: the bytes between its values, and where in the request each
// value goes. A line that fits is copied and patched without being parsed.
//
//   line      -A -t 431999 -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 40001 --dport 443 ...
//   template  -A -t ┄┄┄┄┄┄ -s ┄┄┄┄┄┄┄┄ -d ┄┄┄┄┄┄┄┄ -p tcp --sport ┄┄┄┄┄ --dport ┄┄┄ ...
//
// Where a value goes is not known here but found out: the line is read twice more by the parser with
// other values in its place, and the bytes of the request that changed must be those values and
// nothing else. If they are not, the line has no template. So what a template makes is what the
// parser would have made. Values that are not written plainly (octal, a prefix, a name) do not fit.

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

const ZERO = 48;
const DOT = 46;
const COLON = 58;
const VALUE_SIZE = 16;

export class Template {
  /** Values of the line that `fits` has seen, 16 bytes a slot. */
  private readonly values: Uint8Array;

  constructor(
    private readonly literals: readonly Uint8Array[],
    private readonly slots: readonly Slot[],
    private readonly request: Uint8Array,
  ) {
    this.values = new Uint8Array(slots.length * VALUE_SIZE);
  }

  get length(): number {
    return this.request.length;
  }

  /** Whether the line between two places differs in its values only; they are kept for `write`. */
  fits(text: Uint8Array, at: number, end: number): boolean {
    const { literals, slots } = this;
    for (let i = 0; ; i++) {
      const literal = literals[i]!;
      if (at + literal.length > end) return false;
      for (let k = 0; k < literal.length; k++) if (text[at + k] !== literal[k]) return false;
      at += literal.length;
      const slot = slots[i];
      if (slot === undefined) return at === end;
      at = this.read(slot, i, text, at, end);
      if (at < 0) return false;
    }
  }

  /** Writes the request of the line that fitted. */
  write(bytes: Uint8Array, at: number): void {
    const { slots, values } = this;
    bytes.set(this.request, at);
    for (let i = 0; i < slots.length; i++) {
      const { offsets, width } = slots[i]!;
      const value = i * VALUE_SIZE;
      for (let o = 0; o < offsets.length; o++) {
        const to = at + offsets[o]!;
        for (let k = 0; k < width; k++) bytes[to + k] = values[value + k]!;
      }
    }
  }

  /** Reads the value of slot `i`; where it ends, or -1 if it is not written plainly. */
  private read(slot: Slot, i: number, text: Uint8Array, at: number, end: number): number {
    const { values } = this;
    const to = i * VALUE_SIZE;
    let stop: number;
    if (slot.kind === 'number') stop = readNumber(text, at, end, values, to, slot.width);
    else if (slot.kind === 'ipv4') stop = readIpv4(text, at, end, values, to);
    else stop = readIpv6(text, at, end, values, to);
    if (stop < 0) return stop;
    if (slot.tied >= 0 && !this.equal(slot.tied, i, slot.width)) return -1;
    return slot.apart >= 0 && this.equal(slot.apart, i, slot.width) ? -1 : stop;
  }

  private equal(one: number, other: number, width: number): boolean {
    const { values } = this;
    for (let k = 0; k < width; k++) {
      if (values[one * VALUE_SIZE + k] !== values[other * VALUE_SIZE + k]) return false;
    }
    return true;
  }
}

function readNumber(
  text: Uint8Array,
  at: number,
  end: number,
  values: Uint8Array,
  to: number,
  width: number,
): number {
  let value = 0;
  const start = at;
  for (; at < end; at++) {
    const digit = text[at]! - ZERO;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  const digits = at - start;
  if (digits === 0 || digits > 10 || (digits > 1 && text[start] === ZERO)) return -1;
  if (width === 2) {
    if (value > 0xffff) return -1;
    values[to] = value >> 8;
    values[to + 1] = value;
    return at;
  }
  if (value > 0xffffffff) return -1;
  values[to] = value >>> 24;
  values[to + 1] = value >>> 16;
  values[to + 2] = value >>> 8;
  values[to + 3] = value;
  return at;
}

function readIpv4(
  text: Uint8Array,
  at: number,
  end: number,
  values: Uint8Array,
  to: number,
): number {
  for (let part = 0; part < 4; part++) {
    let value = 0;
    const start = at;
    for (; at < end && at - start < 4; at++) {
      const digit = text[at]! - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = at - start;
    if (digits === 0 || value > 255 || (digits > 1 && text[start] === ZERO)) return -1;
    values[to + part] = value;
    if (part < 3 && (at >= end || text[at++] !== DOT)) return -1;
  }
  return at;
}

const groups = new Uint16Array(8);

/** Hexadecimal groups in lower case, at most one gap; the dotted form does not fit. */
function readIpv6(
  text: Uint8Array,
  at: number,
  end: number,
  values: Uint8Array,
  to: number,
): number {
  let count = 0;
  let gap = -1;
  if (at + 1 < end && text[at] === COLON && text[at + 1] === COLON) {
    gap = 0;
    at += 2;
  }
  while (at < end) {
    const start = at;
    let value = 0;
    for (; at < end && at - start < 4; at++) {
      const digit = hexDigit(text[at]!);
      if (digit < 0) break;
      value = (value << 4) | digit;
    }
    if (at === start) break; // after a gap at the end
    if (count === 8) return -1;
    groups[count++] = value;
    if (at >= end || text[at] !== COLON) break;
    at++;
    if (at < end && text[at] === COLON) {
      if (gap >= 0) return -1;
      gap = count;
      at++;
    } else if (at >= end || hexDigit(text[at]!) < 0) {
      return -1;
    }
  }
  if (gap < 0 ? count !== 8 : count > 7) return -1;
  const missing = 8 - count;
  for (let i = 0; i < 8; i++) {
    let value = groups[i]!;
    if (gap >= 0 && i >= gap) value = i < gap + missing ? 0 : groups[i - missing]!;
    values[to + i * 2] = value >> 8;
    values[to + i * 2 + 1] = value;
  }
  return at;
}

function hexDigit(character: number): number {
  if (character >= 48 && character <= 57) return character - 48;
  return character >= 97 && character <= 102 ? character - 87 : -1;
}

/** The template of a line whose request is `request`; undefined if it can have none. */
export function makeTemplate(
  line: string,
  request: Uint8Array,
  encode: Encode,
): Template | undefined {
  if (line.includes('"')) return undefined;
  const { literals, slots, names, texts } = takeApart(line);
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
    if (offsets === undefined) return undefined;
    slot.offsets = offsets;
  }
  const encoder = new TextEncoder();
  return new Template(
    literals.map((literal) => encoder.encode(literal)),
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
