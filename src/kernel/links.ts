// The state of the network interfaces: read once from the system, then kept by rtnetlink
// notifications through the package `netlink` (RTMGRP_LINK). This is control plane: a message now
// and then, so the package's objects are fine here, as they would not be for events of flows.

import { readFileSync } from 'node:fs';
import { createRtNetlink, rt } from 'netlink';
import { interfaceIndex } from './syscalls.js';

const IFF_UP = 0x1;
const DEFAULT_MTU = 1500;

export type LinkStatus = 'RUNNING' | 'NO-CARRIER' | 'DOWN';

export interface InterfaceInfo {
  index: number;
  mtu: number;
  status: LinkStatus;
}

/** What the kernel says of interface `name` now; undefined when there is none. */
export function readInterface(name: string): InterfaceInfo | undefined {
  const index = interfaceIndex(name);
  if (index === 0) return undefined;
  const flags = Number(readSys(name, 'flags') ?? 0);
  const carrier = readSys(name, 'carrier');
  const mtu = Number(readSys(name, 'mtu') ?? DEFAULT_MTU);
  return { index, mtu, status: statusOf((flags & IFF_UP) !== 0, carrier !== '0') };
}

function statusOf(up: boolean, running: boolean): LinkStatus {
  if (!up) return 'DOWN';
  return running ? 'RUNNING' : 'NO-CARRIER';
}

/** /sys may show another namespace's devices or be missing: then the defaults hold. */
function readSys(name: string, file: string): string | undefined {
  try {
    return readFileSync(`/sys/class/net/${name}/${file}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

export interface InterfaceWatcher {
  close(): void;
}

/** Calls `changed` with the new state whenever the kernel reports on one of the interfaces. */
export function watchInterfaces(
  changed: (info: InterfaceInfo) => void,
  failed: (error: Error) => void,
): InterfaceWatcher {
  const socket = createRtNetlink();
  socket.socket.on('error', failed);
  socket.on('message', (messages) => {
    for (const message of messages) {
      if (message.kind !== 'link') continue;
      const { index, flags } = message.data;
      if (index === undefined) continue;
      // A deleted interface reports neither flag.
      const status = statusOf(flags?.up === true, flags?.running === true);
      changed({ index, mtu: message.attrs.mtu ?? DEFAULT_MTU, status });
    }
  });
  socket.addMembership(rt.MulticastGroups.LINK);
  return { close: () => socket.socket.close() };
}
