// More than two nodes in FTFW mode on multicast: three of ours stay equal over links that lose one
// datagram in five, whoever restarts; and a C daemon in the group disturbs none of ours.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { C, type Daemon, OURS, SYNC_PORT } from '../../lab/daemon.js';
import { type Group, waitGroupEqual, withGroup } from '../../lab/group.js';
import { BadLink } from '../../lab/loss.js';
import { parseCacheDump } from '../../lab/replication.js';
import { dumpTable } from '../../lab/table.js';
import { loadFlows } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const FLOWS = 150;
const MODE = 'Mode FTFW {\n    ACKWindowSize 20\n    StartupResync on\n  }';

const tupleOf = (node: string, batch: number, i: number): string =>
  `-p tcp -s 10.${node.at(-1)}.${batch}.1 -d 10.2.0.2 --sport ${1000 + i} --dport ${80 + (i % 3)}`;

/** New flows in the kernel of a node, in a network that is this batch's alone. */
async function createFlows({ run }: Group, { node }: Daemon, batch: number): Promise<void> {
  const more = '--state ESTABLISHED -u ASSURED,SEEN_REPLY -t 3600';
  const lines = Array.from(
    { length: FLOWS },
    (_, i) => `-I ${tupleOf(node.name, batch, i)} ${more}\n`,
  );
  const file = join(run.path('flows'), `${node.name}-${batch}`);
  writeFileSync(file, lines.join(''));
  await loadFlows(node.ns, file);
}

/** Ends a third of a node's flows. */
async function endFlows({ node }: Daemon): Promise<void> {
  await node.ns.exec('conntrack', ['-D', '-p', 'tcp', '--dport', '81']);
}

/** Gives some of a batch that go on a mark, and others another state. */
async function changeFlows({ node }: Daemon, batch: number, state: string): Promise<void> {
  // One command each: conntrack -R loses its place in several updates.
  const commands: string[] = [];
  for (let i = 0; i < FLOWS; i += 15) {
    commands.push(`conntrack -U ${tupleOf(node.name, batch, i)} --mark ${batch}`);
    commands.push(`conntrack -U ${tupleOf(node.name, batch, i + 2)} --state ${state}`);
  }
  await node.ns.exec('sh', ['-ec', commands.join('\n')]);
}

/** An ALIVE to the group from as many made-up addresses, from a node's interface. */
async function sendAsStrangers({ node }: Daemon, count: number): Promise<void> {
  const addresses = Array.from({ length: count }, (_, i) => `192.168.100.${100 + i}`);
  node.ns.ip(...addresses.map((address) => `addr add ${address}/24 dev sync`));
  const script = `
    const { createSocket } = require('node:dgram');
    for (const address of ${JSON.stringify(addresses)}) {
      const socket = createSocket('udp4');
      socket.bind(0, address, () => {
        socket.setMulticastInterface(address);
        const alive = Buffer.from([0x1a, 0x10, 0, 8, 0, 0, 0, 1]);
        socket.send(alive, ${SYNC_PORT}, '225.0.0.50', () => socket.close());
      });
    }`;
  await node.ns.exec(process.execPath, ['-e', script]);
  node.ns.ip(...addresses.map((address) => `addr del ${address}/24 dev sync`));
}

/** Until a node has counted strangers; it shows them to eyes and to programs. */
async function waitStrangers(daemon: Daemon): Promise<void> {
  const counted = async (): Promise<number> => {
    const text = await daemon.client('-s', 'network', '-o', 'json');
    return JSON.parse(text).received.strangers;
  };
  await waitFor(async () => (await counted()) > 0, {
    ...{ for: `${daemon.label} to count strangers`, timeout: 20_000, every: 200 },
    explain: () => daemon.client('-s', 'network'),
  });
  expect(await daemon.client('-s', 'network')).toMatch(/Datagrams of strangers:\s+[1-9]/);
}

/** Waits until a node of ours knows `count` peers of ours by their tails. */
async function waitKnown(daemon: Daemon, count: number): Promise<void> {
  // The report is kept from us while the status is not 0: this also waits for that.
  let text = '';
  const known = async (): Promise<number> => {
    text = await daemon.client('-s', 'ready').catch((error: Error) => error.message);
    return [...text.matchAll(/: Flowtwin \S+, FTFW, heard/g)].length;
  };
  await waitFor(async () => (await known()) === count, {
    for: `${daemon.label} to know ${count} peers and be ready`,
    timeout: 60_000,
    every: 300,
    explain: () => `${text}\n${daemon.log()}`,
  });
}

interface Comparison {
  external: string;
  internal: string;
  found: number;
  repaired: number;
  removed: number;
  said: number;
}

async function comparison(daemon: Daemon): Promise<Comparison> {
  return JSON.parse(await daemon.client('-s', 'network', '-o', 'json')).comparison;
}

/** Until each node says that what it holds of the others, and they of it, is what there is. */
async function waitCompared(daemons: readonly Daemon[]): Promise<void> {
  let last: Comparison[] = [];
  await waitFor(
    async () => {
      last = await Promise.all(daemons.map(comparison));
      return last.every(({ external, internal }) => external === 'equal' && internal === 'equal');
    },
    {
      ...{ for: 'all nodes of the group to call their tables equal', timeout: 60_000, every: 300 },
      explain: () => JSON.stringify(last),
    },
  );
}

/** The dedicated link of a node carries nothing, and shows it to nobody. */
const MUTE = `
table inet mute {
  chain arriving {
    type filter hook prerouting priority -400
    iifname "sync" drop
  }
  chain leaving {
    type filter hook output priority -400
    oifname "sync" drop
  }
}`;

describeLab('three nodes in a multicast group', () => {
  test('stay equal under 20 % loss and 10 % duplicates, all of them active', async () => {
    const programs = [OURS, OURS, OURS];
    await withGroup(
      programs,
      async (group) => {
        const { daemons } = group;
        for (const daemon of daemons) await waitKnown(daemon, 2);
        const links = daemons.map(
          ({ node }) => new BadLink(node.ns, { dropPercent: 20, duplicatePercent: 10 }),
        );
        for (const batch of [1, 2]) {
          await Promise.all(daemons.map((daemon) => createFlows(group, daemon, batch)));
          await Promise.all(daemons.map(endFlows));
          await Promise.all(daemons.map((daemon) => changeFlows(daemon, batch, 'FIN_WAIT')));
        }
        await waitGroupEqual(daemons, 3 * 2 * FLOWS * (2 / 3));
        await waitCompared(daemons); // still under loss
        for (const link of links) expect(link.counters().dropped).toBeGreaterThan(0);
        for (const link of links) link.remove();
        for (const daemon of daemons) await waitKnown(daemon, 2);

        await sendAsStrangers(daemons[2]!, 30);
        for (const daemon of daemons.slice(0, 2)) await waitStrangers(daemon);
        await waitGroupEqual(daemons, 3 * 2 * FLOWS * (2 / 3));
      },
      { mode: MODE },
    );
  });

  // Both mostly wait: for a silence to last, and for nodes to start.
  test.concurrent('what one of them lacks is found, repaired and counted, and what ended while it was cut off is not committed', async () => {
    await withGroup(
      [OURS, OURS, OURS],
      async (group) => {
        const { daemons, run } = group;
        const [first, second, third] = daemons as [Daemon, Daemon, Daemon];
        for (const daemon of daemons) await createFlows(group, daemon, 1);
        await waitGroupEqual(daemons, 3 * FLOWS);
        await waitCompared(daemons);
        for (const daemon of daemons) {
          expect(await comparison(daemon)).toMatchObject({ found: 0, removed: 0 });
        }
        await third.client('-f', 'external');
        await waitFor(async () => (await comparison(third)).repaired > 0, {
          ...{ for: 'a repair', timeout: 60_000, every: 200 },
          explain: () => third.log(),
        });
        await waitGroupEqual(daemons, 3 * FLOWS);
        await waitCompared(daemons);
        const mended = await comparison(third);
        expect(mended).toMatchObject({ repaired: mended.found, removed: 0 });
        const said = await Promise.all([first, second].map(comparison));
        for (const one of said) expect(one.said).toBeGreaterThanOrEqual(FLOWS);

        third.node.ns.nft(MUTE);
        await waitFor(
          async () =>
            daemons.every((one) => one === third || /acknowledges nothing/.test(one.log())),
          { for: 'the others to give the third up', timeout: 30_000, every: 200 },
        );
        for (const daemon of [first, second]) await endFlows(daemon);
        third.node.ns.nft('delete table inet mute');
        await waitGroupEqual(daemons, FLOWS + 2 * FLOWS * (2 / 3));
        await waitCompared(daemons);
        // Some of the ends may have been in the others' resend queues still.
        const { removed } = await comparison(third);
        expect(removed).toBeGreaterThan(0);
        expect(removed).toBeLessThanOrEqual(2 * (FLOWS / 3));
        await third.client('-c');
        const [one, two, three] = await Promise.all(
          daemons.map(({ node }) => dumpTable(run, node.ns)),
        );
        const all = new Set([...one!.keys(), ...two!.keys()]);
        const held = [...three!.keys()].filter((key) => !/src=10\.3\./.test(key));
        expect(new Set(held)).toEqual(all);
      },
      { mode: MODE, general: 'Workers 2' },
    );
  });

  test.concurrent('become equal again whichever is killed and starts anew', async () => {
    const programs = [OURS, OURS, OURS];
    await withGroup(
      programs,
      async (group) => {
        const { daemons } = group;
        for (const daemon of daemons) await createFlows(group, daemon, 1);
        await waitGroupEqual(daemons, 3 * FLOWS);
        let batch = 2;
        for (const daemon of daemons) {
          await daemon.kill();
          for (const other of daemons) if (other !== daemon) await createFlows(group, other, batch);
          await daemon.start();
          // What is new in its kernel it tells; what it lacks, StartupResync brings.
          await createFlows(group, daemon, batch);
          batch++;
          await waitGroupEqual(daemons, 3 * batch * FLOWS - 3 * FLOWS);
        }
      },
      { mode: MODE },
    );
  });

  test.concurrent('go over to the second link and back, and nobody is taken for another', async () => {
    await withGroup(
      [OURS, OURS, OURS],
      async (group) => {
        const { daemons } = group;
        const used = async (): Promise<string[]> =>
          Promise.all(
            daemons.map(async (daemon) => {
              const text = await daemon.client('-s', 'link');
              return /device=(\S+) status=\S+ role=ACTIVE/.exec(text)?.[1] ?? 'none';
            }),
          );
        const allUse = (device: string): Promise<unknown> =>
          waitFor(async () => (await used()).every((name) => name === device), {
            ...{ for: `all nodes to send over ${device}`, timeout: 30_000, every: 200 },
            explain: async () => (await used()).join(', '),
          });
        const create = (batch: number): Promise<unknown> =>
          Promise.all(daemons.map((daemon) => createFlows(group, daemon, batch)));
        await create(1);
        await waitGroupEqual(daemons, 3 * FLOWS);
        // The cable of one: the others follow it, each in its own time.
        const [, second] = daemons as [Daemon, Daemon];
        second.node.ns.ip('link set sync down');
        await create(2);
        await allUse('sync2');
        await waitGroupEqual(daemons, 6 * FLOWS);
        await waitCompared(daemons);
        second.node.ns.ip('link set sync up');
        await create(3);
        await allUse('sync');
        await waitGroupEqual(daemons, 9 * FLOWS);
        await waitCompared(daemons);
        for (const daemon of daemons) await waitKnown(daemon, 2);
        for (const daemon of daemons) {
          expect(await comparison(daemon)).toMatchObject({ found: 0, removed: 0 });
        }
      },
      { mode: MODE, twoLinks: true },
    );
  });

  test('two of ours and a C daemon that dies and starts anew: ours stay equal, and C takes part in NOTRACK mode', async () => {
    await withGroup(
      [OURS, OURS, C],
      async (group) => {
        const [first, second, stranger] = group.daemons as [Daemon, Daemon, Daemon];
        const create = (batch: number): Promise<unknown> =>
          Promise.all(group.daemons.map((daemon) => createFlows(group, daemon, batch)));
        await create(1);
        await create(2);
        await waitEachOther(first, second, 2 * FLOWS);
        await stranger.kill();
        await create(3);
        stranger.removeLock();
        await stranger.start();
        await create(4);
        await Promise.all(group.daemons.map((daemon) => changeFlows(daemon, 4, 'CLOSE_WAIT')));
        await waitEachOther(first, second, 4 * FLOWS);
      },
      { mode: 'Mode FTFW {\n    ACKWindowSize 20\n  }' },
    );
    await withGroup(
      [OURS, OURS, C],
      async (group) => {
        const [, , stranger] = group.daemons as [Daemon, Daemon, Daemon];
        for (const daemon of group.daemons) await createFlows(group, daemon, 1);
        await waitGroupEqual(group.daemons, 3 * FLOWS);
        await stranger.kill();
        for (const daemon of group.daemons) await createFlows(group, daemon, 2);
        stranger.removeLock();
        await stranger.start();
        await Promise.all(group.daemons.map((daemon) => changeFlows(daemon, 2, 'CLOSE_WAIT')));
        await stranger.client('-n');
        await stranger.client('-B');
        await waitGroupEqual(group.daemons, 6 * FLOWS);
      },
      { mode: 'Mode NOTRACK {\n  }' },
    );
  });
});

/** Waits until each of two nodes holds what the other has, as it is. A third one's flows are there, too. */
async function waitEachOther(first: Daemon, second: Daemon, atLeast: number): Promise<void> {
  for (const [one, other] of [
    [first, second],
    [second, first],
  ] as const) {
    await waitFor(async () => (await lacking(one, other, atLeast)).length === 0, {
      for: `${other.label} to have every flow of ${one.label}`,
      timeout: 60_000,
      every: 300,
      explain: async () => (await lacking(one, other, atLeast)).slice(0, 12).join('\n'),
    });
  }
}

/** Flows of one node that the other does not hold, or not as they are. */
async function lacking(one: Daemon, other: Daemon, atLeast: number): Promise<string[]> {
  const internal = parseCacheDump(await one.client('-i'));
  const external = parseCacheDump(await other.client('-e'));
  if (internal.size < atLeast) return [`${one.label} has ${internal.size} flows`];
  return [...internal].flatMap(([key, seen]) =>
    external.get(key) === seen ? [] : [`${key}: ${external.get(key)}, not ${seen}`],
  );
}
