/*
 * Internet addresses as conntrackd.conf writes them.
 *
 * IPv4 follows the classic resolver rules (inet_aton with four groups): a group with a leading zero
 * is octal. IPv6 follows the strict presentation form (RFC 4291, section 2.2), without the embedded
 * dotted form and without a scope. Bytes are in network order.
 */

export type Family = 4 | 6;

export interface IpAddress {
  readonly family: Family;
  /** Network order: 4 or 16 bytes. */
  readonly bytes: Uint8Array;
  /** Canonical enough for the socket calls of Node: never octal. */
  readonly text: string;
}

export function parseIPv4(text: string): IpAddress | undefined {
  const groups = text.split('.');
  if (groups.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [i, group] of groups.entries()) {
    const octal = group.length > 1 && group.startsWith('0');
    if (!(octal ? /^[0-7]+$/ : /^\d+$/).test(group)) return undefined;
    const value = Number.parseInt(group, octal ? 8 : 10);
    if (value > 255) return undefined;
    bytes[i] = value;
  }
  return { family: 4, bytes, text: bytes.join('.') };
}

/** Values of the groups of one side of `::`; undefined if one is no group. */
function parseGroups(text: string): number[] | undefined {
  if (text === '') return [];
  const groups = text.split(':');
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16));
}

export function parseIPv6(text: string): IpAddress | undefined {
  const sides = text.split('::');
  if (sides.length > 2) return undefined;
  const head = parseGroups(sides[0]!);
  const tail = parseGroups(sides[1] ?? '');
  if (head === undefined || tail === undefined) return undefined;
  const written = head.length + tail.length;
  // `::` stands for at least one group.
  if (sides.length === 1 ? written !== 8 : written > 7) return undefined;
  const groups = [...head, ...new Array<number>(8 - written).fill(0), ...tail];
  const bytes = Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
  return { family: 6, bytes, text: text.toLowerCase() };
}

export function parseAddress(family: Family, text: string): IpAddress | undefined {
  return family === 4 ? parseIPv4(text) : parseIPv6(text);
}

export function anyAddress(family: Family): IpAddress {
  return family === 4
    ? { family, bytes: new Uint8Array(4), text: '0.0.0.0' }
    : { family, bytes: new Uint8Array(16), text: '::' };
}

export function isAny(address: IpAddress): boolean {
  return address.bytes.every((byte) => byte === 0);
}

/** 224.0.0.0/4 (RFC 5771) or ff00::/8 (RFC 4291). */
export function isMulticast(address: IpAddress): boolean {
  const first = address.bytes[0]!;
  return address.family === 4 ? first >= 224 && first <= 239 : first === 0xff;
}

/** The bytes with everything behind the prefix cleared. */
export function networkBytes(address: IpAddress, prefix: number): Uint8Array {
  return address.bytes.map((byte, i) => {
    const kept = Math.min(8, Math.max(0, prefix - i * 8));
    return byte & (0xff00 >> kept) & 0xff;
  });
}
