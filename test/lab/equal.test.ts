// The nodes compare their tables and mend what differs: the backup's cache is broken on purpose, and
// nobody orders a resync. A C daemon beside ours must not notice that anything is compared.

import { expect, test } from 'vitest';
import type { Daemon } from '../../lab/daemon.js';
import { OURS, parseCache } from '../../lab/daemon.js';
import { withPair } from '../../lab/pair.js';
import { compareCaches, waitReplicated } from '../../lab/replication.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { startClient, startServer, variety } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab, describePairings } from './matrix.js';

const FTFW = 'Mode FTFW {\n    StartupResync no\n  }';
const NOTRACK = 'Mode NOTRACK {\n    StartupResync no\n  }';
const BOTH = { active: OURS, backup: OURS };

interface Comparison {
  external: string;
  internal: string;
  compared: number;
  found: number;
  repaired: number;
  removed: number;
  said: number;
}

async function comparison(daemon: Daemon): Promise<Comparison> {
  const shown = JSON.parse(await daemon.client('-s', 'network', '-o', 'json'));
  return shown.comparison;
}

/** Until both say that the active node's flows are the same here and there. */
function waitEqual(active: Daemon, backup: Daemon, timeout = 60_000): Promise<unknown> {
  return waitFor(
    async () => {
      const [a, b] = await Promise.all([comparison(active), comparison(backup)]);
      return a.internal === 'equal' && b.external === 'equal';
    },
    {
      ...{ for: 'both nodes to call the tables equal', timeout, every: 300 },
      explain: async () => JSON.stringify([await comparison(active), await comparison(backup)]),
    },
  );
}

describeLab('two nodes of ours', () => {
  const modes = [
    ['FTFW', FTFW, ''],
    ['NOTRACK', NOTRACK, ''],
    ['FTFW with workers', FTFW, 'Workers 2'],
  ] as const;
  test.each(modes)(
    '%s: a flushed external cache and a lost flow are mended',
    async (_, mode, general) => {
      const plan = variety(1, 50);
      const flows = plan.reduce((sum, group) => sum + group.count, 0);
      await withPair(
        BOTH,
        async ({ topology, active, backup }) => {
          await Promise.all([active.greeted(), backup.greeted()]);
          await startServer(topology);
          await startClient(topology, plan);
          const held = await waitReplicated(active, backup, flows);
          await waitEqual(active, backup);
          const before = await comparison(backup);
          expect(before).toMatchObject({ found: 0, removed: 0 });

          await backup.client('-f', 'external');
          // What an operator sees: no order is given, and the flows come back.
          await waitFor(async () => (await comparison(backup)).repaired > 0, {
            ...{ for: 'a repair', timeout: 60_000, every: 200 },
            explain: () => `${active.log()}\n${backup.log()}`,
          });
          await waitReplicated(active, backup, held);
          await waitEqual(active, backup);
          const after = await comparison(backup);
          expect(after.repaired).toBe(after.found);
          // Those that traffic has changed meanwhile came by themselves.
          expect((await comparison(active)).said).toBeGreaterThan(0);
          expect(backup.log()).toContain(
            'of 1024 ranges of the external cache differ from the peer',
          );
          expect(backup.log()).toContain('repair of the external cache');
        },
        { mode, general },
      );
    },
  );

  test('NOTRACK: flows whose messages were lost on the way come and go at the backup after all', async () => {
    await withPair(
      BOTH,
      async ({ topology, active, backup }) => {
        await waitEqual(active, backup);
        const flow = (n: number, order: string): void => {
          const ends = [
            '-s',
            '10.1.0.77',
            '-d',
            '10.2.0.77',
            '-p',
            'udp',
            '--sport',
            `${n}`,
            '--dport',
            '9',
          ];
          const timeout = order === '-I' ? ['-t', '600'] : [];
          topology.fw1.ns.execSync('conntrack', [order, ...ends, ...timeout]);
        };
        for (let n = 1; n <= 20; n++) flow(n, '-I');
        await waitReplicated(active, backup, 20);
        // Short of a second: the peer must not count as gone.
        topology.fw2.ns.nft(`table inet cut {
          chain arriving {
            type filter hook prerouting priority -400
            iifname "sync" drop
          }
        }`);
        for (let n = 21; n <= 40; n++) flow(n, '-I');
        for (let n = 1; n <= 10; n++) flow(n, '-D');
        await sleep(500);
        topology.fw2.ns.nft('delete table inet cut');
        expect((await compareCaches(active, backup)).length).toBeGreaterThan(0);
        await waitReplicated(active, backup, 30, 60_000);
        await waitEqual(active, backup);
        const { removed, found, repaired } = await comparison(backup);
        expect(removed).toBe(10);
        expect(repaired).toBe(found);
      },
      { mode: NOTRACK },
    );
  });

  test('an internal cache that was flushed is no reason to take the flows from the backup', async () => {
    await withPair(BOTH, async ({ topology, active, backup }) => {
      await Promise.all([active.greeted(), backup.greeted()]);
      await startServer(topology);
      await startClient(topology, variety(1, 50));
      const held = await waitReplicated(active, backup, 5);
      await waitEqual(active, backup);
      await active.client('-f', 'internal');
      await waitFor(async () => (await comparison(backup)).external === 'cannot say', {
        ...{ for: 'the backup to know nothing', timeout: 30_000, every: 200 },
        explain: () => backup.log(),
      });
      expect((await comparison(backup)).removed).toBe(0);
      await active.client('-R');
      await waitReplicated(active, backup, held, 60_000);
      await waitEqual(active, backup);
    });
  });
});

describeLab('two nodes of ours, one of them without one of the caches', () => {
  const flow = (order: string, port: number): string[] => [
    ...[order, '-s', '10.1.0.79', '-d', '10.2.0.79', '-p', 'udp', '--sport', `${port}`],
    ...['--dport', '9', ...(order === '-I' ? ['-t', '600'] : [])],
  ];
  const without = (name: string, directive: string) => (node: { name: string }) =>
    `Mode NOTRACK {\n    ${node.name === name ? directive : ''}\n  }`;

  /** Until the backup, which has no internal cache to be asked for, holds the 20 flows. */
  const waitHeld = (active: Daemon, backup: Daemon): Promise<unknown> =>
    waitFor(
      async () => {
        const { active: count } = parseCache(await backup.client('-s'), 'external');
        return count === 20 && (await compareCaches(active, backup)).length === 0;
      },
      { for: 'the backup to hold 20 flows', timeout: 60_000, every: 200 },
    );

  test.concurrent('DisableInternalCache on the backup: it compares and mends all the same', async () => {
    const mode = without('fw2', 'DisableInternalCache on');
    await withPair(
      BOTH,
      async ({ topology, active, backup }) => {
        for (let n = 1; n <= 20; n++) topology.fw1.ns.execSync('conntrack', flow('-I', n));
        await waitHeld(active, backup);
        await waitEqual(active, backup);
        await backup.client('-f', 'external');
        await waitHeld(active, backup);
        await waitEqual(active, backup);
        expect((await comparison(active)).said).toBe(20);
        // Of what the backup does not keep nothing can be said.
        expect((await comparison(backup)).internal).toBe('cannot say');
        expect((await comparison(active)).external).toBe('cannot say');
      },
      { mode },
    );
  });

  test.concurrent('DisableExternalCache on the backup: nobody can say, and nothing is taken from its kernel', async () => {
    const mode = without('fw2', 'DisableExternalCache on');
    await withPair(
      BOTH,
      async ({ run, topology, active, backup }) => {
        for (let n = 1; n <= 20; n++) topology.fw1.ns.execSync('conntrack', flow('-I', n));
        const held = async (): Promise<number> => (await dumpTable(run, topology.fw2.ns)).size;
        await waitFor(async () => (await held()) === 20, { for: 'the flows in the kernel' });
        // The other direction is known: the backup owns nothing, and that is what the active one holds.
        await waitFor(async () => (await comparison(active)).external === 'equal', {
          ...{ for: 'the active node to compare', timeout: 30_000, every: 200 },
          explain: async () => JSON.stringify(await comparison(active)),
        });
        expect((await comparison(active)).internal).toBe('cannot say');
        expect((await comparison(backup)).external).toBe('cannot say');
        expect(await held()).toBe(20);
      },
      { mode },
    );
  });
});

describePairings((programs) => {
  test('zones of one direction reach a node of ours and are committed; C gets the flows without', async () => {
    const ours = programs.active === OURS && programs.backup === OURS;
    await withPair(
      programs,
      async ({ run, topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        if (ours) await waitEqual(active, backup); // they know each other
        for (let n = 1; n <= 30; n++) {
          const zone = [[], ['--orig-zone', '5'], ['--reply-zone', '6'], ['-w', '7']][n % 4]!;
          topology.fw1.ns.execSync('conntrack', [
            ...['-I', '-s', '10.1.0.78', '-d', '10.2.0.78', '-p', 'udp', '-t', '600'],
            ...['--sport', `${1000 + n}`, '--dport', '9', ...zone],
          ]);
        }
        await waitFor(async () => (await backup.caches()).external.active === 30, {
          ...{ for: 'the flows at the backup', timeout: 20_000, every: 100 },
          explain: () => `${active.log()}\n${backup.log()}`,
        });
        if (ours) await waitEqual(active, backup);
        await backup.client('-c');
        const [first, second] = await Promise.all([
          dumpTable(run, topology.fw1.ns),
          dumpTable(run, topology.fw2.ns),
        ]);
        expect(second.size).toBe(30);
        if (ours) expect(describeDifferences(compareTables(first, second))).toBe('');
        const network = await backup.client('-s', 'network');
        expect(network).toMatch(/Malformed messages:\s+0/);
      },
      { filter: '' },
    );
  });
});
