// DisableExternalCache: the backup's kernel holds the active one's flows all the time, and nobody
// ever commits. Flows are compared in both kernels, as they begin, change and end.

import { expect, test } from 'vitest';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { type Pair, withPair } from '../../lab/pair.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { SERVER } from '../../lab/topology.js';
import { startClient, startServer } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describePairings } from './matrix.js';
import { expectAlive, expectVariety, makeTraffic } from './mixture.js';

const FTFW = 'Mode FTFW {\n    DisableExternalCache On\n  }';
const BYPASS = 'Mode NOTRACK {\n    DisableInternalCache On\n    DisableExternalCache On\n  }';
const ALARM = 'Mode ALARM {\n    RefreshTime 2\n    DisableExternalCache On\n  }';
const REFRESHED = { ignore: ['timeout'] as const };

/** Waits until both kernels hold the same flows, `atLeast` of them. */
async function waitEqual({ run, topology, active, backup }: Pair, atLeast: number) {
  let differences = '';
  return await waitFor(
    async () => {
      const [first, second] = await Promise.all([
        dumpTable(run, topology.fw1.ns),
        dumpTable(run, topology.fw2.ns),
      ]);
      differences = describeDifferences(compareTables(first, second, REFRESHED));
      return differences === '' && first.size >= atLeast && second;
    },
    {
      for: 'both kernels to hold the same flows',
      every: 300,
      timeout: 25_000,
      explain: () => [differences, active.log(), backup.log()].join('\n'),
    },
  );
}

const injected = async ({ backup }: Pair) =>
  /external inject:\nconnections created:\s+(\d+)\s+failed:\s+(\d+)\n.*\n.*destroyed:\s+(\d+)/.exec(
    await backup.request(REQUEST.stats),
  );

const FLOW = ['-p', 'udp', '-s', '10.1.7.7', '-d', '10.2.0.2', '--sport', '1000', '--dport', '53'];

describePairings((programs) => {
  const ours = programs.backup === OURS;

  test.each([
    ['FTFW', FTFW, 0],
    ['NOTRACK without any cache', BYPASS, 0],
    ...(ours && programs.active === OURS
      ? ([
          ['FTFW, Workers 2', FTFW, 2],
          ['NOTRACK without any cache, Workers 2', BYPASS, 2],
        ] as const)
      : []),
  ] as const)(
    'all kinds of flows are in both kernels, and live on at the other: %s',
    async (_, mode, workers) => {
      await withPair(
        programs,
        async (pair) => {
          const { topology, backup } = pair;
          const { fw1, fw2 } = topology;
          const traffic = await makeTraffic(pair);
          expectVariety(await waitEqual(pair, traffic.flows));
          // A beginning, a change and an end.
          await fw1.ns.exec('conntrack', ['-I', ...FLOW, '-t', '600', '-m', '5']);
          await waitEqual(pair, traffic.flows + 1);
          await fw1.ns.exec('conntrack', ['-U', ...FLOW, '-m', '77']);
          await fw1.ns.exec('conntrack', ['-D', '-p', 'tcp', '--dport', '5999']);
          const table = await waitEqual(pair, traffic.flows - 1);
          expect([...table.values()].filter(({ mark }) => mark === '77')).toHaveLength(1);
          expect(await backup.request(REQUEST.external)).toBe('');
          const [, created, failed, destroyed] = (await injected(pair)) ?? [];
          expect(Number(created)).toBeGreaterThan(0);
          expect(Number(destroyed)).toBeGreaterThanOrEqual(2);
          if (ours) expect(Number(failed)).toBe(0);
          topology.release(fw1);
          topology.activate(fw2);
          await expectAlive(traffic);
        },
        workers === 0 ? { mode } : { mode, general: `Workers ${workers}` },
      );
    },
  );

  test('a resync replaces what is there already', async () => {
    await withPair(
      programs,
      async (pair) => {
        const { fw1, fw2 } = pair.topology;
        await fw1.ns.exec('conntrack', ['-I', ...FLOW, '-t', '600', '-m', '5']);
        await waitEqual(pair, 1);
        // As if an update had been missed.
        await pair.active.greeted();
        await fw2.ns.exec('conntrack', ['-D', ...FLOW]);
        await pair.backup.client('-n');
        await waitEqual(pair, 1);
        await pair.active.client('-B');
        await waitEqual(pair, 1);
      },
      { mode: FTFW },
    );
  });

  test.runIf(ours)('a copy that times out does not end the flow where it lives', async () => {
    for (const mode of [BYPASS, FTFW]) {
      await withPair(
        programs,
        async (pair) => {
          const { run, topology, backup } = pair;
          const { fw1, fw2 } = topology;
          for (const { ns } of [fw1, fw2]) {
            ns.sysctl({
              'net.netfilter.nf_conntrack_udp_timeout': 4,
              'net.netfilter.nf_conntrack_udp_timeout_stream': 4,
            });
          }
          await startServer(topology);
          const talk = { name: 'talk', proto: 'udp', host: SERVER.v4, port: 5002 } as const;
          const client = await startClient(topology, [{ ...talk, count: 3, everyMs: 100 }]);
          await waitEqual(pair, 3);
          const ids = [...(await dumpTable(run, fw1.ns)).values()].map(({ line }) => idOf(line));
          if (mode === FTFW) {
            // A daemon that starts anew finds copies in its kernel, and hears whose they are.
            await backup.stop();
            await backup.start();
            await backup.client('-n');
            await waitEqual(pair, 3);
          }
          await waitFor(async () => (await dumpTable(run, fw2.ns)).size === 0, {
            for: 'the copies to time out',
          });
          await sleep(2000);
          const after = [...(await dumpTable(run, fw1.ns)).values()];
          expect(after.map(({ line }) => idOf(line)).sort()).toEqual(ids.sort());
          expect(await client.probe(5000)).toEqual({ talk: 3 });
        },
        { mode },
      );
    }
  });

  const bothOurs = ours && programs.active === OURS;
  test.runIf(bothOurs)('in ALARM mode the repetitions keep the copies alive', async () => {
    await withPair(
      programs,
      async (pair) => {
        const { run, topology } = pair;
        topology.fw1.ns.sysctl({
          'net.netfilter.nf_conntrack_udp_timeout': 6,
          'net.netfilter.nf_conntrack_udp_timeout_stream': 6,
        });
        await startServer(topology);
        const talk = { name: 'talk', proto: 'udp', host: SERVER.v4, port: 5002 } as const;
        await startClient(topology, [{ ...talk, count: 3, everyMs: 100 }]);
        await waitEqual(pair, 3);
        await sleep(12_000);
        expect((await dumpTable(run, topology.fw2.ns)).size).toBe(3);
      },
      { mode: ALARM },
    );
  });
});

function idOf(line: string): string {
  return / id=(\d+)/.exec(line)?.[1] ?? line;
}
