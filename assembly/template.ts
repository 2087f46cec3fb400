// Lines of a command file (conntrack -R) to requests, by templates: a line like one that was parsed
// before is compared with the text between its values, the values are read, and the parsed line's
// request is copied with them in it. A line that fits none is left to the parser. What a template is,
// and why what it makes is what the parser would make: src/cli/template.ts.
//
// Pure functions over addresses; keep nothing. The caller has proved that TEXT_MARGIN bytes behind the
// text can be read, that the values of a template have their room, and that `most` requests fit.

import {
  KIND_IPV4,
  KIND_NUMBER,
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

const NEWLINE: u8 = 0x0a;
const DOT: u8 = 0x2e;
const ZERO: u8 = 0x30;
const COLON: u8 = 0x3a;
const LETTER: u8 = 0x57; // 'a' - 10

/**
 * Makes requests of the lines at `at`, until one fits none of the `count` templates (addresses at
 * `templates`), the text ends, or `most` are made. Requests go to `out` one after another; the address
 * of each and of the line behind it go to `places`, two u32 a request. Returns the number of requests.
 */
export function requestsOfLines(
  at: usize,
  end: usize,
  templates: usize,
  count: u32,
  out: usize,
  places: usize,
  most: u32,
): u32 {
  let made: u32 = 0;
  let last: u32 = 0; // lines of one kind mostly stand together
  while (at < end && made < most) {
    let template: usize = 0;
    let stop: usize = 0;
    for (let tried: u32 = 0; tried < count; tried++) {
      template = load<u32>(templates + (<usize>last << 2));
      stop = fit(template, at, end);
      if (stop != 0) break;
      last = last + 1 == count ? 0 : last + 1;
    }
    if (stop == 0) return made;
    write(template, out);
    at = stop;
    store<u32>(places, <u32>out);
    store<u32>(places, <u32>at, 4);
    places += 8;
    made++;
    out += load<u32>(template, TEMPLATE_LENGTH);
  }
  return made;
}

/** Reads the line at `at` into the template's values; the place behind it, 0 if it does not fit. */
function fit(template: usize, at: usize, end: usize): usize {
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
    slot += SLOT_SIZE;
    value += VALUE_SIZE;
  }
  const length = load<u32>(template, TEMPLATE_TAIL_LENGTH);
  if (!same(at, load<u32>(template, TEMPLATE_TAIL), length)) return 0;
  at += length;
  if (at == end) return at;
  return at < end && load<u8>(at) == NEWLINE ? at + 1 : 0;
}

/** Whether two texts are equal; up to seven bytes behind either may be read. */
// @ts-ignore: decorator
@inline
function same(one: usize, other: usize, length: u32): bool {
  while (length >= 8) {
    if (load<u64>(one) != load<u64>(other)) return false;
    one += 8;
    other += 8;
    length -= 8;
  }
  if (length == 0) return true;
  return (load<u64>(one) ^ load<u64>(other)) << (64 - (<u64>length << 3)) == 0;
}

// @ts-ignore: decorator
@inline
function equal(one: usize, other: usize, width: u32): bool {
  for (let i: u32 = 0; i < width; i++) {
    if (load<u8>(one + i) != load<u8>(other + i)) return false;
  }
  return true;
}

/** Writes the request of the line that fitted. */
function write(template: usize, out: usize): void {
  const length = load<u32>(template, TEMPLATE_LENGTH);
  const count = load<u32>(template, TEMPLATE_COUNT);
  memory.copy(out, load<u32>(template, TEMPLATE_REQUEST), length);
  let slot = template + TEMPLATE_SLOTS;
  let value = <usize>load<u32>(template, TEMPLATE_VALUES);
  for (let i: u32 = 0; i < count; i++) {
    const width = load<u32>(slot, SLOT_WIDTH);
    const places = load<u32>(slot, SLOT_PLACES);
    for (let k: u32 = 0; k < places; k++) {
      const to = out + load<u32>(slot + (<usize>k << 2), SLOT_OFFSETS);
      if (width == 2) store<u16>(to, load<u16>(value));
      else if (width == 4) store<u32>(to, load<u32>(value));
      else v128.store(to, v128.load(value));
    }
    slot += SLOT_SIZE;
    value += VALUE_SIZE;
  }
}

/** A plain decimal number of 2 or 4 bytes, written in network order; the place behind it or 0. */
function readNumber(at: usize, to: usize, width: u32): usize {
  const start = at;
  let value: u64 = 0;
  for (;;) {
    const digit = load<u8>(at) - ZERO;
    if (digit > 9) break;
    value = value * 10 + digit;
    at++;
    if (at - start > 10) return 0;
  }
  const digits = at - start;
  if (digits == 0 || (digits > 1 && load<u8>(start) == ZERO)) return 0;
  if (width == 2) {
    if (value > 0xffff) return 0;
    store<u16>(to, bswap<u16>(<u16>value));
    return at;
  }
  if (value > 0xffffffff) return 0;
  store<u32>(to, bswap<u32>(<u32>value));
  return at;
}

/** Four plain decimal parts; the place behind them or 0. */
function readIpv4(at: usize, to: usize): usize {
  for (let part: u32 = 0; part < 4; part++) {
    if (part > 0 && load<u8>(at++) != DOT) return 0;
    const start = at;
    let value: u32 = 0;
    for (;;) {
      const digit = load<u8>(at) - ZERO;
      if (digit > 9) break;
      value = value * 10 + digit;
      at++;
      if (at - start > 3) return 0;
    }
    const digits = at - start;
    if (digits == 0 || value > 255 || (digits > 1 && load<u8>(start) == ZERO)) return 0;
    store<u8>(to + part, <u8>value);
  }
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
