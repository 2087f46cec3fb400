// Fail-over under real applications that the kernel's helpers follow: an FTP transfer goes on and the
// next one begins, a SIP call keeps its voice and hangs up in order, a TFTP transfer announced to the
// old firewall comes through the new one. Each needs the flow with its helper, its related flows with
// their master, and the expectations: the firewalls let nobody else begin a flow towards the client.
//
// H.323 has no agent in Debian that runs without a terminal: lab/h323.ts speaks its messages.

import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  APPLICATION,
  call,
  fetchByFtp,
  fetchByTftp,
  helperRules,
  MEDIA,
} from '../../lab/applications.js';
import { OURS, REQUEST } from '../../lab/daemon.js';
import { GATEKEEPER_PORT, startH323 } from '../../lab/h323.js';
import { type Pair, type PairOptions, withPair } from '../../lab/pair.js';
import { missingPrograms } from '../../lab/require.js';
import { CLIENT, SERVER } from '../../lab/topology.js';
import { Endpoint } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describePairings } from './matrix.js';

/** Where the second call wants its voice. */
const LATER = MEDIA + 10;

const SETUP: PairOptions = {
  sync: 'Options { ExpectationSync on }',
  prepare: ({ fw1, fw2 }) => {
    for (const fw of [fw1, fw2]) helperRules(fw);
  },
};
const INJECTED: PairOptions = { ...SETUP, mode: 'Mode FTFW {\n    DisableExternalCache On\n  }' };

/** Tests of an application, skipped with a line where it is missing. */
function testWith(programs: readonly string[]) {
  const missing = missingPrograms(programs);
  if (missing) process.stderr.write(`tests are skipped: ${missing}\n`);
  return test.skipIf(missing !== undefined);
}

/** Waits until the backup knows this many flows and expectations that match. */
async function waitKnown(pair: Pair, flow: RegExp, flows: number, expectation?: RegExp) {
  const { backup, topology } = pair;
  const count = (text: string, pattern: RegExp) =>
    text.split('\n').filter((line) => pattern.test(line)).length;
  const all = async () => {
    // With direct injection it is the kernel that knows.
    const kernel = topology.fw2.ns.execSync('conntrack', ['-L']);
    return (await backup.request(REQUEST.external)) + kernel;
  };
  const expected = async () =>
    (await backup.request(EXTERNAL_EXPECTATIONS)) +
    topology.fw2.ns.execSync('conntrack', ['-L', 'expect']);
  await waitFor(
    async () =>
      count(await all(), flow) >= flows &&
      (expectation === undefined || count(await expected(), expectation) > 0),
    {
      for: `the backup to know ${flow} ${expectation ?? ''}`,
      explain: async () => [await all(), await expected(), backup.log()].join('\n'),
    },
  );
}
const EXTERNAL_EXPECTATIONS = 41;

async function takeOver({ topology, backup }: Pair, commit: boolean): Promise<void> {
  for (const kind of commit ? ['ct', 'expect'] : []) await backup.client('-c', kind);
  topology.release(topology.fw1);
  topology.activate(topology.fw2);
}

describePairings((programs) => {
  const rows: [string, PairOptions, boolean][] = [['committed', SETUP, true]];
  // C drops class and translation of expectations, but these need neither. Its injection is its own.
  if (programs.backup === OURS) rows.push(['injected', INJECTED, false]);

  testWith(APPLICATION.ftp).each(rows)(
    'FTP: a transfer goes on, the next begins: %s',
    async (_, options, commit) => {
      await withPair(
        programs,
        async (pair) => {
          const files = { slow: randomBytes(900_000), after: randomBytes(50_000) };
          const got = await fetchByFtp(pair.run, pair.topology, files, 200_000);
          await got.progress(100_000);
          await waitKnown(pair, /tcp .*sport=\d+ dport=\d+ .*(ASSURED|ESTABLISHED)/, 2);
          await takeOver(pair, commit);
          const [slow, after] = await got.finish();
          expect(slow?.equals(files.slow)).toBe(true);
          expect(after?.equals(files.after)).toBe(true);
        },
        options,
      );
    },
  );

  testWith(APPLICATION.sip).each(rows)(
    'SIP: a call keeps its voice and hangs up: %s',
    async (_, options, commit) => {
      await withPair(
        programs,
        async (pair) => {
          const { run, topology } = pair;
          const ports = [MEDIA, MEDIA + 1];
          await Endpoint.start(topology.client, 'server', ports.map(String));
          const talk = await call(run, topology, 8);
          await waitFor(
            () =>
              topology.fw1.ns.execSync('conntrack', ['-L', 'expect']).includes(`dport=${MEDIA}`),
            { for: 'the helper to hear of the voice' },
          );
          const speak = (port: number) =>
            Endpoint.start(topology.server, 'client', [
              JSON.stringify([
                { name: 'voice', proto: 'udp', host: CLIENT.v4, port, count: 1, everyMs: 20 },
              ]),
            ]);
          const voice = await speak(MEDIA);
          expect(await voice.probe(5000)).toEqual({ voice: 1 });
          // The voice is a flow by now; its control (RTCP) is announced and has not begun. The C
          // daemon misses that: the call's first packet announces it, before its flow is known.
          const announced = programs.active === OURS;
          await waitKnown(
            pair,
            new RegExp(`udp .*dport=${MEDIA} `),
            1,
            announced ? new RegExp(`dport=${MEDIA + 1} `) : undefined,
          );
          await takeOver(pair, commit);
          expect(await voice.probe(5000)).toEqual({ voice: 1 });
          if (announced) {
            const control = await speak(MEDIA + 1);
            expect(await control.probe(5000)).toEqual({ voice: 1 });
          }
          await talk.finish();
        },
        options,
      );
    },
  );

  testWith(APPLICATION.tftp).each(rows)(
    'TFTP: what the old firewall was told of comes through the new one: %s',
    async (_, options, commit) => {
      await withPair(
        programs,
        async (pair) => {
          const { run, topology } = pair;
          // The old firewall's helper hears the request; the data never reaches its conntrack.
          topology.fw1.ns.nft(`
table inet deaf {
  chain arriving {
    type filter hook prerouting priority -400
    iifname "srv" meta l4proto udp drop
  }
}`);
          const file = randomBytes(200_000);
          const got = await fetchByTftp(run, topology, file);
          await waitKnown(pair, /udp .*dport=69 /, 1, /helper=tftp/);
          await takeOver(pair, commit);
          const [received] = await got.finish();
          expect(received?.equals(file)).toBe(true);
        },
        options,
      );
    },
  );

  test.each(rows)(
    'H.323: gatekeeper and channel announced to the old firewall open at the new one: %s',
    async (_, options, commit) => {
      await withPair(
        programs,
        async (pair) => {
          const { topology } = pair;
          const callee = await startH323(topology.server, 'callee', SERVER.v4);
          const caller = await startH323(topology.client, 'caller', SERVER.v4);
          // RAS announces where the gatekeeper is asked from now on.
          expect(await caller.ask('register')).toBe(`${GATEKEEPER_PORT}`);
          // The first call comes as far as its voice, which is announced and has not begun. The backup
          // hears of that, but no kernel takes it over: ctnetlink finds the helper H.245 under UDP alone
          // and refuses a channel over TCP that has it. Of the second call only the signalling is
          // there, which announces the channel.
          const known = (flow: RegExp, expectation: RegExp) =>
            waitKnown(pair, flow, 1, expectation);
          const first = await caller.ask(`call ${MEDIA}`);
          expect(await callee.ask('channel')).toBe('open');
          if (commit) await known(new RegExp(`dport=${first} `), new RegExp(`dport=${MEDIA} `));
          const second = await caller.ask(`call ${LATER}`);
          await known(/udp .*dport=1719 .*helper=RAS/, new RegExp(`dport=${GATEKEEPER_PORT} `));
          await known(/tcp .*dport=1720 .*helper=Q\.931/, new RegExp(`dport=${second} `));
          await takeOver(pair, commit);
          expect(await callee.ask('channel')).toBe('open');
          const announced = (): boolean =>
            topology.fw2.ns
              .execSync('conntrack', ['-L', 'expect'])
              .includes(`dport=${GATEKEEPER_PORT} `);
          await waitFor(announced, {
            for: 'the new firewall to expect the gatekeeper to be asked',
          });
          expect(await caller.ask(`ask ${GATEKEEPER_PORT}`)).toBe('asked');
          await waitFor(() => !announced(), { for: 'the gatekeeper to be asked as announced' });
        },
        options,
      );
    },
  );
});
