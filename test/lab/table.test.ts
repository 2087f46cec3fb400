// The lab's own eyes: what the table comparison must see, and what it must overlook. Needs no root.

import { expect, test } from 'vitest';
import { parseCacheDump } from '../../lab/replication.js';
import { compareTables, describeDifferences, parseFlow, parseTable } from '../../lab/table.js';

const DNAT =
  'ipv4     2 tcp      6 431999 ESTABLISHED src=10.1.0.2 dst=10.1.0.1 sport=51716 dport=9100 ' +
  'src=10.2.0.2 dst=10.1.0.2 sport=9200 dport=51716 [ASSURED] mark=42 zone=7 helper=ftp use=1 ' +
  'id=2967601025 labels=bit5';
const PING =
  'ipv6     10 icmpv6   58 26 src=fd01::2 dst=fd02::2 type=128 code=0 id=6637 ' +
  'src=fd02::2 dst=fd01::2 type=129 code=0 id=6637 mark=0 use=1 id=3060115277';
const UNREPLIED =
  'ipv4     2 udp      17 25 src=10.1.0.2 dst=10.2.0.2 sport=54933 dport=5999 [UNREPLIED] ' +
  'src=10.2.0.2 dst=10.1.0.2 sport=5999 dport=54933 mark=0 use=1 id=508119483';

test('a line of conntrack(8) becomes a flow', () => {
  expect(parseFlow(DNAT)).toMatchObject({
    key: 'tcp src=10.1.0.2 dst=10.1.0.1 sport=51716 dport=9100 zone=7',
    state: 'ESTABLISHED',
    timeout: 431999,
    reply: { src: '10.2.0.2', dst: '10.1.0.2', sport: '9200', dport: '51716' },
    status: ['ASSURED'],
    mark: '42',
    labels: 'bit5',
    helper: 'ftp',
  });
  expect(parseFlow(PING).reply).toEqual({
    src: 'fd02::2',
    dst: 'fd01::2',
    type: '129',
    code: '0',
    id: '6637',
  });
  expect(() => parseFlow('conntrack v1.4.7: 1 flow entries have been shown.')).toThrow(
    'not a flow',
  );
});

test('kernel ids, reference counts and small differences of the timeout do not matter', () => {
  const other = DNAT.replace('id=2967601025', 'id=1')
    .replace('use=1', 'use=2')
    .replace('431999', '431900');
  expect(compareTables(parseTable(DNAT), parseTable(other))).toEqual([]);
});

test.each([
  ['state', 'ESTABLISHED', 'CLOSE'],
  ['reply', 'sport=9200', 'sport=9201'],
  ['status', '[ASSURED] ', ''],
  ['mark', 'mark=42', 'mark=43'],
  ['labels', 'labels=bit5', 'labels=bit6'],
  ['helper', 'helper=ftp ', ''],
  ['timeout', '431999', '300'],
])('a different %s is seen', (field, from, to) => {
  const differences = compareTables(parseTable(DNAT), parseTable(DNAT.replace(from, to)));
  expect(differences.map(({ kind }) => kind)).toEqual(['differs']);
  expect(describeDifferences(differences)).toContain(`differs: ${field}\n`);
});

test('a flow in another zone is another flow', () => {
  const differences = compareTables(parseTable(DNAT), parseTable(DNAT.replace('zone=7', 'zone=8')));
  expect(differences.map(({ kind }) => kind)).toEqual(['missing', 'extra']);
});

test('missing and extra flows are seen', () => {
  const differences = compareTables(
    parseTable(`${DNAT}\n${PING}\n`),
    parseTable(`${DNAT}\n${UNREPLIED}\n`),
  );
  expect(differences.map(({ kind, key }) => `${kind} ${key.split(' ')[0]}`)).toEqual([
    'missing icmpv6',
    'extra udp',
  ]);
});

test('an internal and an external cache entry of one flow are equal', () => {
  const internal = parseCacheDump(
    'tcp      6 ESTABLISHED src=10.1.0.2 dst=10.2.0.2 sport=1 dport=2 src=10.2.0.2 dst=10.1.0.2 ' +
      'sport=2 dport=1 [ASSURED] mark=0 [active since 2s]\n',
  );
  const external = parseCacheDump(
    'tcp      6 ESTABLISHED src=10.1.0.2 dst=10.2.0.2 sport=1 dport=2 [ASSURED] ' +
      '[active since 9s]\n',
  );
  expect(internal).toEqual(external);
  expect(internal.size).toBe(1);
});
