// A dedicated link over UDP: bound to our address to receive, aimed at the peer's fixed port from
// any source port of ours to send. The link's interface gives the datagram size (its MTU), the scope
// of link-local addresses, and the device both sockets are bound to, so that nothing is accepted
// from another network. udp(7), ipv6(7).

import type { Arena } from '../cache/arena.js';
import type { Link } from '../config/index.js';
import type { InterfaceInfo } from '../kernel/links.js';
import { bind } from '../kernel/syscalls.js';
import { socketAddress } from './address.js';
import { DatagramLink } from './datagram.js';
import { closeOnFailure, datagramSockets, openFailed } from './sockets.js';

export class UdpLink extends DatagramLink {
  readonly kind = 'udp';

  /** Opens both sockets. Throws SystemCallError with the C daemon's words when it cannot. */
  constructor(arena: Arena, base: number, link: Link, info: InterfaceInfo) {
    const { receiver, sender } = datagramSockets(link);
    const scope = link.family === 6 ? info.index : 0;
    closeOnFailure([receiver, sender], () => {
      const own = socketAddress(link.family, link.address.bytes, link.port, scope);
      bind(receiver, own, openFailed(link));
    });
    const peer = socketAddress(link.family, link.destination.bytes, link.port, scope);
    super(arena, base, link.interface ?? '', info, { receiver, sender, peer });
  }
}
