// Three firewalls and more in one multicast group: a switch joins their dedicated links. There is no
// traffic through them; flows are made straight in their kernels.
//
//   fw1  sync ──┐
//   fw2  sync ──┼── switch (bridge)        192.168.100.1, .2, …  fd00:100::1, ::2, …
//   fw3  sync ──┘                          a second switch, 192.168.101.0/24, if told

import { Daemon, type DaemonOptions, multicastLink, type Program } from './daemon.js';
import { type Netns, Run, veth } from './namespace.js';
import { parseCacheDump } from './replication.js';
import type { Firewall } from './topology.js';
import { waitFor } from './wait.js';

export interface Group {
  readonly run: Run;
  readonly daemons: readonly Daemon[];
}

export type GroupOptions = Partial<Pick<DaemonOptions, 'mode' | 'sync' | 'general'>> & {
  /** A second switch, with a link of its own for each: `sync2`, 192.168.101.1, … */
  twoLinks?: boolean;
};

/** Makes a firewall for each program, starts the daemons, runs `body`, removes everything. */
export async function withGroup(
  programs: readonly Program[],
  body: (group: Group) => Promise<void>,
  options: GroupOptions = {},
): Promise<void> {
  const run = Run.start();
  const daemons: Daemon[] = [];
  try {
    const { twoLinks = false, ...shared } = options;
    const exchange = makeSwitch(run, 'switch');
    const second = twoLinks ? makeSwitch(run, 'switch2') : undefined;
    const firewalls = programs.map((_, i) => makeFirewall(run, exchange, i + 1));
    programs.forEach((program, i) => {
      const node = firewalls[i]!;
      const peer = firewalls[(i + 1) % firewalls.length]!;
      const more = second && plugIn(node, second, 'sync2', i + 1);
      const link =
        more === undefined
          ? multicastLink(node)
          : multicastLink(node).replace('Multicast', 'Multicast Default') + multicastLink(more);
      daemons.push(new Daemon(run, { ...shared, program, node, peer, link }));
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

function makeSwitch(run: Run, name: string): Netns {
  const exchange = run.add(name);
  exchange.ip('link add lan type bridge forward_delay 0 stp_state 0', 'link set lan up');
  exchange.ip('link set lan type bridge mcast_snooping 0');
  return exchange;
}

function makeFirewall(run: Run, exchange: Netns, number: number): Firewall {
  const name = `fw${number}`;
  const ns = run.add(name);
  ns.sysctl({ 'net.netfilter.nf_conntrack_events': 1 });
  const mac = { cli: '', srv: '' };
  return plugIn({ name, ns, sync: { v4: '', v6: '' }, mac }, exchange, 'sync', number);
}

/** The firewall with a cable to a switch as its dedicated link, not tracked. */
function plugIn(node: Firewall, exchange: Netns, device: string, number: number): Firewall {
  const { name, ns } = node;
  const network = device === 'sync' ? 100 : 101;
  const sync = { v4: `192.168.${network}.${number}`, v6: `fd00:${network}::${number}`, device };
  veth(ns, device, exchange, name);
  exchange.ip(`link set ${name} master lan`);
  ns.ip(`addr add ${sync.v4}/24 dev ${device}`, `addr add ${sync.v6}/64 dev ${device} nodad`);
  ns.nft(`
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
  return { ...node, sync };
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
