// One end of a dedicated link on the loopback interface, for tests: an arena of its own, a link in
// it, and datagrams in and out as bytes. Needs no privilege.

import * as L from '../../../assembly/layout.js';
import { Backlog } from '../../../src/channel/backlog.js';
import type { DedicatedLink } from '../../../src/channel/link.js';
import { StreamReader } from '../../../src/channel/stream.js';
import { TcpLink } from '../../../src/channel/tcp.js';
import { UdpLink } from '../../../src/channel/udp.js';
import { type Config, parseConfig } from '../../../src/config/index.js';
import { readInterface } from '../../../src/kernel/links.js';
import { addressOf } from '../../../src/kernel/syscalls.js';
import { TestNode } from '../core/arena.js';

export interface EndOptions {
  kind: 'TCP' | 'UDP';
  own: string;
  peer: string;
  port: number;
  /** More lines of the link's section. */
  more?: string;
}

export const ERROR_QUEUE = 4;
export const PAYLOAD = 1400;

/** A port that is probably free. */
export function somePort(): number {
  return 20_000 + Math.floor(Math.random() * 10_000);
}

export class End {
  readonly node: TestNode;
  readonly link: DedicatedLink;
  readonly backlog: Backlog;
  readonly reports: string[] = [];
  private readonly base: number;
  private readonly staging: number;

  constructor(options: EndOptions) {
    this.node = new TestNode({
      hashLimit: 64,
      resendQueueSize: 64,
      payloadMax: PAYLOAD,
      streams: 1,
      errorQueueLength: ERROR_QUEUE,
    });
    const { arena, fn } = this.node;
    this.base = addressOf(arena.memory);
    // Outgoing payloads lie where shards leave theirs.
    this.staging = arena.get(this.node.shard + L.SHARD_OUT);
    arena.armVector(arena.link, this.base);
    this.backlog = new Backlog(arena.bytes, arena.backlog);
    const link = configOf(options).sync!.links[0]!;
    const info = readInterface('lo')!;
    if (options.kind === 'UDP') {
      this.link = new UdpLink(arena, this.base, link, info);
      return;
    }
    const reader = new StreamReader(arena, arena.carries[0]!, (ptr, remain) =>
      fn.frameLengthStream!(ptr, remain),
    );
    const report = (_: string, text: string): void => {
      this.reports.push(text);
    };
    const parts = { arena, base: this.base, backlog: this.backlog, reader, report };
    this.link = new TcpLink(parts, link, info);
  }

  /** Offers datagrams to the link; returns how many it took. */
  send(...datagrams: Uint8Array[]): number {
    const { arena } = this.node;
    let at = this.staging;
    datagrams.forEach((datagram, i) => {
      arena.bytes.set(datagram, at);
      arena.armOutgoing(i, this.base, at, datagram.length);
      at += Math.ceil(datagram.length / 64) * 64;
    });
    return this.link.send(0, datagrams.length);
  }

  /** What has arrived, slot by slot. */
  receive(): Uint8Array[] {
    const { arena } = this.node;
    const count = this.link.receive(arena.link);
    return Array.from({ length: count }, (_, i) => {
      const length = arena.get(arena.link.headers + i * L.MMSG_SIZE + L.MMSG_LEN);
      const slot = arena.link.slots + i * arena.link.slotSize;
      return arena.bytes.slice(slot, slot + length);
    });
  }
}

function configOf({ kind, own, peer, port, more }: EndOptions): Config {
  const text = `Sync {
  Mode FTFW {
  }
  ${kind} {
    IPv4_address ${own}
    IPv4_Destination_Address ${peer}
    Port ${port}
    Interface lo
    ${more ?? ''}
  }
}
General {
}
`;
  return parseConfig(text, 'test.conf').config!;
}

/** A data message of `length` bytes with `fill` behind its header. */
export function message(length: number, fill: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(fill, 8);
  bytes[0] = 0x10;
  bytes[2] = length >> 8;
  bytes[3] = length & 255;
  return bytes;
}
