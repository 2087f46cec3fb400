// The kinds of flows that few networks have, but that a pair of firewalls must carry all the same:
// both addresses translated, ports translated alone, SYN proxy, a NAT helper that shifts sequence
// numbers, and protocols without sockets (see raw.ts). Real packets through the active firewall, on
// top of the traffic of traffic.ts.
//
// The kernel's conntrack has no DCCP any more (removed in 6.14), so DCCP is known on the wire only:
// its vectors are in test/vectors and in the unit tests of the codec.
//
// Sources: nft(8), linux/net/netfilter/nf_synproxy_core.c, nf_nat_ftp.c.

import { type FtpSession, startFtp } from './ftp.js';
import { CHUNK, gre, PROTOCOL, type Sending, sctp, sendRaw, udplite } from './raw.js';
import { CLIENT, type Firewall, GATEWAY, SERVER, type Topology } from './topology.js';
import type { Group } from './traffic.js';

/** Ports of these kinds. The server answers on `SERVED`. */
export const KIND_PORT = {
  /** On the gateway: goes to `bothTarget` of the server with the gateway's source address. */
  both: 9300,
  bothTarget: 9301,
  /** Only the destination port changes. */
  dport: 9400,
  dportTarget: 9401,
  /** Only the source port changes, into `SPORTS`. */
  sport: 9500,
  synproxy: 8443,
  /** FTP control whose source becomes an address of another length. */
  shifted: 2121,
  sctp: 9700,
  udplite: 9800,
} as const;
const SPORTS = '20000-29999';
/** The source address of the shifted FTP session, longer than the client's. */
export const LONG_ADDRESS = '10.2.0.200';

export const SERVED: readonly number[] = [
  KIND_PORT.bothTarget,
  KIND_PORT.dportTarget,
  KIND_PORT.sport,
  KIND_PORT.synproxy,
  KIND_PORT.shifted,
];

const FAMILIES = [
  { ip: 'ip', open: '', close: '', address: 'v4' },
  { ip: 'ip6', open: '[', close: ']', address: 'v6' },
] as const;

function rules(): string {
  const translated = FAMILIES.map(({ ip, open, close, address }) => {
    const server = SERVER[address];
    const host = (port: number) => `${open}${server}${close}:${port}`;
    const ports = (range: string) => `${open}${CLIENT[address]}${close}:${range}`;
    return `
add rule inet fw to_server ${ip} daddr ${GATEWAY.cli[address]} meta l4proto { tcp, udp } \
  th dport ${KIND_PORT.both} dnat ${ip} to ${host(KIND_PORT.bothTarget)}
add rule inet fw to_server ${ip} daddr ${server} meta l4proto { tcp, udp } \
  th dport ${KIND_PORT.dport} dnat ${ip} to ${host(KIND_PORT.dportTarget)}
add rule inet fw as_gateway ${ip} daddr ${server} meta l4proto { tcp, udp } \
  th dport ${KIND_PORT.bothTarget} snat ${ip} to ${GATEWAY.srv[address]}
add rule inet fw as_gateway ${ip} daddr ${server} meta l4proto { tcp, udp } \
  th dport ${KIND_PORT.sport} snat ${ip} to ${ports(SPORTS)}`;
  });
  return `${translated.join('')}
add rule inet fw as_gateway ip daddr ${SERVER.v4} tcp dport ${KIND_PORT.shifted} snat ip to ${LONG_ADDRESS}
add rule inet fw begin meta l4proto { sctp, gre, udplite, ${PROTOCOL.unknown} } accept
insert rule inet fw begin tcp dport ${KIND_PORT.shifted} ct helper set "ftp"
table inet guard {
  chain untracked {
    type filter hook prerouting priority raw
    tcp dport ${KIND_PORT.synproxy} tcp flags & (fin|syn|rst|ack) == syn notrack
  }
  chain proxy {
    type filter hook forward priority filter - 1
    tcp dport ${KIND_PORT.synproxy} ct state invalid,untracked \
      synproxy mss 1460 wscale 7 timestamp sack-perm
  }
}
`;
}

/** Adds the rules to firewalls, and tells the hosts what they must know. */
export function prepareKinds(topology: Topology, firewalls: readonly Firewall[]): void {
  for (const { ns } of firewalls) {
    ns.nft(rules());
    ns.sysctl({
      // The kernel wants the checksum of UDP-Lite with the pseudo-header of UDP: not asked for.
      'net.netfilter.nf_conntrack_checksum': 0,
      // Flows that nobody refreshes outlive the test.
      'net.netfilter.nf_conntrack_generic_timeout': 600,
      'net.netfilter.nf_conntrack_gre_timeout': 600,
      'net.netfilter.nf_conntrack_icmp_timeout': 600,
      'net.netfilter.nf_conntrack_icmpv6_timeout': 600,
      'net.netfilter.nf_conntrack_udp_timeout': 600,
      'net.netfilter.nf_conntrack_udp_timeout_stream': 600,
    });
  }
  topology.server.ip(`route add ${LONG_ADDRESS}/32 via ${GATEWAY.srv.v4}`);
  topology.server.nft(`
table inet raw_protocols {
  chain input {
    type filter hook input priority filter
    meta l4proto { sctp, gre, udplite, ${PROTOCOL.unknown} } drop
  }
}`);
  topology.client.nft(`
table inet raw_protocols {
  chain input {
    type filter hook input priority filter
    meta l4proto { sctp, gre, udplite, ${PROTOCOL.unknown} } drop
  }
}`);
}

/** Long-lived connections of these kinds. */
export function rareVariety(count = 1, everyMs = 100): Group[] {
  const groups: Group[] = [];
  const add = (name: string, proto: 'tcp' | 'udp', host: string, port: number) =>
    groups.push({ name, proto, host, port, count, everyMs });
  for (const family of ['v4', 'v6'] as const) {
    for (const proto of ['tcp', 'udp'] as const) {
      add(`${proto}-${family}-both`, proto, GATEWAY.cli[family], KIND_PORT.both);
      add(`${proto}-${family}-dport`, proto, SERVER[family], KIND_PORT.dport);
      add(`${proto}-${family}-sport`, proto, SERVER[family], KIND_PORT.sport);
    }
    add(`tcp-${family}-synproxy`, 'tcp', SERVER[family], KIND_PORT.synproxy);
  }
  return groups;
}

/** Flows of protocols without sockets that `startRaw` makes. */
export const RAW_FLOWS = 8;

type Ends = { from: string; to: string }[];

/** One answered flow of SCTP (established), GRE, UDP-Lite and an unknown protocol a family. */
export async function startRaw({ client, server }: Topology): Promise<void> {
  const there: Ends = FAMILIES.map(({ address }) => ({
    from: CLIENT[address],
    to: SERVER[address],
  }));
  const back: Ends = there.map(({ from, to }) => ({ from: to, to: from }));
  const ports: [number, number] = [40700, KIND_PORT.sctp];
  const lite: [number, number] = [40800, KIND_PORT.udplite];
  const [own, other] = [0x11111111, 0x22222222];
  const others = (ends: Ends, lites: [number, number]): Sending[] =>
    ends.flatMap(({ from, to }) => [
      sending(PROTOCOL.gre, from, to, gre()),
      sending(PROTOCOL.udplite, from, to, udplite(lites, from, to)),
      sending(PROTOCOL.unknown, from, to, Buffer.from('unknown!')),
    ]);
  const chunks = (ends: Ends, packet: Buffer): Sending[] =>
    ends.map(({ from, to }) => sending(PROTOCOL.sctp, from, to, packet));
  const reversed = ([a, b]: [number, number]): [number, number] => [b, a];
  await sendRaw(client, [
    ...others(there, lite),
    ...chunks(there, sctp(ports, 0, CHUNK.init, own)),
  ]);
  await sendRaw(server, [
    ...others(back, reversed(lite)),
    ...chunks(back, sctp(reversed(ports), own, CHUNK.initAck, other)),
  ]);
  await sendRaw(client, chunks(there, sctp(ports, other, CHUNK.cookieEcho)));
  await sendRaw(server, chunks(back, sctp(reversed(ports), own, CHUNK.cookieAck)));
}

function sending(protocol: number, from: string, to: string, packet: Buffer): Sending {
  return { protocol, from, to, hex: packet.toString('hex') };
}

/** An FTP control connection whose numbers the NAT helper has shifted. Makes one flow. */
export async function startShifted({ client }: Topology): Promise<FtpSession> {
  const session = await startFtp(client, SERVER.v4, KIND_PORT.shifted);
  const { host } = await session.announce();
  if (host !== LONG_ADDRESS) throw new Error(`the helper did not rewrite the address: ${host}`);
  return session;
}
