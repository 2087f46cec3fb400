/*
 * Names of the transport protocols, for `Filter { Protocol }`.
 *
 * The system's database (/etc/protocols) is read once, at the first configuration that names a
 * protocol. Small systems have no such file, so the names that a firewall filters on are built in.
 * An exact match, name or alias, comes first; after that letter case does not matter, because the
 * database spells UDP-Lite `udplite` and `UDPLite` while administrators write `UDPLITE`.
 */

import { readFileSync } from 'node:fs';

export type ProtocolTable = ReadonlyMap<string, number>;

/** Numbers of IANA's registry (uapi linux/in.h, linux/in6.h). */
const BUILT_IN: ProtocolTable = new Map([
  ['icmp', 1],
  ['igmp', 2],
  ['ipencap', 4],
  ['tcp', 6],
  ['udp', 17],
  ['dccp', 33],
  ['gre', 47],
  ['esp', 50],
  ['ah', 51],
  ['ipv6-icmp', 58],
  ['icmpv6', 58],
  ['ospf', 89],
  ['ipip', 94],
  ['pim', 103],
  ['vrrp', 112],
  ['l2tp', 115],
  ['sctp', 132],
  ['udplite', 136],
]);

/** Reads the format of protocols(5): `name number alias...`, comments from `#`. */
export function parseProtocols(text: string): ProtocolTable {
  const table = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [name, number, ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (name === undefined || number === undefined || !/^\d{1,3}$/.test(number)) continue;
    if (Number(number) > 255) continue;
    for (const word of [name, ...aliases]) {
      if (!table.has(word)) table.set(word, Number(number));
    }
  }
  return table;
}

let system: ProtocolTable | undefined;

export function systemProtocols(): ProtocolTable {
  if (system === undefined) {
    try {
      system = parseProtocols(readFileSync('/etc/protocols', 'utf8'));
    } catch {
      system = new Map();
    }
  }
  return system;
}

export function protocolNumber(name: string, table = systemProtocols()): number | undefined {
  const exact = table.get(name);
  if (exact !== undefined) return exact;
  const wanted = name.toLowerCase();
  for (const [word, number] of table) {
    if (word.toLowerCase() === wanted) return number;
  }
  return BUILT_IN.get(wanted);
}

/** Every name that can be suggested for a mistyped one. */
export function protocolNames(table = systemProtocols()): string[] {
  return [...new Set([...BUILT_IN.keys(), ...table.keys()])];
}
