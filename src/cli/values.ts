// Values of options: lists of names, numbers as the C library reads them. Pure functions.
// docs/conntrack.md, "Lists" and "Numbers".

import { failure, usageError } from './complain.js';

/** Names in the order in which a prefix is matched, each with its bits. */
export type Names = readonly (readonly [name: string, bits: number])[];

// linux/netfilter/nf_conntrack_common.h
export const IPS_EXPECTED = 0x1;
export const IPS_CONFIRMED = 0x8;
export const IPS_SRC_NAT_DONE = 0x80;
export const IPS_DST_NAT_DONE = 0x100;
export const IPS_FIXED_TIMEOUT = 0x400;

const SEEN_REPLY = 0x2;

export const STATUS: Names = [
  ['ASSURED', 0x4],
  ['SEEN_REPLY', SEEN_REPLY],
  ['UNSET', 0],
  ['FIXED_TIMEOUT', IPS_FIXED_TIMEOUT],
  ['EXPECTED', IPS_EXPECTED],
  ['OFFLOAD', 0x4000],
  ['HW_OFFLOAD', 0x8000],
];

/** Multicast groups of src/kernel/netlink.ts. */
export const EVENTS: Names = [
  ['ALL', 7],
  ['NEW', 1],
  ['UPDATES', 2],
  ['DESTROY', 4],
];

export const OUT_XML = 0x1;
export const OUT_EXTENDED = 0x2;
export const OUT_TIMESTAMP = 0x4;
export const OUT_ID = 0x8;
export const OUT_KTIMESTAMP = 0x10;
export const OUT_LABELS = 0x20;
export const OUT_USERSPACE = 0x40;
export const OUT_SAVE = 0x80;
export const OUT_JSON = 0x100; // ours, and the next three
export const OUT_COLOR = 0x200;
export const OUT_ALIGN = 0x400;
export const OUT_WHOLE = 0x800; // with OUT_SAVE: marks and labels too

export const OUTPUTS: Names = [
  ['xml', OUT_XML],
  ['extended', OUT_EXTENDED],
  ['timestamp', OUT_TIMESTAMP],
  ['id', OUT_ID],
  ['ktimestamp', OUT_KTIMESTAMP],
  ['labels', OUT_LABELS],
  ['userspace', OUT_USERSPACE],
  ['save', OUT_SAVE],
  ['json', OUT_JSON],
  ['color', OUT_COLOR],
  ['align', OUT_ALIGN],
  ['whole', OUT_SAVE | OUT_WHOLE],
];

/** What `save` cannot stand with. */
const NOT_WITH_SAVE =
  OUT_XML | OUT_EXTENDED | OUT_TIMESTAMP | OUT_ID | OUT_KTIMESTAMP | OUT_LABELS | OUT_JSON;

/** A list of status names: bits that must be set, bits that must not. */
export interface StatusList {
  set: number;
  clear: number;
}

export type Warn = (line: string) => void;

/**
 * Bits of a comma-separated list; any prefix of a name matches the first such name. `negated`
 * receives the bits of elements behind an exclamation mark, where the list allows them.
 */
function parseNames(text: string, names: Names, warn: Warn, status?: StatusList): number {
  let result = 0;
  let rest = text;
  for (;;) {
    const comma = rest.indexOf(',');
    const element = comma < 0 ? rest : rest.slice(0, comma);
    if (status !== undefined && element.startsWith('UNREPLIED')) {
      status.clear |= SEEN_REPLY;
    } else {
      const negative = status !== undefined && element.startsWith('!');
      const bits = oneName(
        negative ? rest.slice(1) : rest,
        negative ? element.slice(1) : element,
        names,
        warn,
      );
      if (negative) status.clear |= bits;
      else result |= bits;
    }
    if (comma < 0) return result;
    rest = rest.slice(comma + 1);
  }
}

function oneName(rest: string, element: string, names: Names, warn: Warn): number {
  const upper = element.toUpperCase();
  if (upper !== '') {
    for (const [nat, option] of [
      ['SRC_NAT', '--src-nat'],
      ['DST_NAT', '--dst-nat'],
    ]) {
      if (!nat!.startsWith(upper)) continue;
      warn(`WARNING: ignoring ${nat}, use ${option} instead`);
      return 0;
    }
    const found = names.find(([name]) => name.toUpperCase().startsWith(upper));
    if (found !== undefined) return found[1];
  }
  throw usageError(`Bad parameter \`${rest}'`);
}

export function parseStatus(text: string, warn: Warn, into: StatusList): void {
  into.set |= parseNames(text, STATUS, warn, into);
}

export function parseEvents(text: string, warn: Warn): number {
  return parseNames(text, EVENTS, warn);
}

/** Output bits of `text` added to those given before. */
export function parseOutputs(text: string, before: number, warn: Warn): number {
  const outputs = before | parseNames(text, OUTPUTS, warn);
  if (outputs & OUT_SAVE && outputs & NOT_WITH_SAVE) {
    throw failure('cannot combine save output with any other output type, use -o save only');
  }
  return outputs;
}

const NUMBER = /^[ \t\n\v\f\r]*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/;

/** strtoul(3) with base 0 over the whole text; NaN if it is no number. */
function wholeNumber(text: string): number {
  const digits = NUMBER.exec(text)?.[1];
  if (digits === undefined) return Number.NaN;
  return /^0[0-7]/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
}

function inRange(text: string, most: number, whole: string, letter: string): number {
  const number = wholeNumber(text);
  if (!(number <= most)) throw failure(`unexpected value '${whole}' with -${letter} option`);
  return number;
}

/** A number up to `most` for the option of this letter. */
export function parseNumber(text: string, most: number, letter: string): number {
  return inRange(text, most, text, letter);
}

export interface Mark {
  readonly value: number;
  readonly mask: number | undefined;
}

/** `value[/mask]`; an empty mask is 0. */
export function parseMark(text: string): Mark {
  const slash = text.indexOf('/');
  if (slash < 0) return { value: inRange(text, 0xffffffff, text, 'm'), mask: undefined };
  const mask = text.slice(slash + 1);
  return {
    value: inRange(text.slice(0, slash), 0xffffffff, text, 'm'),
    mask: mask === '' ? 0 : inRange(mask, 0xffffffff, text, 'm'),
  };
}

/** atol(3) as 32 bits: leading digits, whatever follows; nothing is 0. */
export function parseLeading(text: string): number {
  const digits = /^[ \t\n\v\f\r]*([+-]?\d+)/.exec(text)?.[1];
  return digits === undefined ? 0 : Number(BigInt.asUintN(32, BigInt(digits)));
}

/** A port, or a GRE key if `anyBase`: a number modulo 65536. Names are refused. */
export function parsePortNumber(text: string, anyBase: boolean): number {
  let number = 0;
  for (let i = 0; i < text.length && i < 6; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9 || (i === 0 && digit === 0 && text.length > 1)) {
      number = Number.NaN;
      break;
    }
    number = number * 10 + digit;
  }
  if (number >= 0 && text !== '' && text.length < 6) return number & 0xffff;
  const long = anyBase
    ? wholeNumber(text)
    : /^[ \t]*[+-]?\d+$/.test(text)
      ? Number(text)
      : Number.NaN;
  if (Number.isNaN(long)) throw usageError(`Invalid port \`${text}'`);
  return long & 0xffff;
}
