// -E as an operator sees it: events as they come, the summary on Ctrl-C, the buffer and its overrun;
// beside the C command, which follows the same events in the same namespace.

import { type ChildProcess, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Netns, Run } from '../../lab/namespace.js';
import { missingPrograms, missingRoot, ROOT } from '../../lab/require.js';
import { waitFor } from '../../lab/wait.js';

const C = '/usr/sbin/conntrack';
const OURS = join(ROOT, 'bin/conntrack');
const missing = missingRoot() ?? missingPrograms(['ip', C]);

let run: Run;
let ns: Netns;

beforeAll(() => {
  if (missing) return;
  run = Run.start();
  ns = run.add('events');
  ns.sysctl({ 'net.netfilter.nf_conntrack_timestamp': 1 });
});

afterAll(() => run?.remove());

interface Follower {
  child: ChildProcess;
  stdout: string;
  stderr: string;
  ended: Promise<number | null>;
}

function follow(program: string, args: string[]): Follower {
  const child = ns.spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const follower: Follower = {
    child,
    stdout: '',
    stderr: '',
    ended: new Promise((resolve) => child.on('close', resolve)),
  };
  child.stdout!.on('data', (data) => {
    follower.stdout += data;
  });
  child.stderr!.on('data', (data) => {
    follower.stderr += data;
  });
  return follower;
}

/** Bytes that wait in each netlink socket of the namespace that follows flow events (proc(5)). */
function waiting(): number[] {
  const rows = ns.execSync('cat', ['/proc/net/netlink']).split('\n').slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(
      ([, protocol, , groups]) => protocol === '12' && Number.parseInt(groups ?? '0', 16) !== 0,
    )
    .map((fields) => Number(fields[4]));
}

function listening(count: number): Promise<unknown> {
  return waitFor(() => waiting().length >= count, { for: 'somebody who listens' });
}

/** Until everybody has read all events and shown as many lines as the others. */
function shown(followers: readonly Follower[]): Promise<unknown> {
  const lines = () => followers.map(({ stdout }) => stdout.split('\n').length);
  return waitFor(
    () => waiting().every((bytes) => bytes === 0) && new Set(lines()).size === 1 && lines()[0]! > 1,
    { for: 'the events to be shown', explain: () => lines().join(' and ') },
  );
}

const LINE = '-s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20';

function change(): void {
  ns.execSync(C, ['-I', ...LINE.split(' '), '-t', '500', '--state', 'ESTABLISHED', '-m', '5']);
  ns.execSync(C, ['-U', ...LINE.split(' '), '-m', '6']);
  ns.execSync(C, ['-I', ...'-s fd::1 -d fd::2 -p udp --sport 1 --dport 2 -t 400'.split(' ')]);
  ns.execSync(C, ['-D', '-s', '1.1.1.1']);
  ns.execSync(C, ['-D', '-f', 'ipv6']);
}

/** Without what two readers of the same event may see differently. */
function comparable(text: string): string {
  return text
    .replace(/ progname=\S+/g, '')
    .replace(/^\[\d+\.\d{6}\]\t/gm, '[TIME]\t')
    .replace(/<when>.*?<\/when>/g, '<when/>')
    .replace(/(<\/flow>) \[USERSPACE\] portid=\d+/g, '$1') // theirs: no XML
    .replace(/v1\.4\.\d/g, 'v1.4');
}

describe.skipIf(missing !== undefined)('events', () => {
  test.each([
    ['-E'],
    ['-E -o timestamp,id,extended'],
    ['-E -o xml'],
    ['-E -o save'],
    ['-E -e NEW,DESTROY'],
    ['-E -p tcp -m 6'],
    ['-E -f ipv6'],
  ])('%s: what the C command shows, and its summary', async (line) => {
    const both = [C, OURS].map((program) => follow(program, line.split(' ')));
    await listening(2);
    change();
    await shown(both);
    for (const { child } of both) child.kill('SIGINT');
    const status = await Promise.all(both.map(({ ended }) => ended));
    expect(status).toEqual([0, 0]);
    const [theirs, ours] = both;
    expect(ours!.stdout).not.toBe('');
    expect(comparable(ours!.stdout)).toBe(comparable(theirs!.stdout));
    expect(comparable(ours!.stderr)).toBe(comparable(theirs!.stderr));
  });

  test('an overrun is reported, and the reading goes on', async () => {
    const ours = follow(OURS, ['-E', '-b', '2000']);
    const notice = /^NOTICE: Netlink socket buffer size has been set to \d+ bytes\.\n/;
    await waitFor(() => notice.test(ours.stderr), { for: 'the notice' });
    ours.child.kill('SIGSTOP');
    for (let i = 0; i < 5; i++) change();
    ours.child.kill('SIGCONT');
    const overrun = 'WARNING: We have hit ENOBUFS! We are losing events.\n';
    await waitFor(() => ours.stderr.includes(overrun), { for: 'the overrun' });
    await waitFor(() => waiting()[0] === 0, { for: 'the rest to be read' });
    const before = ours.stdout.length;
    ns.execSync(C, ['-I', ...LINE.split(' '), '-t', '500', '--state', 'CLOSE']);
    const line = '    [NEW] tcp      6 500 CLOSE';
    await waitFor(() => ours.stdout.slice(before).includes(line), { for: 'the next event' });
    ours.child.kill('SIGTERM');
    expect(await ours.ended).toBe(0);
    ns.execSync(C, ['-D']);
  });

  test('a reader that was held up for 3,000 events loses none', async () => {
    const ours = follow(OURS, ['-E', '-e', 'NEW']);
    await listening(1);
    change();
    await shown([ours]); // now its buffer has its size
    ours.child.kill('SIGSTOP');
    const file = join(run.path('files'), 'many');
    const flows = Array.from({ length: 3000 }, (_, i) => LINE.replace('10', `${i + 1000}`));
    writeFileSync(file, flows.map((flow) => `-I ${flow} -t 500 --state CLOSE\n`).join(''));
    ns.execSync(OURS, ['-R', file]);
    ours.child.kill('SIGCONT');
    await waitFor(() => ours.stdout.includes('sport=3999 '), { for: 'the last event' });
    ours.child.kill('SIGTERM');
    expect(await ours.ended).toBe(0);
    expect(ours.stderr).toBe(
      'conntrack v1.4.9 (conntrack-tools): 3002 flow events have been shown.\n',
    );
    ns.execSync(C, ['-F']);
  });

  test('without the right to listen it says so', () => {
    const drop = ['--bounding-set', '-net_admin', '--inh-caps', '-net_admin', OURS, '-E'];
    const { status, stderr } = spawnSync('ip', [...['netns', 'exec', ns.name, 'setpriv', ...drop]]);
    expect(status).toBe(1);
    expect(`${stderr}`).toBe(
      'mnl_socket_bind: Operation not permitted\n' +
        "conntrack v1.4.9 (conntrack-tools): Can't open netlink socket\n",
    );
  });

  test('a reader that went away ends it quietly', () => {
    ns.execSync(C, ['-I', ...LINE.split(' '), '-t', '500', '--state', 'CLOSE']);
    const { stderr, status } = spawnSync(
      'ip',
      ['netns', 'exec', ns.name, 'sh', '-c', `${OURS} -L | true; echo done`],
      { encoding: 'utf8' },
    );
    expect(status).toBe(0);
    expect(stderr).not.toContain('Error');
  });
});
