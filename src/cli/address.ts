// Addresses as words of a command line: IPv4 by the grammar of inet_aton(3) (parts may be missing,
// octal or hexadecimal), IPv6 by inet_pton(3), a prefix, and the address and port of a translation.
// Pure functions; every error is a usage error. docs/conntrack.md, "Addresses".

import { AF_INET, AF_INET6 } from '../report/names.js';
import { usageError } from './complain.js';

/** An address in packet order: 4 or 16 bytes. */
export interface Address {
  readonly family: number;
  readonly bytes: Uint8Array;
}

const ZERO = 48;
const NINE = 57;
const DOT = 46;

/** `1.2.3.4` and nothing else, without an object more than needed: what lists consist of. */
function dottedQuad(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = -1;
  for (let i = 0; i < text.length; i++) {
    const character = text.charCodeAt(i);
    if (character >= ZERO && character <= NINE) {
      if (value === 0) return undefined; // octal: the long way
      value = (value < 0 ? 0 : value * 10) + character - ZERO;
      if (value > 255) return undefined;
    } else if (character === DOT && value >= 0 && part < 3) {
      bytes[part++] = value;
      value = -1;
    } else {
      return undefined;
    }
  }
  if (part !== 3 || value < 0) return undefined;
  bytes[3] = value;
  return bytes;
}

/** One to four parts, each decimal, octal or hexadecimal; the last one fills the rest. */
function inetAton(text: string): Uint8Array | undefined {
  const parts = text.replace(/[ \t\n\v\f\r].*$/s, '').split('.');
  if (parts.length > 4) return undefined;
  let address = 0;
  for (const [i, part] of parts.entries()) {
    const number = wholeNumber(part);
    const last = i === parts.length - 1;
    if (number === undefined || number > (last ? 256 ** (5 - parts.length) - 1 : 255)) {
      return undefined;
    }
    address += last ? number : number * 256 ** (3 - i);
  }
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, address);
  return bytes;
}

/** Digits of base 10, 8 (leading 0) or 16 (leading 0x) and nothing else. */
function wholeNumber(text: string): number | undefined {
  if (/^0[xX][0-9a-fA-F]+$/.test(text)) return Number.parseInt(text, 16);
  if (/^0[0-7]*$/.test(text)) return Number.parseInt(text, 8);
  return /^[1-9]\d*$/.test(text) ? Number.parseInt(text, 10) : undefined;
}

function inetPton6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const left = words(halves[0]!, halves.length === 1);
  const right = halves.length === 2 ? words(halves[1]!, true) : [];
  if (left === undefined || right === undefined) return undefined;
  const missing = 8 - left.length - right.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of left.entries()) view.setUint16(i * 2, word);
  for (const [i, word] of right.entries()) view.setUint16((8 - right.length + i) * 2, word);
  return bytes;
}

/** Groups between colons; the last of an address may be a dotted quad. */
function words(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const result: number[] = [];
  const groups = text.split(':');
  for (const [i, group] of groups.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      result.push(Number.parseInt(group, 16));
      continue;
    }
    const quad = last && i === groups.length - 1 ? dottedQuad(group) : undefined;
    if (quad === undefined) return undefined;
    result.push((quad[0]! << 8) | quad[1]!, (quad[2]! << 8) | quad[3]!);
  }
  return result;
}

/** The address that `text` spells. Throws `Invalid IP address`. */
export function parseAddress(text: string, word: string = text): Address {
  const quad = dottedQuad(text);
  if (quad !== undefined) return { family: AF_INET, bytes: quad };
  const v4 = inetAton(text);
  if (v4 !== undefined) return { family: AF_INET, bytes: v4 };
  const v6 = inetPton6(text);
  if (v6 !== undefined) return { family: AF_INET6, bytes: v6 };
  throw usageError(`Invalid IP address \`${word}'`);
}

/** What is done with the family of an address as soon as it is known: a complaint, if it is wrong. */
export type CheckFamily = (family: number) => void;

/** The address before a slash, if there is one; a complaint is about the whole word. */
function parseBefore(slash: number, text: string, check: CheckFamily): Address {
  const address = slash < 0 ? parseAddress(text) : parseAddress(text.slice(0, slash), text);
  check(address.family);
  return address;
}

/** An address without prefix, for the option that messages call `name`. */
export function parsePlain(text: string, name: string, check: CheckFamily): Address {
  const slash = text.indexOf('/');
  const address = parseBefore(slash, text, check);
  if (slash >= 0) throw usageError(`CIDR notation unavailable for \`--${name}'`);
  return address;
}

/** `address[/prefix]`: the address and the mask of its prefix, unless that covers all bits. */
export function parsePrefixed(
  text: string,
  check: CheckFamily,
): { address: Address; mask: Address | undefined } {
  const slash = text.indexOf('/');
  const address = parseBefore(slash, text, check);
  if (slash < 0) return { address, mask: undefined };
  const digits = /^\s*\+?(\d*)$/.exec(text.slice(slash + 1))?.[1];
  const bits = digits === undefined ? Number.NaN : Number(digits);
  const most = address.bytes.length * 8;
  if (!(bits <= most)) throw usageError('Invalid netmask');
  return { address, mask: bits === most ? undefined : maskOf(address.family, bits) };
}

function maskOf(family: number, bits: number): Address {
  const bytes = new Uint8Array(family === AF_INET ? 4 : 16);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = 0xff00 >> Math.min(8, Math.max(0, bits - i * 8));
  }
  return { family, bytes };
}

/** Where a flow is translated to. */
export interface Translation {
  readonly address: Address;
  readonly port: number | undefined;
}

/** `v4`, `v4:port`, `v6` or `[v6]:port`, for the option that messages call `name`. */
export function parseTranslation(text: string, name: string, check: CheckFamily): Translation {
  const { host, port } = splitPort(text);
  const number = port === undefined ? undefined : parsePort(port);
  return { address: parsePlain(host, name, check), port: number };
}

function splitPort(text: string): { host: string; port: string | undefined } {
  if (text.startsWith('[')) {
    const close = text.indexOf(']');
    if (close < 0) throw usageError("No closing ']' around IPv6 address");
    if (close === 1) throw usageError('No IPv6 address specified');
    // Brackets serve to set off a port; alone they are part of a word that is no address.
    if (text[close + 1] !== ':') return { host: text, port: undefined };
    return { host: text.slice(1, close), port: text.slice(close + 2) };
  }
  const colon = text.indexOf(':');
  if (colon < 0 || text.includes(':', colon + 1)) return { host: text, port: undefined };
  return { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

function parsePort(text: string): number {
  if (text === '') throw usageError("No port specified after `:'");
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65535)) throw usageError(`Invalid port \`${text}'`);
  return port;
}
