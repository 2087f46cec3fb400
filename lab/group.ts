// Three firewalls and more in one multicast group: a switch joins their dedicated links. There is no
// traffic through them; flows are made straight in their kernels.
//
//   fw1  sync ──┐
//   fw2  sync ──┼── switch (bridge)        192.168.100.1, .2, …  fd00:100::1, ::2, …
//   fw3  sync ──┘

import { Daemon, type DaemonOptions, multicastLink, type Program } from './daemon.js';
import { type Netns, Run, veth } from './namespace.js';
import { parseCacheDump } from './replication.js';
import type { Firewall } from './topology.js';
import { waitFor } from './wait.js';

export interface Group {
  readonly run: Run;
  readonly daemons: readonly Daemon[];
}

export type GroupOptions = Partial<Pick<DaemonOptions, 'mode' | 'sync' | 'general'>>;

/** Makes a firewall for each program, starts the daemons, runs `body`, removes everything. */
export async function withGroup(
  programs: readonly Program[],
  body: (group: Group) => Promise<void>,
  options: GroupOptions = {},
): Promise<void> {
  const run = Run.start();
  const daemons: Daemon[] = [];
  try {
    const exchange = run.add('switch');
    exchange.ip('link add lan type bridge forward_delay 0 stp_state 0', 'link set lan up');
    exchange.ip('link set lan type bridge mcast_snooping 0');
    const firewalls = programs.map((_, i) => makeFirewall(run, exchange, i + 1));
    programs.forEach((program, i) => {
      const node = firewalls[i]!;
      const peer = firewalls[(i + 1) % firewalls.length]!;
      const link = multicastLink(node);
      daemons.push(new Daemon(run, { ...options, program, node, peer, link }));
    });
    await Promise.all(daemons.map((daemon) => daemon.start()));
    await body({ run, daemons });
  } catch (error) {
    const logs = daemons.map((daemon) => daemon.log()).join('\n');
    const text = error instanceof Error ? error.message : String(error);
    throw new Error(`${text}\n${logs}`, { cause: error });
  } finally {
    run.remove();
  }
}

function makeFirewall(run: Run, exchange: Netns, number: number): Firewall {
  const name = `fw${number}`;
  const ns = run.add(name);
  const sync = { v4: `192.168.100.${number}`, v6: `fd00:100::${number}` };
  ns.sysctl({ 'net.netfilter.nf_conntrack_events': 1 });
  veth(ns, 'sync', exchange, name);
  exchange.ip(`link set ${name} master lan`);
  ns.ip(`addr add ${sync.v4}/24 dev sync`, `addr add ${sync.v6}/64 dev sync nodad`);
  ns.nft(`
table inet sync {
  chain in {
    type filter hook prerouting priority raw
    iifname "sync" notrack
  }
  chain out {
    type filter hook output priority raw
    oifname "sync" notrack
  }
}`);
  return { name, ns, sync, mac: { cli: '', srv: '' } };
}

/** Waits until each daemon's external cache holds what all the others have, and nothing else. */
export async function waitGroupEqual(
  daemons: readonly Daemon[],
  atLeast: number,
  timeout = 60_000,
): Promise<void> {
  let differences: string[] = [];
  await waitFor(
    async () => {
      const dumps = await Promise.all(
        daemons.map(async (daemon) => ({
          daemon,
          internal: parseCacheDump(await daemon.client('-i')),
          external: parseCacheDump(await daemon.client('-e')),
        })),
      );
      differences = dumps.flatMap(({ daemon, external }) => {
        const others = dumps.filter((other) => other.daemon !== daemon);
        const all = new Map(others.flatMap(({ internal }) => [...internal]));
        const wrong = [...all].filter(([key, seen]) => external.get(key) !== seen);
        const extra = [...external.keys()].filter((key) => !all.has(key));
        return [
          ...wrong.map(
            ([key, seen]) => `${daemon.label}: ${external.get(key)}, not ${seen}: ${key}`,
          ),
          ...extra.map((key) => `${daemon.label} alone: ${key}`),
        ];
      });
      const total = dumps.reduce((sum, { internal }) => sum + internal.size, 0);
      return differences.length === 0 && total >= atLeast;
    },
    {
      for: 'all nodes of the group to know the same flows',
      timeout,
      every: 300,
      explain: () => [`${differences.length} differences`, ...differences.slice(0, 12)].join('\n'),
    },
  );
}
