// Packets of protocols that the machine's kernel has no sockets for: SCTP, GRE, UDP-Lite and one that
// nobody knows, built by hand and sent through raw sockets, as an own process in a namespace:
//
//   node raw.js SENDING...            SENDING is JSON, see `Sending`
//
// Only what connection tracking looks at is filled in: ports, tags, chunk types and valid checksums
// (linux/net/netfilter/nf_conntrack_proto_sctp.c refuses a wrong CRC). The kernel adds the IP header.
// Sources: RFC 9260 (SCTP), RFC 2784 and 2637 (GRE), RFC 3828 (UDP-Lite), raw(7).

import { pathToFileURL } from 'node:url';
import { socketAddress } from '../src/channel/address.js';
import {
  AF_INET,
  AF_INET6,
  close,
  connect,
  SOCK_RAW,
  sendBytes,
  socket,
} from '../src/kernel/syscalls.js';
import type { Netns } from './namespace.js';
import { compiled } from './require.js';

export const PROTOCOL = { gre: 47, sctp: 132, udplite: 136, unknown: 253 } as const;

export interface Sending {
  protocol: number;
  from: string;
  to: string;
  /** Payload of the IP packet. */
  hex: string;
}

/** Sends packets from a namespace. */
export async function sendRaw(ns: Netns, sendings: readonly Sending[]): Promise<void> {
  await ns.exec(process.execPath, [compiled('raw.js'), JSON.stringify(sendings)]);
}

export const CHUNK = { init: 1, initAck: 2, cookieEcho: 10, cookieAck: 11 } as const;

/** An SCTP packet with one chunk; `tag` is the initiate tag of INIT and INIT ACK. */
export function sctp(
  [sport, dport]: readonly [number, number],
  verification: number,
  chunk: number,
  tag?: number,
): Buffer {
  const length = tag === undefined ? 4 : 20;
  const packet = Buffer.alloc(12 + length);
  packet.writeUInt16BE(sport, 0);
  packet.writeUInt16BE(dport, 2);
  packet.writeUInt32BE(verification, 4);
  packet[12] = chunk;
  packet.writeUInt16BE(length, 14);
  if (tag !== undefined) {
    packet.writeUInt32BE(tag, 16);
    packet.writeUInt32BE(65536, 20); // receiver window
    packet.writeUInt16BE(1, 24); // streams out
    packet.writeUInt16BE(1, 26); // streams in
    packet.writeUInt32BE(1, 28); // first sequence number
  }
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

/** A GRE packet of version 0 without key, as any tunnel sends them. */
export function gre(): Buffer {
  return Buffer.from('00000800', 'hex');
}

/** A GRE packet of version 1 (PPTP) with nothing in it; the kernel's key is the call id. */
export function pptp(call: number): Buffer {
  const packet = Buffer.from('3001880b0000000000000001', 'hex'); // key and sequence number present
  packet.writeUInt16BE(call, 6);
  return packet;
}

/** A UDP-Lite datagram, its checksum over everything. */
export function udplite(
  [sport, dport]: readonly [number, number],
  from: string,
  to: string,
): Buffer {
  const packet = Buffer.alloc(12, 'lite');
  packet.writeUInt16BE(sport, 0);
  packet.writeUInt16BE(dport, 2);
  packet.writeUInt16BE(0, 4); // coverage: all
  packet.writeUInt16BE(0, 6);
  const pseudo = Buffer.from([...addressBytes(from), ...addressBytes(to), 0, PROTOCOL.udplite, 0]);
  packet.writeUInt16BE(
    onesComplement(Buffer.concat([pseudo, Buffer.of(packet.length), packet])),
    6,
  );
  return packet;
}

function onesComplement(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff || 0xffff;
}

/** RFC 9260 appendix A, bit by bit. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

function addressBytes(address: string): Uint8Array {
  if (!address.includes(':')) return Uint8Array.from(address.split('.'), Number);
  const [head = '', tail = ''] = address.split('::');
  const words = (part: string) => part.split(':').filter((word) => word !== '');
  const [left, right] = [words(head), words(tail)];
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return Uint8Array.from(
    all.flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 255]),
  );
}

function send({ protocol, to, hex }: Sending): void {
  const v6 = to.includes(':');
  const fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW, protocol);
  connect(fd, socketAddress(v6 ? 6 : 4, addressBytes(to), 0));
  const bytes = Buffer.from(hex, 'hex');
  if (sendBytes(fd, bytes) !== bytes.length) throw new Error(`not sent to ${to}`);
  close(fd);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const sending of JSON.parse(process.argv[2] ?? '[]') as Sending[]) send(sending);
}
