// Our `conntrack` beside the C command: the same command lines on equal tables, and what both print,
// return and leave behind. One throw-away network namespace for each of the two, with the same rules
// and the same flows. What differs on purpose (mended defects) has its own tests below.

import { spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Netns, Run } from '../../lab/namespace.js';
import { C, commandNamespace, flowsFile, missing, OURS, withoutTime } from './command-table.js';

let run: Run;
let sides: { program: string; ns: Netns }[];

beforeAll(() => {
  if (missing) return;
  run = Run.start();
  sides = [C, OURS].map((program, i) => ({ program, ns: commandNamespace(run, `side${i}`) }));
  flowsFile(run);
});

afterAll(() => run?.remove());

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

function command(side: { program: string; ns: Netns }, words: string[], input = ''): Outcome {
  // Standard input is a file: the C command opens /dev/stdin, which a socket cannot be.
  const path = join(run.path('files'), 'input');
  writeFileSync(path, input);
  const stdin = openSync(path, 'r');
  try {
    const { status, stdout, stderr } = spawnSync(
      'ip',
      ['netns', 'exec', side.ns.name, side.program, ...words],
      {
        encoding: 'utf8',
        stdio: [stdin, 'pipe', 'pipe'],
        env: { ...process.env, TZ: 'UTC' },
      },
    );
    return { status, stdout, stderr };
  } finally {
    closeSync(stdin);
  }
}

/** Equal tables on both sides, made by the C command. */
function prepare(): void {
  for (const { ns } of sides) {
    command({ program: C, ns }, ['-F']);
    const made = command({ program: C, ns }, ['-R', join(run.path('files'), 'flows')]);
    expect(made).toEqual({ status: 0, stdout: '', stderr: '' });
  }
}

/** Without what two tables cannot have in common: ids, moments, versions, the order of a table. */
function comparable({ status, stdout, stderr }: Outcome): Outcome {
  const lines = withoutTime(stdout)
    .replace(/ id=\d{4,}/g, ' id=N')
    .replace(/<id>\d+<\/id>/g, '<id>N</id>')
    .replace(/delta-time=\d/g, 'delta-time=N')
    .replace(/<deltatime>\d/g, '<deltatime>N')
    .replace(/\[start=[^\]]*\]/g, '[start=X]')
    .replace(/<start>\d+/g, '<start>N')
    .split('\n');
  return {
    status,
    stdout: lines.sort().join('\n'),
    stderr: withoutTime(stderr),
  };
}

function table(side: { ns: Netns }): string {
  const listed = command({ program: C, ns: side.ns }, ['-L', '-o', 'extended,labels']);
  return comparable(listed).stdout;
}

/** Runs a command line on both sides; both must say the same and leave the same. */
function expectSame(line: string, input = ''): void {
  const words = line.match(/'[^']*'|\S+/g)?.map((word) => word.replaceAll("'", '')) ?? [];
  const [theirs, ours] = sides.map((side) => comparable(command(side, words, input)));
  expect(ours).toEqual(theirs);
  expect(table(sides[1]!)).toBe(table(sides[0]!));
}

describe.skipIf(missing !== undefined)('beside the C command', () => {
  beforeEach(prepare);

  const LISTS = [
    ['-L'],
    ['-L -o extended'],
    ['-L -o id'],
    ['-L -o extended,id,timestamp,userspace'],
    ['-L -o ktimestamp'],
    ['-L -o save'],
    ['-L -o xml -p tcp'],
    ['-L -o xml,ktimestamp -p udp'],
    ['-L dying'],
    ['-L unconfirmed'],
    ['-L dying -o xml'],
    ['-L expect'],
    ['-L -s 10.0.0.1'],
    ['-L -s 10.0.0.0/16'],
    ['-L -s 10.0.3.77/24 -d 10.0.0.0/24'],
    ['-L -s 10.0.1.1 --mask-src 255.255.0.255'],
    ['-L -s fd00::/64'],
    ['-L -s fd00::1'],
    ['-L -r 10.0.0.3'],
    ['-L -q 192.0.2.1'],
    ['-L -d 192.0.2.9'],
    ['-L -f ipv6'],
    ['-L -f ipv4'],
    ['-L -p tcp'],
    ['-L -p udp --sport 5000'],
    ['-L -f ipv4 -p udp --sport 5000 --dport 53'],
    ['-L -p tcp --reply-port-src 443'],
    ['-L -p tcp --reply-port-dst 5555'],
    ['-L -p tcp --state ESTABLISHED'],
    ['-L -p sctp --state ESTABLISHED'],
    ['-L -p icmp --icmp-type 8'],
    ['-L -s 10.0.3.1 -p icmp --icmp-id 77'],
    ['-L -p icmpv6 --icmpv6-id 9'],
    ['-L -p 200'],
    ['-L -p igmp'],
    ['-L -m 5'],
    ['-L -m 0'],
    ['-L -m 1/1'],
    ['-L -m 5/0xf'],
    ['-L -u ASSURED'],
    ['-L -u SEEN_REPLY,ASSURED'],
    ["-L -u '!ASSURED'"],
    ['-L -u UNREPLIED'],
    ['-L -u FIXED_TIMEOUT'],
    ['-L -u UNSET'],
    ['-L -w 3'],
    ['-L -w 0'],
    ['-L --orig-zone 4'],
    ['-L --orig-zone 0'],
    ['-L --reply-zone 6'],
    ['-L -n'],
    ['-L -g'],
    ['-L -j'],
    ['-L -n 192.0.2.1'],
    ['-L -n 192.0.2.1:5555'],
    ['-L -n 192.0.2.1:1'],
    ['-L -g 10.0.0.7'],
    ['-L -j 10.0.0.7'],
    ['-L -c 5'],
    ['-L -z'],
    ['-L -z -f ipv6'],
    ['-L -l none'],
    ['-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 40000 --dport 443'],
    ['-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 40000 --dport 443 -o extended,id'],
    ['-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 443'],
    ['-G -s 10.0.3.1 -d 10.0.0.3 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77'],
    ['-G -s fd00::1 -d fd00::2 -p tcp --sport 40000 --dport 443 -o save'],
    [
      '-G expect -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 0 --dport 1 --reply-port-src 1 --reply-port-dst 1',
    ],
    ['-C'],
    ['-C expect'],
    ['-V'],
    ['-L foo'],
    ['-L -s'],
    ['-zL expect'],
    ['-s 1.1.1.1'],
  ];
  test.each(LISTS)('%s', (line) => {
    expectSame(line);
  });

  const CHANGES = [
    ['-D -s 10.0.0.1'],
    ['-D -p udp -w 3'],
    ['-D -p tcp -o extended'],
    ['-D -f ipv6 -o xml'],
    ['-D -m 5 -o save'],
    ['-D -u ASSURED'],
    ['-D -n'],
    ['-D --orig-zone 4 -o id'],
    ['-D -s 99.9.9.9'],
    ['-D'],
    ['-F'],
    ['-F expect'],
    ['-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 9000'],
    ['-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 40000 --dport 443 -t 9000 --state NONE'],
    ['-A -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 1 --dport 2 -t 9000 --state CLOSE -m 9'],
    ['-I -r 1.1.1.1 -q 2.2.2.2 -p udp --reply-port-src 1 --reply-port-dst 2 -t 9000'],
    [
      '-I -s 1.1.1.1 -d 2.2.2.2 -r 3.3.3.3 -q 1.1.1.1 -p udp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1 -t 9000',
    ],
    ['-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 9000 -u EXPECTED'],
    ['-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 9000 -w 1 --orig-zone 2'],
    ['-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 9000 -n 9.9.9.9:99 -g 8.8.8.8'],
    ['-I -s fd::1 -d fd::2 -p udp --sport 1 --dport 2 -t 9000 -n [fd::9]:99'],
    ['-I -s 1.1.1.1 -d 2.2.2.2 -p icmp --icmp-type 3 --icmp-code 0 -t 9000'],
    ['-I -s 1.1.1.1 -d 2.2.2.2 -p dccp --sport 1 --dport 2 --state OPEN --role client -t 9000'],
    ['-U -s 10.0.0.1 -d 10.0.0.2 -m 7'],
    ['-U -s 10.0.0.1 -d 10.0.0.2 -m 5'],
    ['-U -s 10.0.0.1 -d 10.0.0.2 -m 0/0xf -o extended,id'],
    ['-U -s 10.0.0.1 -p tcp --sport 40001 --state ESTABLISHED -u SEEN_REPLY'],
    ['-U -f ipv4 -p icmp -m 3 -o xml'],
    ['-U -s 10.0.0.1 -d 10.0.0.2 -u FIXED_TIMEOUT'],
    ['-U -s 99.9.9.9 -m 3'],
    ['-U -s 10.0.0.1'],
    [
      '-D expect -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 0 --dport 1 --reply-port-src 1 --reply-port-dst 1',
    ],
    [
      '-I expect -s 1.1.1.1 -d 2.2.2.2 -p icmp -t 5 --tuple-src 1.1.1.1 --tuple-dst 2.2.2.2 --mask-src 1.1.1.1 --mask-dst 1.1.1.1',
    ],
  ];
  test.each(CHANGES)('%s', (line) => {
    expectSame(line);
  });

  test.each([
    [
      'adds and deletes',
      '-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 9000\n-D -s 1.1.1.1\n',
    ],
    [
      'comments, blanks, quotes',
      '# x\n\n  \t\n  conntrack "-I" -s "1.1.1.1" -d 2.2.2.2 -p 99 -t 9000 # y\n',
    ],
    ['nothing to delete', '-D -s 99.9.9.9\n-U -s 99.9.9.9 -m 3\n'],
    ['a flush', '-F\n-I -s 1.1.1.1 -d 2.2.2.2 -p 99 -t 9000\n'],
    ['output types stay', '-D -p 200 -o extended\n-D -p gre\n'],
  ])('-R: %s', (_, text) => {
    expectSame('-R -', text);
  });

  // Our second line, which tells where, is not theirs.
  test.each([
    ['-L\n'],
    ['-I -s 1\n'],
    ['-I -s 1.1.1.1 -d 2.2.2.2 -p 99 -t 9000\n-C\n'],
    ['foo\n'],
    ['-I expect\n'],
    ['-F expect\n'],
    ['-D -o id\n-D -o save\n'],
  ])('-R refuses %j before anything is done', (text) => {
    const [theirs, ours] = sides.map((side) => comparable(command(side, ['-R', '-'], text)));
    expect({ ...ours, stderr: ours!.stderr.replace(/^-, line .*\n/m, '') }).toEqual(theirs);
    expect(table(sides[1]!)).toBe(table(sides[0]!));
  });

  test('-R stops at the first failure; what was read after it is not done', () => {
    const line = (i: number) => `-I -s 1.1.1.${i} -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 9000\n`;
    const text = line(1) + line(2) + line(4) + line(2) + line(3) + line(5);
    const [theirs, ours] = sides.map((side) => comparable(command(side, ['-R', '-'], text)));
    expect(ours!.stderr).toBe(`${theirs!.stderr}-, line 4\n`);
    expect(ours!.status).toBe(1);
    expect(table(sides[1]!)).toBe(table(sides[0]!));
  });

  test('-R: a failure far down names its line; empty lines and comments count', () => {
    const line = (i: number) =>
      `-I -s 1.2.${i >> 8}.${i & 255} -d 2.2.2.2 -p udp --sport ${i} --dport 2 -t 9000\n`;
    const many = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => line(from + i)).join('');
    const before = `# saved\n\n${many(0, 300)}\n  # more\n${many(300, 400)}\t\n`;
    const text = `${before}${line(7)}${many(400, 500)}`;
    const number = before.split('\n').length;
    const [theirs, ours] = sides.map((side) => comparable(command(side, ['-R', '-'], text)));
    expect(ours!.stderr).toBe(`${theirs!.stderr}-, line ${number}\n`);
    expect(table(sides[1]!)).toBe(table(sides[0]!));
  });

  test('a DCCP flow is listed and saved alike, whatever the kernel knows of it', () => {
    const flow = '-s 1.1.1.1 -d 2.2.2.2 -p dccp --sport 1 --dport 2';
    expectSame(`-I ${flow} --state OPEN --role client -t 9000`);
    for (const form of ['', '-o extended', '-o save', '-o xml']) expectSame(`-L -p dccp ${form}`);
    expectSame('-L -p dccp --state OPEN');
    expectSame(`-I ${flow} --state OPEN --role server -t 9000`);
    expectSame('-D -p dccp');
  });

  test('a saved table comes back with -R', () => {
    const [, ours] = sides;
    const before = command(ours!, ['-L', '-o', 'save', '-s', '10.0.0.0/16']).stdout;
    command(ours!, ['-D', '-s', '10.0.0.0/16']);
    expect(command(ours!, ['-R', '-'], before).status).toBe(0);
    const after = command(ours!, ['-L', '-o', 'save', '-s', '10.0.0.0/16']).stdout;
    const sorted = (text: string) => comparable({ status: 0, stdout: text, stderr: '' }).stdout;
    expect(sorted(after)).toBe(sorted(before));
  });
});

describe.skipIf(missing !== undefined)('-o whole', () => {
  test('every kind of flow comes back with -R: translations, marks, zones, labels', () => {
    const side = sides[1]!;
    prepare();
    const map = join(run.path('files'), 'labels.conf');
    writeFileSync(map, '5 five\n6 number six\n90 ninety\n');
    // -I and -A take no --labelmap: the map is where they look, in an /etc that nobody else sees.
    const script =
      'mount -t tmpfs none /etc && mkdir /etc/xtables && cp "$0" /etc/xtables/connlabel.conf && ' +
      'unset NODE_EXTRA_CA_CERTS && exec "$@"';
    const ours = (words: string[], input = '') =>
      command(
        { ...side, program: 'unshare' },
        ['-m', 'sh', '-c', script, map, OURS, ...words],
        input,
      );
    const made = `
-I -s 10.0.4.1 -d 10.0.4.2 -p udp --sport 1 --dport 2 -t 9000 -n 192.0.2.1:99 -g 10.0.0.8:53 -m 7
-I -s fd00::1 -d fd00::2 -p udp --sport 1 --dport 2 -t 9000 -n [fd00::77]:9 -g fd00::8 -w 5
-I -s 10.0.4.1 -d 10.0.4.2 -p sctp --sport 1 --dport 2 -t 9000 --state CLOSED --orig-vtag 3 --reply-vtag 4 -n 192.0.2.1
-I -s 10.0.4.1 -d 10.0.4.2 -p udplite --sport 1 --dport 2 -t 9000 -m 4294967295
-I -s 10.0.4.1 -d 10.0.4.2 -p tcp --sport 1 --dport 2 -t 9000 --state LISTEN --orig-zone 9 -g 10.0.0.8:80
`;
    expect(ours(['-R', '-'], made)).toEqual({ status: 0, stdout: '', stderr: '' });
    const label = (from: string, names: string) =>
      ours(['-U', '-s', from, '--label-add', names]).status;
    expect(label('10.0.0.1', 'five,number six')).toBe(0);
    expect(label('fd00::1', 'ninety')).toBe(0);
    const list = (output: string) => comparable(ours(['-L', '-o', output])).stdout.trim();
    const lines = list('extended,labels');
    expect(lines.split('\n')).toHaveLength(21);
    const file = ours(['-L', '-o', 'whole']).stdout;
    expect(file).toContain('--label-add "five,number six"');
    expect(ours(['-F']).status).toBe(0);
    expect(ours(['-R', '-'], file)).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(list('extended,labels')).toBe(lines);
    rmSync(map);
  });
});

describe.skipIf(missing !== undefined)('mended', () => {
  beforeEach(prepare);

  const ours = (line: string) => command(sides[1]!, line.split(' '));
  const count = (line: string) => ours(line).stdout.split('\n').length - 1;

  test('-D with a negated or empty status deletes what it says, not everything', () => {
    expect(count('-D -u !SEEN_REPLY')).toBe(13);
    expect(count('-L')).toBe(3);
    expect(ours('-D -u UNSET')).toMatchObject({ status: 1 });
    expect(count('-L')).toBe(3);
  });

  test('-D -t alone is a criterion', () => {
    expect(ours('-D -t 1').status).toBe(1);
    expect(count('-L')).toBe(16);
  });

  test('wanted and unwanted status bits together', () => {
    expect(count('-L -u SEEN_REPLY,!ASSURED')).toBe(1);
    expect(count('-L -u SEEN_REPLY')).toBe(3);
  });

  test('-F -f flushes that family only', () => {
    expect(ours('-F -f ipv6').status).toBe(0);
    expect(count('-L')).toBe(13);
  });

  test('-U without a family, and of flows in a zone', () => {
    expect(count('-U -m 99')).toBe(16);
    expect(count('-L -m 99')).toBe(16);
  });

  test('-G by the reply tuple', () => {
    const { status, stdout } = ours(
      '-G -r 10.0.0.2 -q 10.0.0.1 -p tcp --reply-port-src 443 --reply-port-dst 40000',
    );
    expect(status).toBe(0);
    expect(stdout).toContain('src=10.0.0.1 dst=10.0.0.2 sport=40000');
  });

  test('GRE keys select', () => {
    expect(count('-L -p gre --srckey 0xabc')).toBe(1);
    expect(count('-L -p gre --srckey 0xabd')).toBe(0);
  });

  test('translated IPv6 addresses are compared', () => {
    ours('-I -s fd00::5 -d fd00::2 -p udp --sport 1 --dport 2 -t 9000 -n [fd00::77]:9');
    expect(count('-L -n fd00::77')).toBe(1);
    expect(count('-L -j [fd00::77]:9')).toBe(1);
    expect(count('-L -n fd00::78')).toBe(0);
  });

  test('without the right to ask, -C reads the sysctl and says why', () => {
    const drop = ['--bounding-set', '-net_admin', '--inh-caps', '-net_admin', OURS];
    const denied = (word: string) =>
      command({ program: 'setpriv', ns: sides[1]!.ns }, [...drop, word]);
    const words =
      'conntrack v1.4.9 (conntrack-tools): Operation failed: sorry, you must be root or get ' +
      'CAP_NET_ADMIN capability to do this\n';
    expect(denied('-C')).toEqual({ status: 1, stdout: '16\n', stderr: words });
    expect(denied('-L')).toEqual({ status: 1, stdout: '', stderr: words });
  });

  test('a name that is no port is refused', () => {
    expect(ours('-D -p tcp --dport http').status).toBe(2);
  });

  test('-A updates a flow that exists, alone and in a file', () => {
    const line = '-A -s 10.0.1.1 -d 10.0.0.3 -p udp --sport 5000 --dport 53 -t 9000';
    expect(ours(`${line} -m 70`).stderr).toContain('1 flow entries have been added.');
    expect(count('-L -w 0 -m 70')).toBe(1);
    expect(command(sides[1]!, ['-R', '-'], `${line} -m 71\n`)).toMatchObject({ status: 0 });
    expect(count('-L -w 0 -m 71')).toBe(1);
  });

  test('-R: updates before a failure are done, creations and updates behind it are not', () => {
    const line = (i: number) => `-I -s 1.1.1.${i} -d 2.2.2.2 -p udp --sport 1 --dport 2 -t 9000\n`;
    const again = (mark: number) => line(1).replace('-I', '-A').replace('\n', ` -m ${mark}\n`);
    const text = line(1) + line(2) + again(8) + line(2) + line(3) + again(9);
    const { status, stderr } = command(sides[1]!, ['-R', '-'], text);
    expect(status).toBe(1);
    expect(stderr).toMatch(/Such conntrack exists, try -U to update\n-, line 4\n$/);
    expect(count('-L -s 1.1.1.0/24')).toBe(2);
    expect(count('-L -s 1.1.1.1 -m 8')).toBe(1);
  });

  test('-U shows every flow that it has changed', () => {
    expect(count('-U -s 10.0.0.1 -m 7')).toBe(2);
  });

  test('-A with a translation of a flow that exists says so', () => {
    const { status, stderr } = ours(
      '-A -s 10.0.2.1 -d 10.0.0.3 -p tcp --sport 41000 --dport 22 -t 9000 --state CLOSE -n 192.0.2.1',
    );
    expect(status).toBe(1);
    expect(stderr).toContain('Operation failed: Operation not supported');
  });

  test('-L -o json: every line is an object', () => {
    const objects = ours('-L -o json')
      .stdout.trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(objects).toHaveLength(16);
    expect(objects.filter(({ original }) => original.layer4 === 'tcp')).toHaveLength(5);
  });

  test('--top without a terminal prints one picture', () => {
    const { status, stdout } = ours('--top --interval 0.2 --sort port -f ipv4');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^13 flows/);
    expect(stdout).toMatch(/^udp 53 /m);
  });

  test('labels are added, shown, selected by and deleted', () => {
    const map = join(run.path('files'), 'connlabel.conf');
    writeFileSync(map, '5 five\n6 six\n');
    const labelled = (line: string) => ours(`${line} --labelmap ${map}`);
    expect(labelled('-U -s 10.0.0.1 --label-add five,six').stdout).toContain('labels=five,six');
    expect(labelled('-L -l five').stdout.split('\n')).toHaveLength(3);
    expect(labelled('-U -s 10.0.0.1 --label-del five').stdout).toContain('labels=six');
    expect(labelled('-L -l five').stdout).toBe('');
    rmSync(map);
  });
});
