// The lab's network: a client and a server, two firewalls between them, and a dedicated link.
//
//        client  10.1.0.2  fd01::2
//           │ lan (bridge)
//      ┌────┴─────┐               gateway  10.1.0.1  fd01::1   (on the active firewall)
//     cli        cli
//   ┌──────┐   ┌──────┐
//   │ fw1  │   │ fw2  │           sync: 192.168.100.1 ─ 192.168.100.2, fd00:100::1 ─ fd00:100::2
//   │   sync───sync   │
//   └──────┘   └──────┘
//     srv        srv
//      └────┬─────┘               gateway  10.2.0.1  fd02::1   (on the active firewall)
//           │ lan (bridge)
//        server  10.2.0.2  fd02::2
//
// Take-over follows VRRP (RFC 9568, 7.3): the gateway addresses have one virtual MAC address per
// side that moves with them, so neighbours keep what they know and only the bridges must learn the
// new port. Setting the address on the interface makes the kernel send a gratuitous ARP
// (sysctl arp_notify), and that frame teaches the bridges, for IPv6 as well.
//
// The firewalls forward only what connection tracking knows or what may begin a flow: a flow that
// the new firewall does not know stands still for ever. That makes replication visible.

import { type Netns, type Run, veth } from './namespace.js';

export const CLIENT = { v4: '10.1.0.2', v6: 'fd01::2' } as const;
export const SERVER = { v4: '10.2.0.2', v6: 'fd02::2' } as const;
export const GATEWAY = {
  cli: { v4: '10.1.0.1', v6: 'fd01::1', mac: '00:00:5e:00:01:01' },
  srv: { v4: '10.2.0.1', v6: 'fd02::1', mac: '00:00:5e:00:01:02' },
} as const;

/** Ports with a meaning in the rule set; everything else is plain. */
export const PORT = {
  plain: 5001,
  udp: 5002,
  /** Dropped by the server: leaves SYN_SENT and unreplied flows. */
  silent: 5999,
  zone: 7007,
  marked: 8080,
  label: 8181,
  /** Source address becomes the gateway's. */
  snat: 9000,
  /** On the gateway; goes to `dnatTarget` of the server. */
  dnat: 9100,
  dnatTarget: 9200,
  /** Gets the kernel's FTP helper. */
  helper: 21,
} as const;

export const MARK = 42;
export const ZONE = 7;
export const LABEL = 5;

export interface Firewall {
  /** `fw1`, `fw2`, and so on. */
  readonly name: string;
  readonly ns: Netns;
  /** Own end of the dedicated link; the interface is called `sync` unless `device` says otherwise. */
  readonly sync: { readonly v4: string; readonly v6: string; readonly device?: string };
  /** Own MAC addresses, worn while the gateway addresses are elsewhere. */
  readonly mac: { readonly cli: string; readonly srv: string };
}

const SIDES = ['cli', 'srv'] as const;

export class Topology {
  readonly client: Netns;
  readonly server: Netns;
  readonly fw1: Firewall;
  readonly fw2: Firewall;

  /** Makes the whole network; fw1 holds the gateway addresses. */
  constructor(readonly run: Run) {
    this.client = run.add('c');
    this.server = run.add('s');
    this.fw1 = makeFirewall(run, 1);
    this.fw2 = makeFirewall(run, 2);
    this.#makeHost(this.client, CLIENT, GATEWAY.cli, 'cli', '02:00:00:00:01:02');
    this.#makeHost(this.server, SERVER, GATEWAY.srv, 'srv', '02:00:00:00:02:02');
    this.server.nft(SERVER_RULES);
    veth(this.fw1.ns, 'sync', this.fw2.ns, 'sync');
    for (const fw of [this.fw1, this.fw2]) {
      fw.ns.ip(
        `addr add ${fw.sync.v4}/24 dev sync`,
        `addr add ${fw.sync.v6}/64 dev sync nodad`,
        ...SIDES.map((side) => `link set ${side} address ${fw.mac[side]}`),
      );
      fw.ns.nft(FIREWALL_RULES);
    }
    this.activate(this.fw1);
  }

  /**
   * One more backup of fw1, number 3 to 9, on a dedicated link of its own. Returns both ends: fw1 as
   * that link sees it (interface `sync<number>`), and the new firewall.
   */
  addBackup(number: number): { active: Firewall; backup: Firewall } {
    const backup = makeFirewall(this.run, number);
    for (const [host, side] of [
      [this.client, 'cli'],
      [this.server, 'srv'],
    ] as const) {
      joinLan(host, backup, side);
      backup.ns.ip(`link set ${side} address ${backup.mac[side]}`);
    }
    const device = `sync${number}`;
    veth(this.fw1.ns, device, backup.ns, 'sync');
    const ends = (last: number) => ({
      v4: `192.168.${110 + number}.${last}`,
      v6: `fd00:${110 + number}::${last}`,
    });
    const active = { ...this.fw1, name: `fw1-${device}`, sync: { ...ends(1), device } };
    const other = { ...backup, sync: ends(2) };
    for (const { ns, sync } of [active, other]) {
      const link = ns === this.fw1.ns ? device : 'sync';
      ns.ip(`addr add ${sync.v4}/24 dev ${link}`, `addr add ${sync.v6}/64 dev ${link} nodad`);
    }
    other.ns.nft(FIREWALL_RULES);
    return { active, backup: other };
  }

  /** The other firewall. */
  peer(fw: Firewall): Firewall {
    return fw === this.fw1 ? this.fw2 : this.fw1;
  }

  /** Puts the gateway addresses on this firewall and tells the neighbours. */
  activate(fw: Firewall): void {
    fw.ns.ip(
      ...SIDES.flatMap((side) => [
        `addr add ${GATEWAY[side].v4}/24 dev ${side}`,
        `addr add ${GATEWAY[side].v6}/64 dev ${side} nodad`,
        // Last: the change of the address is what makes the kernel announce the ones above.
        `link set ${side} address ${GATEWAY[side].mac}`,
      ]),
    );
  }

  /** Takes the gateway addresses off this firewall. */
  release(fw: Firewall): void {
    fw.ns.ip(
      ...SIDES.flatMap((side) => [
        `addr flush dev ${side} scope global`,
        `link set ${side} address ${fw.mac[side]}`,
      ]),
    );
  }

  /** Pulls all cables of this firewall at once, the dedicated link too. */
  cut(fw: Firewall): void {
    fw.ns.ip(...['cli', 'srv', 'sync'].map((link) => `link set ${link} down`));
  }

  /** Plugs a firewall in again that was cut while it held the gateway addresses. */
  plugIn(fw: Firewall): void {
    this.release(fw);
    fw.ns.ip(...['cli', 'srv', 'sync'].map((link) => `link set ${link} up`));
    // Taking a link down forgets its IPv6 addresses.
    fw.ns.ip(`addr replace ${fw.sync.v6}/64 dev sync nodad`);
  }

  #makeHost(
    ns: Netns,
    own: { v4: string; v6: string },
    gateway: { v4: string; v6: string },
    side: 'cli' | 'srv',
    mac: string,
  ): void {
    ns.sysctl(QUIET_IPV6);
    ns.ip('link add lan type bridge forward_delay 0 stp_state 0', `link set lan address ${mac}`);
    for (const fw of [this.fw1, this.fw2]) joinLan(ns, fw, side);
    ns.ip(
      'link set lan up',
      `addr add ${own.v4}/24 dev lan`,
      `addr add ${own.v6}/64 dev lan nodad`,
      `route add default via ${gateway.v4}`,
      `route add default via ${gateway.v6}`,
    );
  }
}

/** Puts a firewall's interface on the bridge of a host. */
function joinLan(host: Netns, fw: Firewall, side: 'cli' | 'srv'): void {
  veth(host, fw.name, fw.ns, side);
  host.ip(`link set ${fw.name} master lan`);
}

const QUIET_IPV6 = {
  'net.ipv6.conf.all.accept_dad': 0,
  'net.ipv6.conf.default.accept_dad': 0,
  'net.ipv6.conf.default.accept_ra': 0,
};

function makeFirewall(run: Run, number: number): Firewall {
  const ns = run.add(`fw${number}`);
  ns.sysctl({
    ...QUIET_IPV6,
    'net.ipv4.ip_forward': 1,
    'net.ipv6.conf.all.forwarding': 1,
    'net.ipv4.conf.all.rp_filter': 0,
    'net.ipv4.conf.default.rp_filter': 0,
    'net.ipv4.conf.all.arp_notify': 1,
    'net.ipv4.conf.default.arp_notify': 1,
    // Never pick up a flow in the middle: only what replication brought may go on.
    'net.netfilter.nf_conntrack_tcp_loose': 0,
    'net.netfilter.nf_conntrack_events': 1,
    // A flow with data under way has another timeout (linux/netfilter/nf_conntrack_tcp.h), which
    // comes and goes without an event: made equal to the normal one so that tables compare.
    'net.netfilter.nf_conntrack_tcp_timeout_unacknowledged': 432000,
    'net.netfilter.nf_conntrack_tcp_timeout_max_retrans': 432000,
  });
  return {
    name: `fw${number}`,
    ns,
    sync: { v4: `192.168.100.${number}`, v6: `fd00:100::${number}` },
    mac: { cli: `02:00:00:00:01:1${number}`, srv: `02:00:00:00:02:1${number}` },
  };
}

const SERVER_RULES = `
table inet host {
  chain input {
    type filter hook input priority filter
    meta l4proto { tcp, udp } th dport ${PORT.silent} drop
  }
}
`;

const FIREWALL_RULES = `
table inet fw {
  ct helper ftp {
    type "ftp" protocol tcp
  }
  chain untracked {
    type filter hook prerouting priority raw
    iifname "sync*" notrack
    tcp dport ${PORT.zone} ct zone set ${ZONE}
    tcp sport ${PORT.zone} ct zone set ${ZONE}
  }
  chain untracked_out {
    type filter hook output priority raw
    oifname "sync*" notrack
  }
  chain forward {
    type filter hook forward priority filter; policy drop
    ct state established,related accept
    ct state invalid counter drop
    iifname "cli" ct state new jump begin
  }
  chain begin {
    tcp dport ${PORT.marked} ct mark set ${MARK}
    tcp dport ${PORT.label} ct label set ${LABEL}
    tcp dport ${PORT.helper} ct helper set "ftp"
    tcp flags & (fin|syn|rst|ack) == syn accept
    meta l4proto { udp, icmp, icmpv6 } accept
  }
  chain to_server {
    type nat hook prerouting priority dstnat
    ip daddr ${GATEWAY.cli.v4} meta l4proto { tcp, udp } th dport ${PORT.dnat} \
      dnat ip to ${SERVER.v4}:${PORT.dnatTarget}
    ip6 daddr ${GATEWAY.cli.v6} meta l4proto { tcp, udp } th dport ${PORT.dnat} \
      dnat ip6 to [${SERVER.v6}]:${PORT.dnatTarget}
  }
  chain as_gateway {
    type nat hook postrouting priority srcnat
    ip daddr ${SERVER.v4} meta l4proto { tcp, udp } th dport ${PORT.snat} \
      snat ip to ${GATEWAY.srv.v4}
    ip6 daddr ${SERVER.v6} meta l4proto { tcp, udp } th dport ${PORT.snat} \
      snat ip6 to ${GATEWAY.srv.v6}
  }
}
`;
