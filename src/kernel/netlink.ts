// A socket of the kernel's netfilter family (NETLINK_NETFILTER): opening, port id, options.
// linux/netlink.h, linux/netfilter/nfnetlink.h. It belongs to the network namespace the process was
// in when it was opened. Never blocks.

import {
  AF_NETLINK,
  bind,
  close,
  EACCES,
  EPERM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SystemCallError,
  setBuffer,
  setOption,
  socket,
  socketName,
} from './syscalls.js';

const NETLINK_NETFILTER = 12;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;

/** Multicast groups as bits of the bind mask (nfnetlink_compat.h). */
export const GROUPS = {
  conntrackNew: 0x1,
  conntrackUpdate: 0x2,
  conntrackDestroy: 0x4,
  expectNew: 0x8,
  expectUpdate: 0x10,
  expectDestroy: 0x20,
} as const;

export const FLOW_EVENTS = GROUPS.conntrackNew | GROUPS.conntrackUpdate | GROUPS.conntrackDestroy;
export const EXPECT_EVENTS = GROUPS.expectNew | GROUPS.expectUpdate | GROUPS.expectDestroy;

/** The process may not talk to the kernel's connection tracking. */
export class MissingCapability extends Error {
  constructor(what: string) {
    super(
      `${what}: permission denied. The capability CAP_NET_ADMIN is needed in this network ` +
        'namespace: run as root, or give the service AmbientCapabilities=CAP_NET_ADMIN',
    );
    this.name = 'MissingCapability';
  }
}

export class NetlinkSocket {
  readonly fd: number;
  /** Port id: the nlmsg_pid that events caused by this socket carry. */
  readonly port: number;

  constructor(what: string, groups = 0) {
    this.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_NETFILTER);
    try {
      const address = new Uint8Array(12); // struct sockaddr_nl
      const view = new DataView(address.buffer);
      view.setUint16(0, AF_NETLINK, true);
      view.setUint32(8, groups, true);
      bind(this.fd, address, what);
    } catch (error) {
      close(this.fd);
      const refused = error instanceof SystemCallError && [EPERM, EACCES].includes(error.errno);
      throw refused ? new MissingCapability(what) : error;
    }
    const name = socketName(this.fd);
    this.port = new DataView(name.buffer).getUint32(4, true);
    // Error replies need not repeat the request: we know what we sent.
    setOption(this.fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  }

  /** Sets the receive buffer to `bytes` as the kernel reports them; returns what is in force. */
  receiveBuffer(bytes: number): number {
    return setBuffer(this.fd, 'receive', bytes);
  }

  sendBuffer(bytes: number): number {
    return setBuffer(this.fd, 'send', bytes);
  }

  option(name: number, value: number): number {
    return setOption(this.fd, SOL_NETLINK, name, value);
  }

  close(): void {
    close(this.fd);
  }
}
