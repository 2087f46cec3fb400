// Masters: the flows whose helper has just announced a connection, read from the kernel once more.
//
// A helper that rewrites an announcement of a translated flow (the PORT of an FTP session behind
// SNAT) makes it longer or shorter, and from then on the kernel shifts the flow's sequence numbers.
// It tells nobody: no event carries the shift (linux/net/netfilter/nf_conntrack_seqadj.c). Without it
// the session would break at the backup, with the first byte behind the announcement. The event of
// the expectation comes just before the rewriting, so a moment later one GET by the master's tuple
// brings what there is to know, and only flows that are shifted go on as an update of theirs.
//
// Main owns this. What is noted is bounded; one look at the kernel a moment, for all of them at once.
// Source: linux/netfilter/nfnetlink_conntrack.h (enum ctattr_expect, enum ctattr_type).

import { VERB } from '../cache/verbs.js';
import { NetlinkSocket } from '../kernel/netlink.js';
import { EINTR, errno, MSG_DONTWAIT, MSG_NOSIGNAL, recv, send } from '../kernel/syscalls.js';
import { gatherDump, giveListed, type TableParts } from '../kernel/table.js';

const HEADERS = 20; // nlmsghdr, nfgenmsg
const NLMSG_PID = 12;
const CT_GET = 0x101;
const EXP_NEW = 0x200;
const NLM_F_REQUEST = 1;
const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;
const EXPECT = { master: 1, zone: 7 } as const;
const CTA = { tupleOrig: 1, seqAdjOrig: 15, zone: 18 } as const;
/** Masters of one moment; more are read with their next announcement. */
const MOST = 1024;
/** Longest request: IPv6 tuple and zone. */
const REQUEST_MAX = 128;

export class Masters {
  private readonly socket = new NetlinkSocket("can't read masters of expectations");
  /** Requests by their bytes: each master once. */
  private readonly noted = new Map<string, Buffer>();

  constructor(private readonly parts: TableParts) {
    this.socket.receiveBuffer(2 ** 20);
  }

  /** Anything to read? */
  get waiting(): boolean {
    return this.noted.size > 0;
  }

  /** Remembers the masters of the `count` events of expectations listed at `list`. */
  note(list: number, count: number): void {
    const { arena } = this.parts;
    for (let i = 0; i < count && this.noted.size < MOST; i++) {
      const at = arena.get(list + i * 4);
      const bytes = Buffer.from(arena.memory.buffer, at, arena.get(at));
      if (bytes.length < HEADERS || bytes.readUInt16LE(4) !== EXP_NEW) continue;
      // Only a helper's own: what we commit or inject is a peer's, and known.
      if (bytes.readUInt32LE(NLMSG_PID) !== 0) continue;
      const request = requestOf(bytes);
      if (request !== undefined) this.noted.set(request.toString('latin1'), request);
    }
  }

  /** Reads them; those whose numbers are shifted become events of their shards. */
  async read(): Promise<void> {
    const requests = [...this.noted.values()];
    this.noted.clear();
    for (const request of requests) {
      const length = this.ask(request);
      if (length === 0) continue;
      gatherDump(this.parts, length);
      await giveListed(this.parts, VERB.events);
    }
  }

  close(): void {
    this.socket.close();
  }

  /** Bytes of the answer, now in arena.dump.buffer; 0 when there is none or nothing is shifted. */
  private ask(request: Buffer): number {
    const { arena, base } = this.parts;
    const { buffer, size } = arena.dump;
    arena.bytes.set(request, buffer);
    if (send(this.socket.fd, base + buffer, request.length, MSG_NOSIGNAL) < 0) return 0;
    for (;;) {
      const length = recv(this.socket.fd, base + buffer, size, MSG_DONTWAIT);
      if (length < 0 && errno() === EINTR) continue;
      if (length < HEADERS) return 0;
      const answer = Buffer.from(arena.memory.buffer, buffer, length);
      return attribute(answer, CTA.seqAdjOrig) === undefined ? 0 : length;
    }
  }
}

/** The GET of an expectation's master; undefined when the event does not name it. */
export function requestOf(event: Buffer): Buffer | undefined {
  const master = attribute(event, EXPECT.master);
  if (master === undefined) return undefined;
  const zone = attribute(event, EXPECT.zone);
  const parts = [attributeBytes(NESTED | CTA.tupleOrig, master)];
  if (zone !== undefined) parts.push(attributeBytes(CTA.zone, zone));
  const request = Buffer.concat([event.subarray(0, HEADERS), ...parts]);
  if (request.length > REQUEST_MAX) return undefined;
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(CT_GET, 4);
  request.writeUInt16LE(NLM_F_REQUEST, 6);
  request.fill(0, 8, 16); // sequence, port
  return request;
}

function attributeBytes(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

/** Payload of the first attribute of this type behind the headers of a message. */
function attribute(message: Buffer, wanted: number): Buffer | undefined {
  for (let at = HEADERS; at + 4 <= message.length; ) {
    const length = message.readUInt16LE(at);
    if (length < 4 || at + length > message.length) return undefined;
    if ((message.readUInt16LE(at + 2) & TYPE_MASK) === wanted) {
      return message.subarray(at + 4, at + length);
    }
    at += (length + 3) & ~3;
  }
  return undefined;
}
