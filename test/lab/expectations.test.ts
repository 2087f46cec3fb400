// Expectations: an FTP data connection that the old firewall heard announced opens through the new
// one. The helper of the kernel reads a real control connection; the firewalls let nobody else begin
// a flow towards the client.

import { expect, test } from 'vitest';
import { type Daemon, OURS } from '../../lab/daemon.js';
import { openData, startFtp } from '../../lab/ftp.js';
import type { Netns } from '../../lab/namespace.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { GATEWAY, SERVER } from '../../lab/topology.js';
import { startServer } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab, describePairings } from './matrix.js';

const SYNC = 'Options { ExpectationSync on }';

/** Requests of the control socket. */
const EXPECT = { statistics: 37, internal: 40, external: 41, internalXml: 47 } as const;

/** The expectations of a cache, without their age, which the C daemon may begin with -1. */
async function expectations(daemon: Daemon, code: number): Promise<string[]> {
  const text = await daemon.request(code);
  const lines = text.split('\n').filter(Boolean);
  return lines.map((line) => line.replace(/ \[active since -?\d+s\]/, ''));
}

function inKernel({ ns }: { ns: Netns }): string {
  return ns.execSync('conntrack', ['-L', 'expect']);
}

/** A session whose client has announced a port, replicated to the backup. */
async function announce({ topology, active, backup }: Pair) {
  await startServer(topology);
  const session = await startFtp(topology.client, SERVER.v4);
  const announced = await session.announce();
  const lines = await waitFor(
    async () => {
      const [own] = await expectations(active, EXPECT.internal);
      const [other] = await expectations(backup, EXPECT.external);
      return own !== undefined && other !== undefined && { own, other };
    },
    { for: 'the expectation to reach the backup', explain: () => backup.log() },
  );
  expect(lines.other).toBe(lines.own);
  expect(lines.own).toContain(`dport=${announced.port}`);
  expect(lines.own).toContain('helper=ftp');
  return announced;
}

/** The take-over of the script, with the kinds to commit. */
async function takeOver({ topology, backup }: Pair, ...kinds: string[]): Promise<void> {
  for (const kind of kinds) await backup.client('-c', kind);
  topology.release(topology.fw1);
  topology.activate(topology.fw2);
}

describePairings((programs) => {
  test('a data connection announced before the fail-over opens after it', async () => {
    await withPair(
      programs,
      async (pair) => {
        const announced = await announce(pair);
        await takeOver(pair, 'ct', 'expect');
        expect(inKernel(pair.topology.fw2)).toContain(`dport=${announced.port}`);
        if (programs.backup === OURS) {
          // Once more, told in JSON: they are deleted and created again.
          const told = async (...what: string[]) =>
            JSON.parse(await pair.backup.client('-c', ...what, '-o', 'json'));
          const expectations = { committed: 1, failed: 0, reasons: [] };
          expect(await told('ct')).not.toHaveProperty('expectations'); // gone with their master
          expect(await told()).toMatchObject({ committed: 1, failed: 0, expectations });
          expect(await told('expect')).toMatchObject({ command: 'commit', expectations });
        }
        expect(await openData(pair.topology.server, announced)).toBe('open');
      },
      { sync: SYNC },
    );
  });

  test('an expectation that came true or was flushed leaves the backup too', async () => {
    await withPair(
      programs,
      async (pair) => {
        const { topology, active, backup } = pair;
        const announced = await announce(pair);
        expect(await openData(topology.server, announced)).toBe('open');
        await waitFor(async () => (await expectations(backup, EXPECT.external)).length === 0, {
          for: 'the backup to forget it',
          explain: () => backup.log(),
        });
        expect(await expectations(active, EXPECT.internal)).toEqual([]);
      },
      { sync: SYNC },
    );
  });
});

describeLab('with both daemons ours', () => {
  const both = { active: OURS, backup: OURS };

  test('it does not open when only the flows were committed', async () => {
    await withPair(
      both,
      async (pair) => {
        const announced = await announce(pair);
        await takeOver(pair, 'ct');
        expect(await openData(pair.topology.server, announced)).toBe('no answer');
      },
      { sync: SYNC },
    );
  });

  test('a translated data connection is translated by the new firewall', async () => {
    await withPair(
      both,
      async (pair) => {
        const { topology } = pair;
        for (const { ns } of [topology.fw1, topology.fw2]) {
          ns.nft(`add rule inet fw as_gateway ip daddr ${SERVER.v4} tcp dport 21 \
            snat ip to ${GATEWAY.srv.v4}`);
        }
        const announced = await announce(pair);
        expect(announced.host).toBe(GATEWAY.srv.v4); // rewritten on its way
        await takeOver(pair, 'ct', 'expect');
        expect(await openData(topology.server, announced)).toBe('open');
      },
      { sync: SYNC },
    );
  });

  test('only the helpers of the list are followed, and the filter counts the others', async () => {
    await withPair(
      both,
      async ({ topology, active }) => {
        await startServer(topology);
        const session = await startFtp(topology.client, SERVER.v4);
        const announced = await session.announce();
        expect(inKernel(topology.fw1)).toContain(`dport=${announced.port}`);
        await waitFor(
          async () => Number(/filtered:\s+(\d+)/i.exec(await active.request(30))?.[1] ?? 0) > 0,
          { for: 'the event to be counted', explain: () => active.request(30) },
        );
        expect(await expectations(active, EXPECT.internal)).toEqual([]);
      },
      { sync: 'Options { ExpectationSync { sip H.323 } }' },
    );
  });

  test('a daemon that starts late learns them from the kernel, and -B tells the backup', async () => {
    await withPair(
      both,
      async (pair) => {
        const { topology, active, backup } = pair;
        const announced = await announce(pair);
        const wanted = `dport=${announced.port}`;
        await active.stop();
        await backup.client('-f');
        expect(await expectations(backup, EXPECT.external)).toEqual([]);
        await active.start();
        expect((await expectations(active, EXPECT.internal)).join()).toContain(wanted);
        await active.greeted();
        await active.client('-B');
        await waitFor(
          async () => (await expectations(backup, EXPECT.external)).join().includes(wanted),
          { for: 'the bulk to bring it', explain: () => backup.log() },
        );
        expect(await active.request(EXPECT.internalXml)).toContain(
          '<helper-name>ftp</helper-name>',
        );
        const [line = ''] = (await active.client('-i', 'expect', '-o', 'json')).split('\n');
        expect(JSON.parse(line)).toMatchObject({
          tuple: { layer4: 'tcp', dport: announced.port },
          master: { dport: 21 },
          helper: 'ftp',
        });
        expect(JSON.parse(line).active).toBeGreaterThanOrEqual(0);
        const statistics = await active.client('-s', 'expect');
        expect(statistics).toMatch(/cache internal:\ncurrent active connections:\t\s+1\n/);
        await active.client('-F', 'expect');
        expect(inKernel(topology.fw1)).not.toContain(wanted);
        await active.client('-R', 'expect');
        expect(await expectations(active, EXPECT.internal)).toEqual([]);
        // Our own flush is no news for the peer; the script's order brings it up to date.
        expect((await expectations(backup, EXPECT.external)).join()).toContain(wanted);
      },
      { sync: SYNC },
    );
  });

  const modes: [string, PairOptions][] = [
    ['without an internal cache', { mode: 'Mode NOTRACK {\n DisableInternalCache on\n }' }],
    ['without an external cache', { mode: 'Mode NOTRACK {\n DisableExternalCache on\n }' }],
    ['in ALARM mode', { mode: 'Mode ALARM {\n RefreshTime 3\n CacheTimeout 8\n }' }],
    ['when the kernel is polled', { general: 'PollSecs 1' }],
  ];

  test.each(modes)('the announced data connection opens %s', async (_name, options) => {
    await withPair(
      both,
      async (pair) => {
        const announced = await announce(pair);
        await takeOver(pair, 'ct', 'expect');
        expect(await openData(pair.topology.server, announced)).toBe('open');
      },
      { sync: SYNC, ...options },
    );
  });

  test('shards in worker threads keep an expectation with its master', async () => {
    await withPair(
      both,
      async (pair) => {
        const announced = await announce(pair);
        await takeOver(pair, 'ct', 'expect');
        expect(await openData(pair.topology.server, announced)).toBe('open');
      },
      { sync: SYNC, general: 'Workers 3' },
    );
  });
});
