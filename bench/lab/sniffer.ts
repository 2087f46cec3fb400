// When flows reached the dedicated link: a process in the backup's namespace with a packet socket on
// the link. The kernel stamps every datagram on arrival (SO_TIMESTAMPNS, clock of the machine); the
// messages in it are walked for address and port of the original tuple, which name the flow.
//
// Datagrams queue in the socket's buffer and are read every few milliseconds, so that reading them
// disturbs nobody much. A second thread notes when the daemon there has read what arrived (queue.ts).
//
// Command line: DEVICE PID PORT. Answers `{"do":"save","file":...,"from":...,"count":...}` with two
// times of each flow, seen on the link and read by the daemon (i64 ns since the epoch, 0: never).
// Source: packet(7), docs/wire-protocol.md.

import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { MMSG_LEN, MMSG_SIZE } from '../../assembly/layout.js';
import {
  bind,
  close,
  interfaceIndex,
  MSG_DONTWAIT,
  recvmmsg,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  setBuffer,
  setOption,
  socket,
} from '../../src/kernel/syscalls.js';
import { namesInDatagram } from './message.js';
import { emptyTimes, firstFrom, forget, makeShared, stopWatch } from './queue.js';

const AF_PACKET = 17;
const ETH_P_IP = 0x0800;
const SO_TIMESTAMPNS = 35;
const COUNT = 256;
const SLOT = 2048;
const CONTROL = 64;
const IOVEC = 16;
const EVERY = 4; // ms
/** Looks into the daemon's queue that fit: over a minute of them. */
const LOOKS = 600_000;
/** A datagram is on the link a little before it is in the daemon's queue. */
const HOP = 20_000n; // ns

const memory = new ArrayBuffer(COUNT * (MMSG_SIZE + IOVEC + CONTROL + SLOT));
const view = new DataView(memory);
const base = Number(koffi.address(new Uint8Array(memory)));
const IOVECS = COUNT * MMSG_SIZE;
const CONTROLS = IOVECS + COUNT * IOVEC;
const SLOTS = CONTROLS + COUNT * CONTROL;
const times = new Map<number, bigint>();

/** A socket that gets a copy of every IPv4 packet that arrives on the device. */
function open(device: string): number {
  const fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  setBuffer(fd, 'receive', 256 * 2 ** 20);
  setOption(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
  const address = new DataView(new ArrayBuffer(20)); // struct sockaddr_ll
  address.setUint16(0, AF_PACKET, true);
  address.setUint16(2, ETH_P_IP);
  address.setUint32(4, interfaceIndex(device), true);
  bind(fd, new Uint8Array(address.buffer));
  return fd;
}

function arm(): void {
  for (let i = 0; i < COUNT; i++) {
    const header = i * MMSG_SIZE;
    const iovec = IOVECS + i * IOVEC;
    view.setBigUint64(header + 16, BigInt(base + iovec), true);
    view.setBigUint64(header + 24, 1n, true);
    view.setBigUint64(header + 32, BigInt(base + CONTROLS + i * CONTROL), true);
    view.setBigUint64(header + 40, BigInt(CONTROL), true);
    view.setBigUint64(iovec, BigInt(base + SLOTS + i * SLOT), true);
    view.setBigUint64(iovec + 8, BigInt(SLOT), true);
  }
}

/** Reads what is queued and notes the first time of each flow. */
function drain(fd: number): void {
  for (;;) {
    arm();
    const count = recvmmsg(fd, base, COUNT, MSG_DONTWAIT, 0);
    for (let i = 0; i < count; i++) {
      const length = Math.min(view.getUint32(i * MMSG_SIZE + MMSG_LEN, true), SLOT);
      const control = CONTROLS + i * CONTROL;
      // struct cmsghdr is 16 bytes, struct timespec follows.
      const time =
        view.getBigInt64(control + 16, true) * 1_000_000_000n +
        view.getBigInt64(control + 24, true);
      for (const flow of namesInDatagram(view, SLOTS + i * SLOT, length)) {
        if (!times.has(flow)) times.set(flow, time);
      }
    }
    if (count < COUNT) return;
  }
}

const [device = 'sync', pid, port] = process.argv.slice(2);
const shared = makeShared(LOOKS);
const watcher = new Worker(new URL('queue.js', import.meta.url), {
  workerData: { watchQueue: true, shared, pid: Number(pid), port: Number(port) },
});
watcher.once('error', (error) => {
  process.stdout.write(`${JSON.stringify({ error: error.message })}\n`);
});
await new Promise((resolve) => watcher.once('online', resolve));
const fd = open(device);
const timer = setInterval(() => drain(fd), EVERY);
process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { file, from, count } = JSON.parse(line) as { file: string; from: number; count: number };
  drain(fd);
  const stamps = new BigInt64Array(2 * count);
  const empty = emptyTimes(shared);
  for (let i = 0; i < count; i++) {
    const seen = times.get(from + i) ?? 0n;
    stamps[2 * i] = seen;
    stamps[2 * i + 1] = seen === 0n ? 0n : firstFrom(empty, seen + HOP);
  }
  writeFileSync(file, stamps);
  times.clear();
  forget(shared);
  process.stdout.write('{"saved":true}\n');
}
clearInterval(timer);
stopWatch(shared);
close(fd);
