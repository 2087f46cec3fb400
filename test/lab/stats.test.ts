// Stats mode beside the C daemon on the same kernel: the same flows, the same lines.

import { renameSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Collector } from '../../lab/collector.js';
import { C, OURS } from '../../lab/daemon.js';
import { Run } from '../../lab/namespace.js';
import { Topology } from '../../lab/topology.js';
import {
  shortLived,
  startClient,
  startPings,
  startServer,
  unanswered,
  variety,
} from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

const CALENDAR = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\t/;

/** Makes the lab, runs `body`, removes everything whatever happens. */
async function withTopology(body: (topology: Topology, run: Run) => Promise<void>): Promise<void> {
  const run = Run.start();
  try {
    const topology = new Topology(run);
    topology.fw1.ns.sysctl({
      'net.netfilter.nf_conntrack_acct': 1,
      'net.netfilter.nf_conntrack_timestamp': 1,
    });
    await body(topology, run);
  } finally {
    run.remove();
  }
}

/** Flows of every kind, then their end: the kernel's table is flushed. */
async function traffic(topology: Topology): Promise<void> {
  const server = await startServer(topology);
  const plan = [...variety(2), ...unanswered(1), shortLived(2)];
  const client = await startClient(topology, plan);
  const pings = startPings(topology);
  for (const ping of pings) await ping.progress();
  await client.close('tcp-short');
  await waitFor(async () => (await client.tally()).echoed > 100, { for: 'traffic to flow' });
  for (const ping of pings) ping.stop();
  client.stop();
  server.stop();
}

function counts(text: string, name: string): number[] {
  return (new RegExp(`^connections ${name}:(.*)$`, 'm').exec(text)?.[1]?.match(/\d+/g) ?? []).map(
    Number,
  );
}

describeLab('Stats mode', () => {
  test.each([0, 2])('logs the same lines as the C daemon, Workers %i', async (workers) => {
    await withTopology(async (topology, run) => {
      const { ns } = topology.fw1;
      const ours = new Collector(run, ns, OURS, 'ours', { general: `Workers ${workers}` });
      const theirs = new Collector(run, ns, C, 'theirs');
      await Promise.all([ours.start(), theirs.start()]);
      await traffic(topology);
      const living = Number(await ns.exec('conntrack', ['-C']));
      expect(living).toBeGreaterThan(40);
      await ns.exec('conntrack', ['-F']);
      await waitFor(
        () => theirs.flows().length >= living && theirs.flows().length === ours.flows().length,
        {
          for: 'both logs to be as long',
          explain: () => `${ours.flows().length} and ${theirs.flows().length} lines`,
        },
      );
      expect(ours.flows()).toEqual(theirs.flows());
      for (const line of ours.read('flows').trimEnd().split('\n')) expect(line).toMatch(CALENDAR);
      const [mine, other] = await Promise.all([ours.client('-s'), theirs.client('-s')]);
      expect(counts(mine, 'destroyed')).toEqual(counts(other, 'destroyed'));
      const processed = /(\d+) Bytes +(\d+) Pckts/;
      expect(processed.exec(mine)?.slice(1)).toEqual(processed.exec(other)?.slice(1));
      await Promise.all([ours.stop(), theirs.stop()]);
    });
  });

  test('answers the commands of Stats mode, and nothing else', async () => {
    await withTopology(async (topology, run) => {
      const ours = new Collector(run, topology.fw1.ns, OURS, 'ours');
      await ours.start();
      await traffic(topology);
      await waitFor(async () => (await ours.client('-i')).split('\n').length > 40, {
        for: 'the flows in -i',
      });
      expect(await ours.client('-i', '-x')).toContain('<flow>');
      expect(await ours.client('-s', 'cache')).toContain('cache:stats');
      expect(await ours.client('-s', 'process')).toBe('');
      for (const command of [['-e'], ['-c'], ['-B'], ['-n'], ['-t'], ['-f'], ['-s', 'network']]) {
        await expect(ours.client(...command)).rejects.toThrow('in Stats mode');
      }
      await ours.client('-f', 'internal');
      expect(await ours.client('-i')).toBe('');
      expect(ours.flows()).toEqual([]);
      await ours.client('-R');
      expect((await ours.client('-i')).split('\n').length).toBeGreaterThan(40);
      await ours.client('-F');
      await waitFor(() => ours.flows().length > 40, { for: 'a line for each flow that -F ended' });
      await ours.client('-k');
      await waitFor(() => ours.ended, { for: 'the daemon to end after -k' });
    });
  });

  test('SIGHUP: the flow log goes on in a new file after rotation, in the format now asked for', async () => {
    await withTopology(async (topology, run) => {
      const { ns } = topology.fw1;
      const ours = new Collector(run, ns, OURS, 'ours');
      await ours.start();
      const end = async (port: number): Promise<void> => {
        const tuple = ['-s', '1.2.3.4', '-d', '5.6.7.8', '-p', 'udp', '--sport', '9'];
        await ns.exec('conntrack', ['-I', ...tuple, '--dport', `${port}`, '-t', '60']);
        await ns.exec('conntrack', ['-D', ...tuple, '--dport', `${port}`]);
      };
      await end(1);
      await waitFor(() => ours.flows().length === 1, { for: 'the first line' });
      renameSync(ours.path('flows'), ours.path('flows.1'));
      renameSync(ours.path('log'), ours.path('log.1'));
      ours.configure({ stats: 'LogFormat json' });
      ours.signal('SIGHUP');
      await waitFor(() => ours.read('log').includes('configuration reloaded: Stats LogFormat'), {
        for: 'the new log file',
        explain: () => ours.read('log.1'),
      });
      await end(2);
      const line = await waitFor(() => ours.read('flows').trim() || undefined, {
        for: 'a line in the new file',
      });
      expect(JSON.parse(line)).toMatchObject({
        event: 'destroy',
        original: { src: '1.2.3.4', dport: 2 },
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      });
      expect(ours.read('flows.1').trim().split('\n')).toHaveLength(1);
      await ours.stop();
    });
  });
});
