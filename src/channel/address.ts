// Socket addresses as the kernel wants them (linux/in.h, linux/in6.h).

import { AF_INET, AF_INET6 } from '../kernel/syscalls.js';

/** struct sockaddr_in or sockaddr_in6. `scope` is the interface index of IPv6 link-local addresses. */
export function socketAddress(
  family: 4 | 6,
  address: Uint8Array,
  port: number,
  scope = 0,
): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port, false);
  bytes.set(address, family === 4 ? 4 : 8);
  if (family === 6) view.setUint32(24, scope, true);
  return bytes;
}

/** struct sockaddr of no family: connecting to it undoes a connect(2) of a datagram socket. */
export const NO_ADDRESS = new Uint8Array(16);
