// `conntrackd -s ready`: the exit status that keepalived may trust, in the situations that an
// operator meets.

import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { C, type Daemon, OURS } from '../../lab/daemon.js';
import { type Pair, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { ROOT } from '../../lab/require.js';
import { GATEWAY } from '../../lab/topology.js';
import { loadFlows } from '../../lab/traffic.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

interface Answer {
  exit: number;
  report: {
    verdict: string;
    reasons: string[];
    messages: { unacknowledged: number; waiting: number; givenUp: number };
    peers: {
      address: string;
      program?: string;
      version?: string;
      mode?: string;
      heard: boolean;
      lag?: number;
      flows?: { internal: number; external: number; ofThem: number };
    }[];
  };
}

const FLOWS = 500;

/** A link that has carrier and carries nothing. */
const SWALLOW = `
table inet swallow {
  chain arriving {
    type filter hook prerouting priority -400
    iifname "sync" drop
  }
}`;

function ready(daemon: Daemon): Promise<Answer> {
  const [ip = '', ...prefix] = daemon.node.ns.prefix;
  const words = [...prefix, OURS.path, '-C', daemon.config, '-s', 'ready', '-o', 'json'];
  return new Promise((resolve, reject) => {
    execFile(ip, words, (error, stdout, stderr) => {
      const exit = error === null ? 0 : error.code;
      if (typeof exit !== 'number' || stdout === '') return reject(new Error(`${stderr} ${error}`));
      resolve({ exit, report: JSON.parse(stdout) as Answer['report'] });
    });
  });
}

/** Exit status of the script that keepalived runs on a node, as it runs it. */
function tracked({ node, config }: Daemon, env: NodeJS.ProcessEnv = {}): Promise<unknown> {
  const [ip = '', ...prefix] = node.ns.prefix;
  const words = [...prefix, join(ROOT, 'contrib', 'check-ready.sh'), GATEWAY.cli.v4];
  const paths = { CONNTRACKD_BIN: OURS.path, CONNTRACKD_CONFIG: config };
  return new Promise((resolve) => {
    execFile(ip, words, { env: { ...process.env, ...paths, ...env } }, (error) => {
      resolve(error === null ? 0 : error.code);
    });
  });
}

/** Waits until the answer has this exit status and, if given, this among its reasons. */
async function waitReady(daemon: Daemon, exit: number, reason = /^/): Promise<Answer['report']> {
  let last: Answer | undefined;
  await waitFor(
    async () => {
      last = await ready(daemon);
      return last.exit === exit && reason.test(last.report.reasons.join('\n'));
    },
    {
      for: `-s ready of ${daemon.label} to exit with ${exit} ${reason}`,
      timeout: 30_000,
      every: 100,
      explain: () => `${JSON.stringify(last)}\n${daemon.log()}`,
    },
  );
  return last!.report;
}

/** Flows in the active kernel, all in the network 10.1.`net`.0. */
async function createFlows({ run, topology }: Pair, net: number): Promise<void> {
  const lines = Array.from({ length: FLOWS }, (_, i) => {
    const tuple = `-s 10.1.${net}.1 -d 10.2.0.2 --sport ${1000 + i} --dport 80`;
    return `-I -p tcp ${tuple} --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 3600\n`;
  });
  const file = join(run.path('flows'), `net${net}`);
  writeFileSync(file, lines.join(''));
  await loadFlows(topology.fw1.ns, file);
}

describeLab('conntrackd -s ready', () => {
  test('is 0 on both nodes of a pair at rest, and tells who the peer is', async () => {
    await withPair({ active: OURS, backup: OURS }, async (pair) => {
      const { active, backup, topology } = pair;
      await createFlows(pair, 7);
      await waitReplicated(active, backup, FLOWS);
      const report = await waitReady(active, 0);
      expect(report.verdict).toBe('ready');
      expect(report.peers).toHaveLength(1);
      expect(report.peers[0]).toMatchObject({
        address: topology.fw2.sync.v4,
        program: 'Flowtwin',
        mode: 'FTFW',
        heard: true,
        flows: { internal: 0, external: FLOWS, ofThem: 0 },
      });
      expect(report.peers[0]!.version).toMatch(/^\d+\.\d+\.\d+$/);
      expect(report.peers[0]!.lag).toBeGreaterThan(0);
      const other = await waitReady(backup, 0);
      expect(other.peers[0]!.flows).toEqual(
        expect.objectContaining({ internal: FLOWS, external: 0, ofThem: FLOWS }),
      );
      expect(await active.client('-s', 'ready')).toMatch(/^ready: yes\npeer 192\.168\.100\.2: /);
    });
  });

  test('is 0 while flows come and go: what the question met is with the peer', async () => {
    await withPair({ active: OURS, backup: OURS }, async (pair) => {
      const { active } = pair;
      await waitReady(active, 0);
      const load = createFlows(pair, 8).then(() => createFlows(pair, 9));
      await waitReady(active, 0);
      await load;
      const { peers } = await waitReady(active, 0);
      expect(peers[0]!.flows!.external).toBe(2 * FLOWS);
    });
  });

  test('is 1 when the peer dies, and 0 again when it is back and complete', async () => {
    await withPair({ active: OURS, backup: OURS }, async (pair) => {
      const { active, backup } = pair;
      await createFlows(pair, 7);
      await waitReady(active, 0);
      await waitReady(backup, 0);
      expect(await tracked(backup)).toBe(0);
      await backup.kill();
      expect(await tracked(backup)).toBe(1);
      const { peers } = await waitReady(active, 1, /no peer is heard/);
      expect(peers[0]).toMatchObject({ heard: false });
      // Whoever holds the address is fit, whatever becomes of its peer.
      expect(await tracked(active)).toBe(0);
      pair.topology.release(pair.topology.fw1);
      expect(await tracked(active)).toBe(1);
      pair.topology.activate(pair.topology.fw1);
      await backup.start();
      await backup.client('-n');
      // Not before it has every flow again.
      const again = await waitReady(active, 0);
      expect(again.peers[0]).toMatchObject({ heard: true, flows: { external: FLOWS } });
      await waitReady(backup, 0);
    });
  });

  test('is 1 when the link has no carrier, and when it carries nothing', async () => {
    await withPair({ active: OURS, backup: OURS }, async (pair) => {
      const { active, backup, topology } = pair;
      await waitReady(active, 0);
      topology.fw2.ns.ip('link set sync down');
      await waitReady(active, 1, /no dedicated link has carrier/);
      topology.fw2.ns.ip('link set sync up');
      await waitReady(active, 0);
      const ends = [topology.fw1.ns, topology.fw2.ns];
      for (const ns of ends) ns.nft(SWALLOW);
      await createFlows(pair, 7);
      // At first the peer does not answer, then it counts as gone.
      const report = await waitReady(active, 1, /did not answer|no peer is heard/);
      expect(report.messages.unacknowledged + report.messages.waiting).toBeGreaterThan(0);
      await waitReady(active, 1, /no peer is heard/);
      for (const ns of ends) ns.nft('delete table inet swallow');
      await waitReady(active, 0);
      await waitReplicated(active, backup, FLOWS);
    });
  });

  test('is 2, cannot say, when the peer is a C daemon', async () => {
    await withPair({ active: OURS, backup: C }, async (pair) => {
      const { active, backup } = pair;
      await createFlows(pair, 7);
      await waitReplicated(active, backup, FLOWS);
      const { verdict, peers } = await waitReady(active, 2, /does not say how far it is/);
      expect(verdict).toBe('cannot say');
      expect(peers[0]).toMatchObject({ heard: true });
      expect(peers[0]).not.toHaveProperty('program');
      expect(await tracked(active)).toBe(0);
      pair.topology.release(pair.topology.fw1);
      expect(await tracked(active)).toBe(2);
      expect(await tracked(active, { READY_UNKNOWN: '0' })).toBe(0);
    });
  });

  test('is 2, cannot say, in ALARM mode', async () => {
    const mode = 'Mode ALARM {\n  }';
    const body = async ({ active }: Pair) => {
      await waitReady(active, 2, /ALARM/);
    };
    await withPair({ active: OURS, backup: OURS }, body, { mode });
  });
});
