// Several dedicated links: one fails after the other, by its cable or by something in between that
// swallows what it carries, and flows go on being replicated; afterwards the default link is used again.
// Also the kinds of link that the interoperation test leaves out.
//
//   fw1  sync  ───  sync  fw2        192.168.100.1 ─ .2, fd00:100::1 ─ ::2      (default)
//   fw1  sync2 ───  sync2 fw2        192.168.101.1 ─ .2, fd00:101::1 ─ ::2
//   fw1  sync3 ───  sync3 fw2        192.168.102.1 ─ .2, …                      (where four are said)
//   fw1  sync4 ───  sync4 fw2        192.168.103.1 ─ .2, …

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Daemon, multicastLink, OURS, SYNC_PORT, tcpLink, udpLink } from '../../lab/daemon.js';
import { Run, veth } from '../../lab/namespace.js';
import { type Pair, type PairOptions, type Programs, withPair } from '../../lab/pair.js';
import { waitReplicated } from '../../lab/replication.js';
import { missingRoot } from '../../lab/require.js';
import { compareTables, describeDifferences, dumpTable } from '../../lab/table.js';
import { type Firewall, Topology } from '../../lab/topology.js';
import { loadFlows } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describePairings } from './matrix.js';

const BATCH = 40;

type Kind = 'UDP' | 'TCP' | 'Multicast';

const DEVICES = ['sync', 'sync2', 'sync3', 'sync4'] as const;
type Device = (typeof DEVICES)[number];

/** One more cable between the firewalls, not tracked, like the first. */
function oneMoreLink({ fw1, fw2 }: Topology, device: Device): void {
  const network = networkOf(device);
  veth(fw1.ns, device, fw2.ns, device);
  for (const fw of [fw1, fw2]) {
    const number = fw.name.at(-1);
    fw.ns.ip(
      `addr add 192.168.${network}.${number}/24 dev ${device}`,
      `addr add fd00:${network}::${number}/64 dev ${device} nodad`,
    );
    fw.ns.nft(`
table inet ${device} {
  chain in {
    type filter hook prerouting priority raw
    iifname "${device}" notrack
  }
  chain out {
    type filter hook output priority raw
    oifname "${device}" notrack
  }
}`);
  }
}

function networkOf(device: Device): number {
  return 100 + DEVICES.indexOf(device);
}

function section(kind: Kind, device: Device, node: Firewall, peer: Firewall): string {
  const network = networkOf(device);
  const address = (fw: Firewall): string => `192.168.${network}.${fw.name.at(-1)}`;
  const ends =
    kind === 'Multicast'
      ? `IPv4_address 225.0.0.${network}
    IPv4_interface ${address(node)}
    Group ${SYNC_PORT}`
      : `IPv4_address ${address(node)}
    IPv4_Destination_Address ${address(peer)}
    Port ${SYNC_PORT}`;
  return `
  ${kind} ${device === 'sync' ? 'Default ' : ''}{
    ${ends}
    Interface ${device}
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
  }`;
}

/** Two daemons with the first `count` links, the first cable being the default one. */
async function withLinks(
  programs: Programs,
  kind: Kind,
  count: number,
  body: (pair: Pair) => Promise<void>,
): Promise<void> {
  const [first, ...more] = DEVICES.slice(0, count) as [Device, ...Device[]];
  const link = (node: Firewall, peer: Firewall): string =>
    [...more, first].map((device) => section(kind, device, node, peer)).join('');
  const prepare = (topology: Topology): void => {
    for (const device of more) oneMoreLink(topology, device);
  };
  await withPair(programs, body, { prepare, link });
}

/** Creates one more batch of flows in the active kernel. */
async function createFlows({ run, topology }: Pair, batch: number): Promise<void> {
  const lines = Array.from({ length: BATCH }, (_, i) => {
    const tuple = `-s 10.1.7.${batch} -d 10.2.0.2 --sport ${1000 + i} --dport 80`;
    return `-I -p tcp ${tuple} --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 3600\n`;
  });
  const file = join(run.path('flows'), `batch${batch}`);
  writeFileSync(file, lines.join(''));
  await loadFlows(topology.fw1.ns, file);
}

/** The device of the link that a daemon sends on. */
async function usedDevice(daemon: Daemon): Promise<string | undefined> {
  const text = await daemon.client('-s', 'link');
  return /device=(\S+) status=\S+ role=ACTIVE/.exec(text)?.[1];
}

async function bothUse({ active, backup }: Pair, device: string): Promise<void> {
  const used = (): Promise<(string | undefined)[]> =>
    Promise.all([usedDevice(active), usedDevice(backup)]);
  await waitFor(async () => (await used()).every((name) => name === device), {
    for: `both nodes to send over ${device}`,
    timeout: 30_000,
    every: 250,
    explain: async () => `used: ${(await used()).join(', ')}`,
  });
}

interface Fault {
  name: string;
  begin(topology: Topology): void;
  end(topology: Topology): void;
}

const FAULTS: Fault[] = [
  {
    name: 'the cable of the default link is cut',
    begin: ({ fw1 }) => fw1.ns.ip('link set sync down'),
    end: ({ fw1 }) => fw1.ns.ip('link set sync up'),
  },
  {
    name: 'the default link swallows everything in silence',
    begin: (topology) => swallow(topology, 'sync'),
    end: carry,
  },
];

/** A link has carrier and carries nothing. */
function swallow({ fw1, fw2 }: Topology, device: Device): void {
  for (const { ns } of [fw1, fw2]) {
    ns.nft(`
table inet swallow {
  chain arriving {
    type filter hook prerouting priority -400
    iifname "${device}" drop
  }
}`);
  }
}

function carry({ fw1, fw2 }: Topology): void {
  for (const { ns } of [fw1, fw2]) ns.nft('delete table inet swallow');
}

/** Every fault of every kind of link, with the words for the test's name. */
function named(kinds: readonly Kind[]): [string, Kind, Fault][] {
  return kinds.flatMap((kind) =>
    FAULTS.map((fault): [string, Kind, Fault] => [`${kind}: ${fault.name}`, kind, fault]),
  );
}

async function failOver(programs: Programs, kind: Kind, fault: Fault): Promise<void> {
  await withLinks(programs, kind, 2, async (pair) => {
    const { topology, active, backup } = pair;
    await Promise.all([active.greeted(), backup.greeted()]);
    await bothUse(pair, 'sync');
    await createFlows(pair, 1);
    await waitReplicated(active, backup, BATCH);

    fault.begin(topology);
    await createFlows(pair, 2); // nobody has noticed yet
    await bothUse(pair, 'sync2');
    await createFlows(pair, 3);
    await waitReplicated(active, backup, 3 * BATCH);

    fault.end(topology);
    await createFlows(pair, 4);
    await bothUse(pair, 'sync');
    await createFlows(pair, 5);
    await waitReplicated(active, backup, 5 * BATCH);

    for (const daemon of [active, backup]) {
      if (daemon.program !== OURS) continue;
      expect(daemon.log()).toContain("device `sync2' becomes dedicated link");
      expect(daemon.log()).toContain("device `sync' becomes dedicated link");
    }
  });
}

describePairings((programs) => {
  test.each(named(['UDP']))('%s, and is mended', async (_, kind, fault) => {
    await failOver(programs, kind, fault);
  });

  const others: [string, PairOptions][] = [
    ['TCP with sequence tracking', { link: (node, peer) => tcpLink(node, peer) }],
    ['TCP over IPv6', { link: (node, peer) => tcpLink(node, peer, 6) }],
    ['multicast over IPv6', { link: () => MULTICAST_V6 }],
  ];
  test.each(others)('flows are replicated over %s, also after a restart', async (_, options) => {
    await withPair(
      programs,
      async (pair) => {
        await createFlows(pair, 1);
        await waitReplicated(pair.active, pair.backup, BATCH);
        await pair.backup.kill();
        await createFlows(pair, 2);
        pair.backup.removeLock();
        await pair.backup.start();
        await createFlows(pair, 3);
        await pair.active.client('-B');
        await waitReplicated(pair.active, pair.backup, 3 * BATCH);
      },
      options,
    );
  });
});

const MULTICAST_V6 = `
  Multicast {
    IPv6_address ff02::50
    Group ${SYNC_PORT}
    Interface sync
  }`;

const oursOnly: Programs = { active: OURS, backup: OURS };

describe.skipIf(missingRoot() !== undefined)('ours -> ours', () => {
  test.each(named(['TCP', 'Multicast']))('%s, and is mended', async (_, kind, fault) => {
    await failOver(oursOnly, kind, fault);
  });

  // Mostly waiting for silence to mean something: both at the same time.
  test.concurrent.each<Kind>(['UDP', 'Multicast'])(
    '%s: of four links one fails after the other while flows come and go, and the default one is used again',
    async (kind) => {
      await withLinks(oursOnly, kind, 4, async (pair) => {
        const { run, topology, active, backup } = pair;
        const { fw1, fw2 } = topology;
        await Promise.all([active.greeted(), backup.greeted()]);
        await bothUse(pair, 'sync');
        let batch = 0;
        let stop = false;
        const traffic = (async () => {
          while (!stop) {
            await createFlows(pair, ++batch);
            // Every third batch ends again, so that ends cross a change of the link, too.
            if (batch % 3 === 0) {
              await fw1.ns.exec('conntrack', ['-D', '-p', 'tcp', '-s', `10.1.7.${batch}`]);
            }
            await sleep(200);
          }
        })();
        try {
          fw1.ns.ip('link set sync down');
          await bothUse(pair, 'sync2');
          fw2.ns.ip('link set sync2 down');
          await bothUse(pair, 'sync3');
          swallow(topology, 'sync3');
          await bothUse(pair, 'sync4');
          fw2.ns.ip('link set sync2 up');
          fw1.ns.ip('link set sync4 down');
          await bothUse(pair, 'sync2'); // sync3 has carrier, and the peer is not heard there
          carry(topology);
          fw1.ns.ip('link set sync up', 'link set sync4 up');
          await bothUse(pair, 'sync');
        } finally {
          stop = true;
          await traffic;
        }
        const lasting = batch - Math.floor(batch / 3);
        await waitReplicated(active, backup, lasting * BATCH);
        expect(lasting).toBeGreaterThan(5);
        await backup.client('-c');
        const [first, second] = await Promise.all([dumpTable(run, fw1.ns), dumpTable(run, fw2.ns)]);
        expect(first.size).toBe(lasting * BATCH);
        expect(describeDifferences(compareTables(first, second))).toBe('');
        // Acknowledged message by message, nothing was given up and said in bulk.
        for (const daemon of [active, backup]) {
          expect(daemon.log()).not.toContain('sending bulk update');
        }
      });
    },
  );

  const remade: [string, PairOptions][] = [
    ['UDP', {}],
    ['UDP over IPv6', { link: (node, peer) => udpLink(node, peer, 6) }],
    ['multicast', { link: (node) => multicastLink(node) }],
    ['TCP', { link: (node, peer) => tcpLink(node, peer) }],
  ];
  test.each(remade)(
    '%s goes on when its interface was removed and made anew',
    async (_, options) => {
      await withPair(
        oursOnly,
        async (pair) => {
          const { active, backup, topology } = pair;
          const { fw1, fw2 } = topology;
          await createFlows(pair, 1);
          await waitReplicated(active, backup, BATCH);
          fw1.ns.ip('link del sync'); // both ends go
          await createFlows(pair, 2);
          veth(fw1.ns, 'sync', fw2.ns, 'sync');
          await sleep(300); // the interface is there before its addresses are
          for (const { ns, sync } of [fw1, fw2]) {
            ns.ip(`addr add ${sync.v4}/24 dev sync`, `addr add ${sync.v6}/64 dev sync nodad`);
          }
          await createFlows(pair, 3);
          await waitReplicated(active, backup, 3 * BATCH);
        },
        options,
      );
    },
  );

  test('TCP runs over link-local addresses, with the scope of the interface', async () => {
    const address = (fw: Firewall): string => `fe80::7:${fw.name.at(-1)}`;
    const run = Run.start();
    try {
      const topology = new Topology(run);
      const daemons = [topology.fw1, topology.fw2].map((node) => {
        node.ns.ip(`addr add ${address(node)}/64 dev sync nodad`);
        const peer = topology.peer(node);
        const link = `TCP {
    IPv6_address ${address(node)}
    IPv6_Destination_Address ${address(peer)}
    Port ${SYNC_PORT}
    Interface sync
  }`;
        return new Daemon(run, { program: OURS, node, peer, link });
      });
      const [active, backup] = daemons as [Daemon, Daemon];
      await Promise.all([active.start(), backup.start()]);
      await createFlows({ run, topology, active, backup }, 1);
      await waitReplicated(active, backup, BATCH);
      // Flows need one direction only; the backup's own connection may come at its next attempt.
      let text = '';
      await waitFor(
        async () => {
          text = await active.client('-s');
          return text.includes('server=connected client=connected');
        },
        { for: 'both connections', explain: () => text },
      );
    } finally {
      run.remove();
    }
  });
});
