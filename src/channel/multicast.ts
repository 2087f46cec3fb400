// A dedicated link over multicast: a node sends to a group that all its peers have joined. Datagrams
// never leave the network segment (TTL or hop limit 1) and never come back to their sender (no
// loop). The receiver is bound to the group's address and to the device, so that neither unicast
// traffic to its port nor the same group on another network reaches us.
//
// The device is that of `Interface`; `IPv4_interface` gives the source address on it.
// ip(7), ipv6(7), RFC 1112, RFC 3493 section 5.2.

import type { Arena } from '../cache/arena.js';
import type { Link } from '../config/index.js';
import type { InterfaceInfo } from '../kernel/links.js';
import { bind, requireOption, SO_REUSEADDR, SOL_SOCKET, setOption } from '../kernel/syscalls.js';
import { socketAddress } from './address.js';
import { DatagramLink } from './datagram.js';
import { closeOnFailure, datagramSockets, OPEN_FAILED, openFailed } from './sockets.js';

// linux/in.h
const IPPROTO_IP = 0;
const IP_MULTICAST_IF = 32;
const IP_MULTICAST_TTL = 33;
const IP_MULTICAST_LOOP = 34;
const IP_ADD_MEMBERSHIP = 35;
const IP_MULTICAST_ALL = 49;
// linux/in6.h
const IPPROTO_IPV6 = 41;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_JOIN_GROUP = 20;
const IPV6_MULTICAST_ALL = 29;

export class MulticastLink extends DatagramLink {
  readonly kind = 'multicast';

  /** Opens both sockets and joins the group. Throws SystemCallError when it cannot. */
  constructor(arena: Arena, base: number, link: Link, info: InterfaceInfo) {
    const { receiver, sender } = datagramSockets(link);
    const scope = link.family === 6 ? info.index : 0;
    const group = socketAddress(link.family, link.address.bytes, link.port, scope);
    closeOnFailure([receiver, sender], () => {
      // Any number of receivers may listen to a group.
      setOption(receiver, SOL_SOCKET, SO_REUSEADDR, 1);
      bind(receiver, group, openFailed(link));
      if (link.family === 4) chooseIpv4(receiver, sender, link, info.index);
      else chooseIpv6(receiver, sender, link, info.index);
    });
    super(arena, base, link.interface ?? '', info, { receiver, sender, peer: group });
  }
}

function chooseIpv4(receiver: number, sender: number, link: Link, index: number): void {
  const own = link.interfaceAddress?.bytes ?? new Uint8Array(4);
  const require = (fd: number, name: number, value: number | Uint8Array): void =>
    requireOption(fd, IPPROTO_IP, name, value, OPEN_FAILED);
  // struct ip_mreqn: group, own address, interface index
  require(receiver, IP_ADD_MEMBERSHIP, request(link.address.bytes, own, index));
  require(receiver, IP_MULTICAST_ALL, 0);
  require(sender, IP_MULTICAST_IF, request(new Uint8Array(4), own, index));
  require(sender, IP_MULTICAST_TTL, 1);
  require(sender, IP_MULTICAST_LOOP, 0);
}

function chooseIpv6(receiver: number, sender: number, link: Link, index: number): void {
  const require = (fd: number, name: number, value: number | Uint8Array): void =>
    requireOption(fd, IPPROTO_IPV6, name, value, OPEN_FAILED);
  // struct ipv6_mreq: group, interface index
  require(receiver, IPV6_JOIN_GROUP, request(link.address.bytes, new Uint8Array(0), index));
  require(receiver, IPV6_MULTICAST_ALL, 0);
  require(sender, IPV6_MULTICAST_IF, index);
  require(sender, IPV6_MULTICAST_HOPS, 1);
  require(sender, IPV6_MULTICAST_LOOP, 0);
}

/** Two addresses and an interface index, back to back. */
function request(first: Uint8Array, second: Uint8Array, index: number): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length + 4);
  bytes.set(first);
  bytes.set(second, first.length);
  new DataView(bytes.buffer).setInt32(first.length + second.length, index, true);
  return bytes;
}
