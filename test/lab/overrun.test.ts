// The kernel makes events faster than a tiny buffer holds them. What was lost is found again in the
// kernel's table: flows that the daemon never heard of and flows whose end it missed.

import { expect, test } from 'vitest';
import { LineProcess } from '../../bench/lab/process.js';
import type { LoadCommand, LoadReport } from '../../bench/load.js';
import { type Daemon, OURS, REQUEST } from '../../lab/daemon.js';
import { startFtp } from '../../lab/ftp.js';
import { withPair } from '../../lab/pair.js';
import { SERVER } from '../../lab/topology.js';
import { startServer } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const FLOWS = 20_000;
const TINY = 'NetlinkBufferSize 16384\n  NetlinkBufferSizeMaxGrowth 32768';
/** Request of the control socket. */
const EXTERNAL_EXPECT = 41;
const RESYNC = /resync with the kernel after an overrun/g;

async function order(
  load: LineProcess,
  what: LoadCommand['do'],
  from: number,
  count: number,
): Promise<void> {
  const command: LoadCommand = { do: what, from, count, rate: 0, burst: 256 };
  expect((await load.ask<LoadReport>(command)).failed).toBe(0);
}

async function runtime(daemon: Daemon, name: string): Promise<number> {
  const text = await daemon.request(REQUEST.runtime);
  return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? Number.NaN);
}

describeLab('an overrun of the event socket', () => {
  test('is counted, logged and mended: both caches hold what the kernel holds', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        const load = await LineProcess.start(topology.fw1.ns, 'load.js');
        try {
          await order(load, 'create', 0, FLOWS);
          await order(load, 'delete', 0, FLOWS / 2);
        } finally {
          await load.stop();
        }
        await waitFor(async () => (await runtime(active, 'netlink overrun')) > 0, {
          for: 'the overrun',
        });
        for (const [daemon, cache] of [
          [active, 'internal'],
          [backup, 'external'],
        ] as const) {
          await waitFor(async () => (await daemon.caches())[cache].active === FLOWS / 2, {
            for: `${FLOWS / 2} flows in the ${cache} cache`,
            timeout: 30_000,
            every: 200,
            explain: async () => `${await daemon.request(REQUEST.stats)}${daemon.log()}`,
          });
        }
        const log = active.log(1000);
        expect(log).toContain('netlink event socket buffer size has been doubled to 32768 bytes');
        expect(log).toContain('netlink event socket buffer size cannot be doubled further');
        expect(log).toMatch(RESYNC);
        expect(await runtime(active, 'resync with kernel table')).toBeGreaterThan(0);
        expect(await runtime(active, 'current buffer size \\(in bytes\\)')).toBe(32768);
      },
      { general: `${TINY}\n  NetlinkOverrunResync 2` },
    );
  });

  test.each([0, 2])(
    'that swallowed an announcement: the resync brings the expectation, and takes it away, Workers %i',
    async (workers) => {
      await withPair(
        { active: OURS, backup: OURS },
        async ({ topology, active, backup }) => {
          await Promise.all([active.greeted(), backup.greeted()]);
          await startServer(topology);
          const session = await startFtp(topology.client, SERVER.v4);
          const load = await LineProcess.start(topology.fw1.ns, 'load.js');
          const announcements = async () => (await backup.request(EXTERNAL_EXPECT)).split('\n');
          /** What happens in `body` is lost in an overrun: the daemon stands still meanwhile. */
          const deafTo = async (body: () => Promise<unknown>): Promise<void> => {
            process.kill(active.pid!, 'SIGSTOP');
            try {
              await order(load, 'create', 0, FLOWS / 4);
              await body();
              await order(load, 'delete', 0, FLOWS / 4);
            } finally {
              process.kill(active.pid!, 'SIGCONT');
            }
          };
          try {
            let port = 0;
            await deafTo(async () => {
              ({ port } = await session.announce());
            });
            await waitFor(async () => (await announcements()).join().includes(`dport=${port} `), {
              for: 'the expectation on the backup',
              explain: () => active.log(),
            });
            await deafTo(() => topology.fw1.ns.exec('conntrack', ['-F', 'expect']));
            await waitFor(async () => (await announcements()).join() === '', {
              for: 'the backup to forget it',
              explain: () => active.log(),
            });
            expect(await runtime(active, 'netlink overrun')).toBeGreaterThan(0);
          } finally {
            await load.stop();
          }
        },
        {
          general: `${TINY}\n  NetlinkOverrunResync 1\n  Workers ${workers}`,
          sync: 'Options { ExpectationSync on }',
        },
      );
    },
  );

  test('a stream of overruns does not put the resync off', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ topology, active }) => {
        const load = await LineProcess.start(topology.fw1.ns, 'load.js');
        try {
          const start = performance.now();
          let before = 0;
          let resyncs = 0;
          // Bursts less than the delay apart, each of them an overrun.
          while (resyncs === 0 && performance.now() - start < 30_000) {
            await order(load, 'create', 0, FLOWS / 4);
            await order(load, 'delete', 0, FLOWS / 4);
            await sleep(200);
            const overruns = await runtime(active, 'netlink overrun');
            expect(overruns).toBeGreaterThan(before);
            before = overruns;
            resyncs = active.log(1000).match(RESYNC)?.length ?? 0;
          }
          expect(resyncs).toBeGreaterThan(0);
        } finally {
          await load.stop();
        }
      },
      { general: `${TINY}\n  NetlinkOverrunResync 3` },
    );
  });

  test('NetlinkEventsReliable: no overrun is reported and no end of a flow is missed', async () => {
    await withPair(
      { active: OURS, backup: OURS },
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        const load = await LineProcess.start(topology.fw1.ns, 'load.js');
        try {
          await order(load, 'create', 0, FLOWS);
          await order(load, 'delete', 0, FLOWS);
        } finally {
          await load.stop();
        }
        // The kernel keeps each DESTROY until there was room for it.
        await waitFor(
          async () => {
            const { internal } = await active.caches();
            return internal.created > 0 && internal.active === 0;
          },
          { for: 'the internal cache to be empty', timeout: 60_000, every: 200 },
        );
        await waitFor(async () => (await backup.caches()).external.active === 0, {
          for: 'the external cache to be empty',
        });
        expect(await runtime(active, 'netlink overrun')).toBe(0);
        expect(active.log(1000)).not.toMatch(RESYNC);
      },
      { general: `${TINY}\n  NetlinkOverrunResync off\n  NetlinkEventsReliable on` },
    );
  });
});
