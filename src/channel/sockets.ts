// Opening sockets of dedicated links: the options that all kinds share, and no leak when a later
// step fails. socket(7).

import type { Link } from '../config/index.js';
import {
  AF_INET,
  AF_INET6,
  close,
  SO_BINDTODEVICE,
  SO_NO_CHECK,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  setBuffer,
  setOption,
  setOptionBytes,
  socket,
} from '../kernel/syscalls.js';

/** What the C daemon says when a link cannot be opened. */
export const OPEN_FAILED = "can't open channel socket";

/** The same with what was to be opened: an operator with four links wants to know which. */
export function openFailed(link: Link): string {
  return `${OPEN_FAILED} (${link.kind} ${link.address.text} port ${link.port} on ${link.interface})`;
}

/** Runs `open`; when it throws, closes `fds` before the error goes on. */
export function closeOnFailure(fds: readonly number[], open: () => void): void {
  try {
    open();
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}

/** A socket to receive on and one to send from, on the link's device, with its buffers. */
export function datagramSockets(link: Link): { receiver: number; sender: number } {
  const receiver = linkSocket(link, SOCK_DGRAM);
  const sender = linkSocket(link, SOCK_DGRAM);
  receiveBuffer(receiver, link);
  sendBuffer(sender, link);
  if (!link.checksum) setOption(sender, SOL_SOCKET, SO_NO_CHECK, 1);
  return { receiver, sender };
}

/** A stream socket of the link's family on its device. */
export function streamSocket(link: Link): number {
  return linkSocket(link, SOCK_STREAM);
}

export function receiveBuffer(fd: number, link: Link): void {
  if (link.rcvSocketBuffer) setBuffer(fd, 'receive', link.rcvSocketBuffer * 2);
}

export function sendBuffer(fd: number, link: Link): void {
  if (link.sndSocketBuffer) setBuffer(fd, 'send', link.sndSocketBuffer * 2);
}

function linkSocket(link: Link, type: number): number {
  const domain = link.family === 4 ? AF_INET : AF_INET6;
  const fd = socket(domain, type | SOCK_NONBLOCK, 0);
  // Best effort: without the capability the address alone keeps strangers out.
  const device = new TextEncoder().encode(`${link.interface ?? ''}\0`);
  setOptionBytes(fd, SOL_SOCKET, SO_BINDTODEVICE, device);
  return fd;
}
