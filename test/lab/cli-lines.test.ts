// Command lines by the hundred, each given to the C command and to ours in the same namespace on the
// same table: every complaint word for word with its exit status, and generated lines of options, good
// and bad. Nothing here changes the table: a line that our parser accepts is run only if it merely
// shows. What is mended on purpose (docs/conntrack.md, "Differences") is not generated.

import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Netns, Run } from '../../lab/namespace.js';
import { CommandError } from '../../src/cli/complain.js';
import { parseCommandLine } from '../../src/cli/parse.js';
import { C, commandNamespace, flowsFile, missing, OURS, withoutTime } from './command-table.js';

let run: Run;
let ns: Netns;

beforeAll(() => {
  if (missing) return;
  run = Run.start();
  ns = freshTable('lines');
});

/** A namespace with the flows, all their time still ahead: of that, 100 s may pass (withoutTime). */
function freshTable(role: string): Netns {
  const made = commandNamespace(run, role);
  made.execSync(C, ['-R', flowsFile(run)]);
  return made;
}

afterAll(() => run?.remove());

function outcome(program: string, words: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(
    'ip',
    ['netns', 'exec', ns.name, program, ...words],
    { encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } },
  );
  return {
    status,
    stdout: withoutTime(stdout).replace(/ use=\d+| delta-time=\d+|<deltatime>\d+/g, ''),
    stderr: withoutTime(stderr),
  };
}

function expectSame(words: readonly string[]): void {
  const theirs = outcome(C, words);
  expect(outcome(OURS, words), words.join(' ')).toEqual(theirs);
}

/** Whether our parser takes the line: then it may do something. */
function accepted(words: readonly string[]): boolean {
  try {
    parseCommandLine(words, { warn: () => {} });
    return true;
  } catch (error) {
    if (error instanceof CommandError) return false;
    throw error;
  }
}

const ADDRESSES = '-s 1.1.1.1 -d 2.2.2.2';
const UDP = `${ADDRESSES} -p udp --sport 1 --dport 2`;

describe.skipIf(missing !== undefined)('a complaint is that of the C command:', () => {
  test.each(
    [
      // words
      '-L --foo',
      '-L -Q',
      '-L --sr 1.1.1.1',
      '-L --s 1.1.1.1',
      '-L --orig 1.1.1.1',
      '-L --stat ASSURED',
      '-L -s',
      '-L --mark',
      '-L --dport 1 -p tcp',
      '-L -p tcp --dport',
      '-L -D',
      '-L -L',
      '-E -L',
      '-s 1.1.1.1',
      '-o id',
      '-R',
      '-L -R x',
      // tables
      '-L foo',
      '-L conntrackx',
      '-D dying',
      '-F unconfirmed',
      '-U expect',
      '-A expect',
      // addresses
      '-L -s foo',
      '-L -s 1.2.3.4.5',
      '-L -s 256.1.1.1',
      '-L -d fe80::g',
      '-L -s [fd::1]',
      '-L -s 1.1.1.1 -d fd::1',
      '-L -f ipv6 -s 1.1.1.1',
      '-L -f ipv5',
      '-L -f IPV4',
      '-L -r 1.1.1.1/24',
      '-L -q fd::1/64',
      '-L --mask-src 255.0.0.0/8',
      '-L -s 1.1.1.1/33',
      '-L -s 1.1.1.1/x',
      '-L -s fd::1/129',
      '-L -s 1.1.1.1/255.0.0.0',
      '-L -s 1.1.1.1/-1',
      '-L -s /8',
      '-L -r foo/8',
      '-L -f ipv6 -s 1.1.1.1/99',
      '-L -f ipv6 -r 1.1.1.1/8',
      '-L -n foo/8:x',
      '-L --mask-src 255.0.0.0',
      '-L --mask-dst 255.0.0.0',
      '-L -s 1.1.1.1 --mask-src ffff::',
      // translations
      '-L -n 1.1.1.1:',
      '-L -n 1.1.1.1:x',
      '-L -g 1.1.1.1:65536',
      '-L -j 1.1.1.1:1:2',
      '-L -n []:1',
      '-L -n [fd::1',
      '-L -n [fd::1]',
      '-L -n :80',
      '-L -j -n',
      '-L -j 1.1.1.1 -g 2.2.2.2',
      '-L -n 1.1.1.1/8',
      // lists
      '-L -u FOO',
      '-L -u ASSURED,',
      '-L -u ,ASSURED',
      '-L -u !UNREPLIED',
      '-L -u S',
      '-L -o foo',
      '-L -o id,,xml',
      '-L -o s',
      '-L -o D',
      '-E -e FOO',
      '-L -o save,xml',
      '-L -o save -o id',
      '-L -a 1.1.1.1',
      // protocols
      '-L -p foo',
      '-L -p 256',
      '-L -p 2000',
      '-L -p -10',
      '-L -p 20foo',
      '-L -p foo20',
      '-L -p tcp --state FOO',
      '-L -p tcp --state established',
      '-L -p dccp --state FOO',
      '-L -p dccp --state LISTEN',
      `-I ${ADDRESSES} -p dccp --sport 1 --dport 2 --state OPEN --role foo -t 5`,
      `-I ${ADDRESSES} -p dccp --sport 1 --dport 2 --role client -t 5`,
      `-I ${ADDRESSES} -p dccp --sport 1 --state OPEN --role client -t 5`,
      `-I ${ADDRESSES} -p dccp --state OPEN --role client -t 5`,
      `-I ${ADDRESSES} -p dccp --sport 1 --dport 2 --state OPEN --role client`,
      `-I ${ADDRESSES} -p dccp --sport 1 --dport 2 --orig-vtag 1 -t 5`,
      `-D -p dccp --mask-port-src 1`,
      `-I expect ${ADDRESSES} -p dccp --sport 1 --dport 2 -t 5`,
      `-G ${ADDRESSES} -p dccp --sport 1`,
      '-D -p dccp --role x',
      '-L -p udp --state ESTABLISHED',
      '-L -p ipv6-icmp --icmpv6-type 128',
      '-L -p sctp --orig-vtag 1',
      '-L -p udp --mask-port-src 1',
      '-L -p udp --tuple-port-src 1',
      '-L -p dccp --role client',
      // options that a command needs or does not take
      '-L -t 5',
      '-L -i 5',
      '-L -b 5',
      '-L -e NEW',
      '-L --tuple-src 1.1.1.1',
      '-L --label-add x',
      '-C -s 1.1.1.1',
      '-C -o id',
      '-S -p tcp',
      '-F -s 1.1.1.1',
      '-F expect -f ipv4',
      '-V -s 1.1.1.1',
      '-h -s 1.1.1.1',
      '-G -z',
      '-G -w 1',
      '-D -z',
      '-U -w 1',
      '-U -e NEW',
      '-E -t 5',
      '-E -z',
      '-I',
      `-I ${ADDRESSES}`,
      `-I ${ADDRESSES} -p udp`,
      `-I ${ADDRESSES} -t 5`,
      '-I -p udp -t 5',
      '-I -s 1.1.1.1 -p udp -t 5',
      '-I -r 1.1.1.1 -p udp -t 5',
      '-I -s 1.1.1.1 -q 2.2.2.2 -p udp -t 5',
      `-I ${ADDRESSES} -p udp --sport 1 -t 5`,
      `-I ${ADDRESSES} -p udp --reply-port-src 1 -t 5`,
      `-I ${ADDRESSES} -p tcp --sport 1 --dport 2 -t 5`,
      `-I ${ADDRESSES} -p dccp --sport 1 --dport 2 --state OPEN -t 5`,
      `-I ${ADDRESSES} -p dccp --reply-port-src 1 --state OPEN --role client -t 5`,
      `-I ${ADDRESSES} -p sctp --sport 1 --dport 2 --state CLOSED -t 5`,
      `-I ${ADDRESSES} -p icmp -t 5`,
      `-I ${ADDRESSES} -p icmp --icmp-type 8 -t 5`,
      `-I ${ADDRESSES} -p icmpv6 -t 5`,
      `-I ${ADDRESSES} -p gre --srckey 1 -t 5`,
      `-I ${ADDRESSES} -p gre --reply-key-src 1 -t 5`,
      `-I ${UDP} -t 5 -f ipv4`,
      `-I ${UDP} -t 5 -z`,
      `-I ${UDP} -t 5 -o id`,
      `-I ${UDP} -t 5 -i 7`,
      `-I ${UDP} -t 5 -l x`,
      `-I ${UDP} -t 5 -s 1.1.1.0/24`,
      `-A ${UDP}`,
      '-G',
      '-G -p udp',
      '-G -s 1.1.1.1 -p udp',
      '-G -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1',
      // expectations
      '-L expect -s 1.1.1.1',
      '-L expect -u ASSURED',
      '-I expect',
      '-I expect -s 1.1.1.1',
      `-I expect ${ADDRESSES} -p tcp -t 5`,
      `-I expect ${ADDRESSES} -p tcp -t 5 --tuple-src 1.1.1.1 --tuple-dst 2.2.2.2`,
      `-I expect ${ADDRESSES} -p tcp -t 5 --tuple-src 1.1.1.1/32 --tuple-dst 2.2.2.2/32`,
      '-D expect',
      `-D expect ${ADDRESSES}`,
      `-D expect ${ADDRESSES} -p tcp`,
      `-G expect ${ADDRESSES} -p tcp --sport 1 --dport 2`,
      '-E expect -s 1.1.1.1',
      // zeroing with a filter
      '-L -z -s 1.1.1.1',
      '-L -z -p tcp',
      '-L -z -m 5',
      '-L -z -w 1',
      '-L -z -u ASSURED',
      '-L -z --orig-zone 1',
      '-L -z -c 1',
    ].map((line) => [line]),
  )('%s', (line) => {
    const words = line.split(' ');
    expect(accepted(words) ? words[0] : '-L').toMatch(/^-[LGCS]/);
    expectSame(words);
  });
});

/** Words of options, good and bad; what a line is put together from. */
const PIECES: readonly (readonly string[])[] = [
  [
    '-s 10.0.0.1',
    '-s 10.0.0.0/16',
    '--src=10.0.2.0/23',
    '-s fd00::/64',
    '-s 10.1',
    '-s 0x0a000001',
  ],
  [
    '-d 10.0.0.3',
    '--dst 10.0.0.0/30',
    '-d fd00::2',
    '--orig-dst 192.0.2.9',
    '-d foo',
    '-d 10.0.0.1/33',
  ],
  ['-r 10.0.0.3', '--reply-src fd00::2', '-r 10.0.0.7', '-r 10.0.0.3/8'],
  ['-q 192.0.2.1', '-q 10.0.0.1', '--reply-dst fd00::1', '-q ::g'],
  [
    '-p tcp',
    '-p udp',
    '-p UDP',
    '-p icmp',
    '-p gre',
    '-p sctp',
    '-p 6',
    '-p 0x11',
    '-p icmpv6',
    '-p igmp',
    '-p bar',
  ],
  [
    '-p tcp --sport 40000',
    '-p tcp --dport 443',
    '-p udp --orig-port-dst 53',
    '-p tcp --state ESTABLISHED',
    '-p tcp --state=CLOSE',
    '-p tcp --reply-port-dst 5555',
    '-p icmp --icmp-id 77',
    '-p icmpv6 --icmpv6-type 128',
    '-p sctp --state ESTABLISHED',
    '-p dccp --state OPEN',
    '-p dccp --role client --dport 2',
    '-p tcp --state X',
  ],
  ['-f ipv4', '-f ipv6', '--family ipv4foo', '-f inet'],
  ['-m 5', '-m 5/0xf', '--mark=0', '-m 0x1f', '-m 1/1'],
  [
    '-u ASSURED',
    '-u SEEN_REPLY',
    '-u a',
    '-u UNREPLIED',
    '-u !ASSURED',
    '--status FIXED',
    '-u UNSET',
    '-u X',
  ],
  ['-w 3', '-w 0', '--zone 7', '--orig-zone 4', '--orig-zone 0', '--reply-zone 0', '-( 4'],
  [
    '-n',
    '-g',
    '-j',
    '-n 192.0.2.1',
    '-n 192.0.2.1:5555',
    '-g 10.0.0.7',
    '-j 10.0.0.7',
    '-j 10.0.0.7:x',
    '-n 1.1.1.1:',
  ],
  [
    '-o extended',
    '-o id',
    '-oid',
    '-o ext,id',
    '--output=save',
    '-o userspace',
    '-o ktimestamp',
    '-o timestamp',
    '-o nope',
  ],
  [
    '-c 5',
    '--secmark 0',
    '-z',
    '-t 5',
    '-i 9',
    '-b 1',
    '-e ALL',
    '--mask-src 255.255.0.255',
    '--mask-dst 255.0.0.0',
  ],
  ['stray', '--', '-', '--src', '--unknown', '-Z', '-v'],
];
const COMMANDS = [
  ...Array.from({ length: 8 }, () => '-L'),
  ...[
    '-L conntrack',
    '--dump',
    '-L dying',
    '-L e',
    '-L u',
    '-G',
    '-C',
    '-D',
    '-U',
    '-I',
    '-A',
    '-F',
  ],
  ...['-E', '-D expect', '-I expect', '-U -m 5', `-I -t 5 ${ADDRESSES}`, `-G ${ADDRESSES}`],
];

const line = fc
  .record({
    command: fc.constantFrom(...COMMANDS),
    pieces: fc.subarray([...PIECES], { minLength: 0, maxLength: 4 }),
    picks: fc.array(fc.nat(1000), { minLength: PIECES.length, maxLength: PIECES.length }),
    place: fc.nat(4),
  })
  .map(({ command, pieces, picks, place }) => {
    const words = pieces.map((choices, i) => choices[picks[i]! % choices.length]!);
    words.splice(Math.min(place, words.length), 0, command);
    return words.join(' ').split(' ');
  });

/** What only shows, and shows the same in both (-E would wait, -G by the reply is mended). */
function comparable(words: readonly string[]): boolean {
  // Masks are not looked at in the other tables by the C command.
  const masked = words.some((word) => word.startsWith('--mask') || word.includes('/'));
  if (masked && words.some((word) => ['dying', 'u'].includes(word))) return false;
  if (!accepted(words)) return true;
  const { command } = parseCommandLine(words, { warn: () => {} });
  return command === 'list' || command === 'count';
}

describe.skipIf(missing !== undefined)('generated lines:', () => {
  const lines = fc
    .sample(line, { numRuns: 700, seed: 20_261_125 })
    .filter(comparable)
    .slice(0, 400);
  const parts = 8;
  test.each(Array.from({ length: parts }, (_, part) => [part]))(
    'part %i is answered as by the C command',
    (part) => {
      ns = freshTable(`part${part}`);
      const share = lines.filter((_, i) => i % parts === part);
      expect(share.length).toBeGreaterThan(40);
      for (const words of share) expectSame(words);
    },
  );

  test('they are of all kinds: refused and carried out', () => {
    const good = lines.filter(accepted).length;
    expect(good).toBeGreaterThan(100);
    expect(lines.length - good).toBeGreaterThan(100);
  });
});
