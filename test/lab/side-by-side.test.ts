// Both daemons on the same two firewalls, on links of their own, hearing the same kernel: every dump
// and every view, word for word. Scripts that parse the one's output parse the other's.

import { expect, test } from 'vitest';
import { C, Daemon, OURS, udpLink } from '../../lab/daemon.js';
import { startFtp } from '../../lab/ftp.js';
import { type Pair, withPair } from '../../lab/pair.js';
import { type Firewall, SERVER } from '../../lab/topology.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';
import { makeTraffic } from './mixture.js';

const SYNC = 'Options { ExpectationSync on }';
const VIEWS = ['', 'ct', 'expect', 'network', 'cache', 'runtime', 'link', 'queue', 'process'];

/** Flows of protocols that the lab's hosts do not speak, made in the kernel. */
const MADE = [
  '-p gre -s 7.7.7.7 -d 8.8.8.8 --srckey 16 --dstkey 17 -t 600',
  '-p sctp -s 7.7.7.7 -d 8.8.8.8 --sport 1 --dport 2 --state ESTABLISHED -t 600 --orig-vtag 7 --reply-vtag 8',
  '-p 89 -s 7.7.7.7 -d 8.8.8.8 -t 600',
  '-p udp -s 7.7.7.7 -d 8.8.8.8 --sport 1 --dport 2 -t 600 -w 2 -m 9',
  '-p tcp -s fd07::7 -d fd08::8 --sport 1 --dport 2 --state TIME_WAIT -t 600 -u ASSURED,SEEN_REPLY',
];

interface Both {
  ours: Daemon;
  c: Daemon;
}

/** The C daemons beside ours, on port 3781. */
function beside({ run, topology }: Pair): { active: Daemon; backup: Daemon } {
  const make = (node: Firewall): Daemon => {
    const peer = topology.peer(node);
    const link = udpLink(node, peer).replace('3780', '3781');
    const named = { ...node, name: `${node.name}c` } as unknown as Firewall;
    return new Daemon(run, { program: C, node: named, peer, link, sync: SYNC });
  };
  return { active: make(topology.fw1), backup: make(topology.fw2) };
}

/** A dump's lines in an order of their own, ages masked. */
function sorted(text: string): string[] {
  const lines = text.replace(/(active since|expires in) \d+s/g, '$1 #s').split('\n');
  return lines.sort();
}

async function expectSameDump({ ours, c }: Both, ...options: string[]): Promise<number> {
  // The C library names SCTP states by those of TCP in XML; ours does not.
  // Between two of ours the keys of GRE travel; between C daemons they do not.
  const known = (line: string) =>
    !(options.includes('-x') && line.includes('"sctp"')) &&
    !(options.includes('-e') && /^gre|"gre"/.test(line));
  const [mine, theirs] = await Promise.all([
    ours.clientOf(C, ...options),
    c.clientOf(C, ...options),
  ]);
  const expected = sorted(theirs).filter(known);
  expect(sorted(mine).filter(known), options.join(' ')).toEqual(expected);
  return expected.length - 1;
}

/** Every number, with the blanks that align it, by as many marks. */
function masked(text: string): string {
  return text.replace(/ *\d+/g, (number) => '#'.repeat(number.length));
}

describeLab('our daemon beside the C daemon', () => {
  test('all dumps and views are the same text', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async (pair) => {
        const { topology, active, backup } = pair;
        const theirs = beside(pair);
        try {
          await Promise.all([theirs.active.start(), theirs.backup.start()]);
          await Promise.all([active.greeted(), backup.greeted(), theirs.backup.greeted()]);
          await makeTraffic(pair);
          for (const words of MADE) {
            await topology.fw1.ns.exec('conntrack', ['-I', ...words.split(' ')]);
          }
          const session = await startFtp(topology.client, SERVER.v4);
          await session.announce();
          const nodes = {
            active: { ours: active, c: theirs.active },
            backup: { ours: backup, c: theirs.backup },
          };
          await waitFor(
            async () => {
              for (const [node, option] of [
                [nodes.active, '-i'],
                [nodes.backup, '-e'],
              ] as const) {
                for (const kind of ['ct', 'expect']) {
                  if ((await expectSameDump(node, option, kind)) === 0) return false;
                }
              }
              return true;
            },
            { for: 'the caches to hold the same', timeout: 30_000, every: 500 },
          );
          expect(await expectSameDump(nodes.active, '-i')).toBeGreaterThan(30);
          for (const words of ['-i -x', '-i ct', '-i ct -x', '-i exp', '-i exp -x']) {
            await expectSameDump(nodes.active, ...words.split(' '));
          }
          for (const words of ['-e', '-e -x', '-e ct -x', '-e exp', '-e exp -x']) {
            await expectSameDump(nodes.backup, ...words.split(' '));
          }
          for (const view of VIEWS) {
            for (const { ours, c } of Object.values(nodes)) {
              const words = view === '' ? ['-s'] : ['-s', view];
              const [mine, other] = await Promise.all([
                ours.clientOf(C, ...words),
                c.clientOf(C, ...words),
              ]);
              // Ours adds a block of its own where both nodes are ours.
              const shared = mine.replace(/^comparison of tables:\n(\t.*\n)+\n/m, '');
              expect(masked(shared), words.join(' ')).toBe(masked(other));
            }
          }
          const living = async (daemon: Daemon) =>
            [...(await daemon.client('-s')).matchAll(/current active connections:\t *(\d+)/g)].map(
              ([, count]) => Number(count),
            );
          expect(await living(active)).toEqual(await living(theirs.active));
          expect(await living(backup)).toEqual(await living(theirs.backup));
          // Numbers change with every message; the first words do not.
          expect(await active.client('-s', 'rsqueue')).toMatch(
            /^resent queue \(len=\d+\)\n((control|object) -> seq:\d+( flags:\d+)?\n)*$/,
          );
        } finally {
          await Promise.all([theirs.active.stop(), theirs.backup.stop()]);
        }
      },
      { sync: SYNC },
    );
  });
});
