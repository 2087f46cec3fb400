/*
 * Names of protocols: the system's database first, letter case second, built-in names last.
 */

import { expect, test } from 'vitest';
import { parseProtocols, protocolNumber } from '../../../src/config/protocols.js';

const TABLE = parseProtocols(`# comment
tcp\t6\tTCP\t\t# transmission control
udplite 136 UDPLite
rspf\t73\tRSPF CPHB
mptcp 262 MPTCP
#\t99\t\t# nothing
ours 253
broken
`);

test.each([
  ['tcp', 6],
  ['TCP', 6],
  ['CPHB', 73],
  ['UDPLITE', 136],
  ['ours', 253],
  // Not in this database.
  ['sctp', 132],
  ['IPv6-ICMP', 58],
  // No byte holds that number.
  ['mptcp', undefined],
  ['broken', undefined],
  ['99', undefined],
])('%s', (name, number) => {
  expect(protocolNumber(name, TABLE)).toBe(number);
});

test('an empty database leaves the built-in names', () => {
  const empty = parseProtocols('');
  expect(protocolNumber('UDP', empty)).toBe(17);
  expect(protocolNumber('vmtp', empty)).toBeUndefined();
});
