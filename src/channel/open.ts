// The dedicated links of a configuration, opened. All are of one kind (the configuration sees to
// that); what they share, the backlog of TCP, is made here.

import type { Arena } from '../cache/arena.js';
import type { Core } from '../cache/wasm.js';
import type { Link } from '../config/index.js';
import { type InterfaceInfo, readInterface } from '../kernel/links.js';
import { Backlog } from './backlog.js';
import { type DedicatedLink, type LinkKind, payloadMax } from './link.js';
import { DedicatedLinks, type LinkOptions } from './links.js';
import { MulticastLink } from './multicast.js';
import { StreamReader } from './stream.js';
import { TcpLink, type TcpParts } from './tcp.js';
import { UdpLink } from './udp.js';

const KINDS = { UDP: 'udp', Multicast: 'multicast', TCP: 'tcp' } as const;

/** A link of the configuration and what the kernel says of its interface. */
export interface LinkOnDevice {
  link: Link;
  info: InterfaceInfo;
}

export interface LinkParts {
  arena: Arena;
  /** Address of the arena in this process. */
  base: number;
  core: Core;
  report: TcpParts['report'];
}

/** What the arena must know of the links before it is laid out. */
export function linkLimits(links: readonly LinkOnDevice[]): {
  payloadMax: number;
  streams: number;
  multicast: boolean;
  errorQueueLength: number;
} {
  const payloads = links.map(({ link, info }) => payloadMax(kindOf(link), link.family, info.mtu));
  return {
    // Any datagram may leave on any link: the smallest decides.
    payloadMax: Math.min(...payloads),
    streams: links.filter(({ link }) => link.kind === 'TCP').length,
    multicast: links.some(({ link }) => link.kind === 'Multicast'),
    errorQueueLength: Math.max(...links.map(({ link }) => link.errorQueueLength)),
  };
}

/** Opens all links. Throws SystemCallError when one cannot be opened; none is left open then. */
export function openLinks(
  parts: LinkParts,
  links: readonly LinkOnDevice[],
  options: Pick<LinkOptions, 'listening' | 'onMove' | 'onStatus'>,
): DedicatedLinks {
  const backlog = new Backlog(parts.arena.bytes, parts.arena.backlog);
  const opened: DedicatedLink[] = [];
  try {
    links.forEach(({ link, info }, i) => {
      opened.push(openLink(parts, backlog, link, info, i));
    });
  } catch (error) {
    for (const link of opened) link.close();
    throw error;
  }
  const marked = links.findIndex(({ link }) => link.isDefault);
  return new DedicatedLinks(opened, backlog, {
    ...options,
    preferred: Math.max(0, marked),
    lookUp: readInterface,
    reopen: (index, info) => openLink(parts, backlog, links[index]!.link, info, index),
  });
}

function openLink(
  { arena, base, core, report }: LinkParts,
  backlog: Backlog,
  link: Link,
  info: InterfaceInfo,
  index: number,
): DedicatedLink {
  switch (kindOf(link)) {
    case 'udp':
      return new UdpLink(arena, base, link, info);
    case 'multicast':
      return new MulticastLink(arena, base, link, info);
    case 'tcp': {
      const carry = arena.carries[index]!;
      const reader = new StreamReader(arena, carry, core.frameLengthStream);
      return new TcpLink({ arena, base, backlog, reader, report }, link, info);
    }
  }
}

function kindOf({ kind }: Link): LinkKind {
  return KINDS[kind];
}
