// Lines of a command file (conntrack -R) to requests, by templates: a line like one that was parsed
// before is compared with the text between its values, the values are read, and the parsed line's
// request is copied with them in it. A line that fits none is left to the parser. What a template is,
// and why what it makes is what the parser would make: src/cli/template.ts.
//
// Pure functions over addresses; keep nothing. The caller has proved that TEXT_MARGIN bytes behind the
// text can be read, that the values of a template have their room, and that `most` requests of
// REQUEST_MARGIN bytes more than the longest template's fit.

import {
  KIND_IPV4,
  KIND_NUMBER,
  MADE_LAST,
  MADE_TEXT,
  SLOT_APART,
  SLOT_KIND,
  SLOT_OFFSETS,
  SLOT_PLACES,
  SLOT_SIZE,
  SLOT_TEXT,
  SLOT_TEXT_LENGTH,
  SLOT_TIED,
  SLOT_WIDTH,
  TEMPLATE_COUNT,
  TEMPLATE_LENGTH,
  TEMPLATE_REQUEST,
  TEMPLATE_SLOTS,
  TEMPLATE_TAIL,
  TEMPLATE_TAIL_LENGTH,
  TEMPLATE_VALUES,
  VALUE_SIZE,
} from './template-layout';

const NLMSG_SEQ: usize = 8; // linux/netlink.h
const NEWLINE: u8 = 0x0a;
const DOT: u8 = 0x2e;
const ZERO: u8 = 0x30;
const COLON: u8 = 0x3a;
const LETTER: u8 = 0x57; // 'a' - 10

/**
 * Makes requests of the lines at `at`, until one fits none of the `count` templates (addresses at
 * `templates`), the text ends, or `most` are made. Requests go to `out` one after another, numbered from
 * `sequence` on. Returns how many; MADE_TEXT and MADE_LAST at `made` tell how far that went.
 */
export function requestsOfLines(
  at: usize,
  end: usize,
  templates: usize,
  count: u32,
  out: usize,
  sequence: u32,
  most: u32,
  made: usize,
): u32 {
  const first = sequence;
  const full = sequence + most;
  let last: u32 = 0; // lines of one kind mostly stand together
  let request = out;
  while (at < end && sequence < full) {
    let template: usize = 0;
    let stop: usize = 0;
    for (let tried: u32 = 0; tried < count; tried++) {
      template = load<u32>(templates + (<usize>last << 2));
      stop = fill(template, at, end, out);
      if (stop != 0) break;
      last = last + 1 == count ? 0 : last + 1;
    }
    if (stop == 0) break;
    at = stop;
    store<u32>(out, sequence++, NLMSG_SEQ);
    request = out;
    out += <usize>load<u32>(template, TEMPLATE_LENGTH);
  }
  store<u32>(made, <u32>at, MADE_TEXT);
  store<u32>(made, <u32>request, MADE_LAST);
  return sequence - first;
}

/**
 * Makes the request of the line at `at`, REQUEST_MARGIN bytes more included; the place behind the line. 0 if
 * the line does not fit: then `out` holds anything.
 */
function fill(template: usize, at: usize, end: usize, out: usize): usize {
  const size: usize = load<u32>(template, TEMPLATE_LENGTH);
  const request = <usize>load<u32>(template, TEMPLATE_REQUEST);
  for (let done: usize = 0; done < size; done += 16) {
    v128.store(out + done, v128.load(request + done));
  }
  const values = <usize>load<u32>(template, TEMPLATE_VALUES);
  const count = load<u32>(template, TEMPLATE_COUNT);
  let slot = template + TEMPLATE_SLOTS;
  let value = values;
  for (let i: u32 = 0; i < count; i++) {
    const length = load<u32>(slot, SLOT_TEXT_LENGTH);
    if (!same(at, load<u32>(slot, SLOT_TEXT), length)) return 0;
    at += length;
    const kind = load<u32>(slot, SLOT_KIND);
    const width = load<u32>(slot, SLOT_WIDTH);
    if (kind == KIND_NUMBER) at = readNumber(at, value, width);
    else if (kind == KIND_IPV4) at = readIpv4(at, value);
    else at = readIpv6(at, value);
    if (at == 0) return 0;
    const tied = load<i32>(slot, SLOT_TIED);
    if (tied >= 0 && !equal(values + <usize>tied * VALUE_SIZE, value, width)) return 0;
    const apart = load<i32>(slot, SLOT_APART);
    if (apart >= 0 && equal(values + <usize>apart * VALUE_SIZE, value, width)) return 0;
    patch(slot, value, width, out);
    slot += SLOT_SIZE;
    value += VALUE_SIZE;
  }
  const length = load<u32>(template, TEMPLATE_TAIL_LENGTH);
  if (!same(at, load<u32>(template, TEMPLATE_TAIL), length)) return 0;
  at += length;
  if (at == end) return at;
  return at < end && load<u8>(at) == NEWLINE ? at + 1 : 0;
}

/** Puts the value of a slot where it goes in the request at `out`. */
// @ts-ignore: decorator
@inline
function patch(slot: usize, value: usize, width: u32, out: usize): void {
  const places = load<u32>(slot, SLOT_PLACES);
  for (let i: u32 = 0; i < places; i++) {
    const to = out + load<u32>(slot + (<usize>i << 2), SLOT_OFFSETS);
    if (width == 2) store<u16>(to, load<u16>(value));
    else if (width == 4) store<u32>(to, load<u32>(value));
    else v128.store(to, v128.load(value));
  }
}

/** Whether two texts are equal; up to 15 bytes behind either may be read. */
// @ts-ignore: decorator
@inline
function same(one: usize, other: usize, length: u32): bool {
  while (length > 16) {
    if (equalBytes(one, other) != 0xffff) return false;
    one += 16;
    other += 16;
    length -= 16;
  }
  const wanted = (1 << length) - 1;
  return (equalBytes(one, other) & wanted) == wanted;
}

/** A bit for each of 16 bytes that are equal. */
// @ts-ignore: decorator
@inline
function equalBytes(one: usize, other: usize): i32 {
  return i8x16.bitmask(i8x16.eq(v128.load(one), v128.load(other)));
}

// @ts-ignore: decorator
@inline
function equal(one: usize, other: usize, width: u32): bool {
  for (let i: u32 = 0; i < width; i++) {
    if (load<u8>(one + i) != load<u8>(other + i)) return false;
  }
  return true;
}

// Digits are read eight at a time: how many there are differs from line to line, and a loop over them
// costs more by its mispredicted ends than by its work. Each byte of `text ^ ZEROS` is a digit's value, or 10
// and above.
const ZEROS: u64 = 0x3030303030303030;
const SIGNS: u64 = 0x8080808080808080;

/** How many of the eight bytes, from the first on, are digits. */
// @ts-ignore: decorator
@inline
function digitsOf(values: u64): u64 {
  const other = ((values & ~SIGNS) + 0x7676767676767676) | values;
  return ctz(other & SIGNS) >> 3;
}

/** The number of eight digits' values, the first in the lowest byte. */
// @ts-ignore: decorator
@inline
function eightDigits(values: u64): u32 {
  const pairs = values * 10 + (values >> 8);
  const high = (pairs & 0x000000ff000000ff) * 0x000f424000000064; // 100 and 1,000,000
  const low = ((pairs >> 16) & 0x000000ff000000ff) * 0x0000271000000001; // 1 and 10,000
  return <u32>((high + low) >> 32);
}

/** A plain decimal number of 2 or 4 bytes, written in network order; the place behind it or 0. */
// @ts-ignore: decorator
@inline
function readNumber(at: usize, to: usize, width: u32): usize {
  const values = load<u64>(at) ^ ZEROS;
  const digits = digitsOf(values);
  if (digits == 8) return readLongNumber(at, to, width);
  if (digits == 0 || (digits > 1 && (values & 0xff) == 0)) return 0;
  const value = eightDigits(values << (64 - (digits << 3)));
  if (width == 2) {
    if (value > 0xffff) return 0;
    store<u16>(to, bswap<u16>(<u16>value));
  } else {
    store<u32>(to, bswap<u32>(value));
  }
  return at + <usize>digits;
}

/** The same of eight digits and more. */
function readLongNumber(at: usize, to: usize, width: u32): usize {
  const start = at;
  let value: u64 = 0;
  for (;;) {
    const digit = load<u8>(at) - ZERO;
    if (digit > 9) break;
    value = value * 10 + digit;
    at++;
    if (at - start > 10) return 0;
  }
  if (load<u8>(start) == ZERO || width == 2 || value > 0xffffffff) return 0;
  store<u32>(to, bswap<u32>(<u32>value));
  return at;
}

/** Four plain decimal parts; the place behind them or 0. */
function readIpv4(at: usize, to: usize): usize {
  let address: u32 = 0;
  for (let part: u32 = 0; part < 4; part++) {
    if (part > 0 && load<u8>(at++) != DOT) return 0;
    const values = <u64>load<u32>(at) ^ ZEROS;
    const digits = <u32>digitsOf(values);
    if (digits - 1 > 2 || (digits > 1 && (values & 0xff) == 0)) return 0; // none, or more than three
    const aligned = <u32>values << (32 - (digits << 3));
    const value = (aligned >> 24) + ((aligned >> 16) & 0xff) * 10 + ((aligned >> 8) & 0xff) * 100;
    if (value > 255) return 0;
    address = (address << 8) | value;
    at += digits;
  }
  store<u32>(to, bswap<u32>(address));
  return at;
}

/** Groups in lower case, at most one gap, not dotted; the place behind them or 0. */
function readIpv6(at: usize, to: usize): usize {
  let count: u32 = 0;
  let gap: i32 = -1;
  if (load<u8>(at) == COLON) {
    if (load<u8>(at, 1) != COLON) return 0;
    gap = 0;
    at += 2;
  }
  for (;;) {
    const start = at;
    let value: u32 = 0;
    for (;;) {
      const digit = hexDigit(load<u8>(at));
      if (digit > 15) break;
      value = (value << 4) | digit;
      at++;
      if (at - start > 4) return 0;
    }
    if (at == start) break; // behind a gap at the end
    if (count == 8) return 0;
    store<u16>(to + (<usize>count << 1), bswap<u16>(<u16>value));
    count++;
    if (load<u8>(at) != COLON) break;
    at++;
    if (load<u8>(at) == COLON) {
      if (gap >= 0) return 0;
      gap = count;
      at++;
    } else if (hexDigit(load<u8>(at)) > 15) {
      return 0;
    }
  }
  if (gap < 0) return count == 8 ? at : 0;
  if (count > 7) return 0;
  const behind = count - <u32>gap;
  const from = to + (<usize>gap << 1);
  memory.copy(to + 16 - (<usize>behind << 1), from, <usize>behind << 1);
  memory.fill(from, 0, <usize>(8 - count) << 1);
  return at;
}

/** 16 and above: no digit. */
// @ts-ignore: decorator
@inline
function hexDigit(character: u8): u32 {
  const digit = character - ZERO;
  if (digit <= 9) return digit;
  return character >= 0x61 && character <= 0x66 ? character - LETTER : 16;
}
