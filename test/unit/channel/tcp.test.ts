// Dedicated links over TCP between two ends on the loopback interface: connections that come, go and
// break in the middle of a message. The clock of reconnection is the test's own.

import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { TcpLink } from '../../../src/channel/tcp.js';
import { End, type EndOptions, ERROR_QUEUE, message, PAYLOAD, somePort } from './ends.js';

const A = '127.0.0.1';
const B = '127.0.0.2';

let opened: { close(): void }[] = [];

afterEach(() => {
  for (const thing of opened) thing.close();
  opened = [];
});

function open(options: Omit<EndOptions, 'kind'>): End {
  const end = new End({ kind: 'TCP', ...options });
  opened.push(end.link);
  return end;
}

function openPair(more = ''): { port: number; a: End; b: End } {
  const port = somePort();
  const a = open({ own: A, peer: B, port, more });
  const b = open({ own: B, peer: A, port, more });
  return { port, a, b };
}

/** Turns both ends until `done`; the clock runs ten times as fast as it does outside. */
async function turn(ends: readonly End[], done: () => boolean): Promise<void> {
  const start = performance.now();
  for (let i = 0; !done(); i++) {
    if (i > 3000) throw new Error(`not done; ${ends.map((end) => end.reports.join(', '))}`);
    for (const end of ends) end.link.tend(start + (performance.now() - start) * 10, true);
    await sleep(1);
  }
}

const connected = (end: End): boolean => end.link.clientConnected! && end.link.serverConnected!;

function size(slots: readonly Uint8Array[]): number {
  return slots.reduce((sum, slot) => sum + slot.length, 0);
}

/** A client of the test's own, to say what no daemon says. */
async function stranger(port: number, host: string): Promise<Socket> {
  const socket = connect(port, host);
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  opened.push({ close: () => socket.destroy() });
  return socket;
}

describe('two ends', () => {
  test('connect to each other and send on the connection they opened', async () => {
    const { a, b } = openPair();
    await turn([a, b], () => connected(a) && connected(b));
    expect(a.send(message(80, 1), message(16, 2))).toBe(2);
    expect(b.send(message(24, 3))).toBe(1);
    const gotB: Uint8Array[] = [];
    const gotA: Uint8Array[] = [];
    await turn([a, b], () => {
      gotB.push(...b.receive());
      gotA.push(...a.receive());
      return size(gotB) === 96 && size(gotA) === 24;
    });
    expect(a.link).toMatchObject({ bytesSent: 96, packetsSent: 2, bytesReceived: 24 });
    expect(a.link).toMatchObject({ sendErrors: 0, receiveErrors: 0 });
  });

  test('finish what the kernel took in part before anything else', async () => {
    const { a, b } = openPair('SndSocketBuffer 2304\n    RcvSocketBuffer 2304');
    await turn([a, b], () => connected(a) && connected(b));
    const total = 400;
    const got: Uint8Array[] = [];
    let sent = 0;
    let parts = 0;
    await turn([a, b], () => {
      while (sent < total && a.send(message(PAYLOAD, sent & 255)) === 1) {
        sent++;
        if (a.backlog.written > 0) parts++;
      }
      got.push(...b.receive());
      return size(got) === total * PAYLOAD;
    });
    expect(parts).toBeGreaterThan(0); // otherwise this proves little
    const stream = Buffer.concat(got);
    for (let i = 0; i < total; i++) {
      const part = stream.subarray(i * PAYLOAD, (i + 1) * PAYLOAD);
      expect(part.equals(Buffer.from(message(PAYLOAD, i & 255)))).toBe(true);
    }
    expect(a.link.bytesSent).toBe(total * PAYLOAD);
    expect(a.link.packetsSent).toBe(total);
  });
});

describe('a peer that is not there', () => {
  test('gets the newest ErrorQueueLength datagrams first when it comes', async () => {
    const port = somePort();
    const a = open({ own: A, peer: B, port });
    for (let i = 1; i <= ERROR_QUEUE + 3; i++) expect(a.send(message(PAYLOAD, i))).toBe(1);
    expect(a.backlog.elements).toBe(ERROR_QUEUE);
    expect(a.link.sendErrors).toBe(3);
    const b = open({ own: B, peer: A, port });
    const got: Uint8Array[] = [];
    await turn([a, b], () => connected(a) && a.backlog.elements === 0);
    a.send(message(PAYLOAD, 99));
    await turn([a, b], () => {
      got.push(...b.receive());
      return size(got) === (ERROR_QUEUE + 1) * PAYLOAD;
    });
    const stream = Buffer.concat(got);
    const seen = Array.from({ length: ERROR_QUEUE + 1 }, (_, i) => stream[i * PAYLOAD + 8]);
    expect(seen).toEqual([4, 5, 6, 7, 99]);
  });

  test('is called once a second, no more', async () => {
    const port = somePort();
    const a = open({ own: A, peer: B, port });
    let calls = 0;
    const b = open({ own: B, peer: A, port });
    await turn([b], () => b.link.clientConnected!);
    b.link.close();
    opened.splice(opened.indexOf(b.link), 1);
    // No listener: each attempt fails at once, and only the clock holds the next one back.
    const link = a.link as TcpLink;
    const original = Object.getPrototypeOf(link).connect as (now: number) => void;
    (link as unknown as { connect: (now: number) => void }).connect = (now) => {
      calls++;
      original.call(link, now);
    };
    const start = performance.now() + 1000;
    for (let now = start; now < start + 10_000; now += 50) link.tend(now, true);
    expect(calls).toBeGreaterThanOrEqual(9);
    expect(calls).toBeLessThanOrEqual(11);
  });
});

describe('a connection that breaks', () => {
  test('in the middle of a message leaves nothing behind for the next one', async () => {
    const { port, a, b } = openPair();
    await turn([a, b], () => connected(a) && connected(b));
    const first = await stranger(port, B);
    first.write(message(80, 1).subarray(0, 33));
    await turn([a, b], () => b.receive().length === 0 && b.link.bytesReceived >= 33);
    const replaced = new Promise((resolve) => first.once('close', resolve));
    const second = await stranger(port, B);
    second.write(message(48, 2));
    const got: Uint8Array[] = [];
    await turn([b], () => {
      got.push(...b.receive());
      return got.length > 0;
    });
    expect(Buffer.concat(got).equals(Buffer.from(message(48, 2)))).toBe(true);
    expect(b.link.receiveErrors).toBe(0);
    await replaced;
  });

  test('is replaced by a new one, and what waits goes there', async () => {
    const { port, a, b } = openPair();
    await turn([a, b], () => connected(a) && connected(b));
    b.link.close();
    opened.splice(opened.indexOf(b.link), 1);
    await turn([a], () => {
      a.receive();
      return !a.link.clientConnected && !a.link.serverConnected;
    });
    a.send(message(PAYLOAD, 5));
    expect(a.backlog.elements).toBe(1);
    const again = open({ own: B, peer: A, port });
    const got: Uint8Array[] = [];
    await turn([a, again], () => {
      got.push(...again.receive());
      a.receive();
      return size(got) === PAYLOAD;
    });
    expect(got[0]![8]).toBe(5);
  });

  test('for want of framing is closed', async () => {
    const { port, a, b } = openPair();
    await turn([a, b], () => connected(a) && connected(b));
    const bad = await stranger(port, B);
    const closed = new Promise((resolve) => bad.once('close', resolve));
    bad.write(Uint8Array.of(0x10, 0, 0, 0, 0, 0, 0, 0));
    await turn([b], () => {
      b.receive();
      return b.link.receiveErrors === 1;
    });
    expect(b.link.serverConnected).toBe(false);
    await closed;
    expect(b.reports.some((text) => text.includes('no message'))).toBe(true);
  });
});

test('a link that is left for dead is reset: what it held does not arrive later', async () => {
  const { a, b } = openPair('SndSocketBuffer 2304\n    RcvSocketBuffer 2304');
  await turn([a, b], () => connected(a) && connected(b));
  let sent = 0;
  await turn([], () => {
    b.receive(); // whatever room the kernel has: until it takes a datagram in part
    while (a.send(message(PAYLOAD, sent & 255)) === 1) sent++;
    return a.backlog.written > 0;
  });
  const before = b.link.bytesReceived;
  a.link.leave(true);
  expect(a.link.clientConnected).toBe(false);
  // The datagram sent in part waits from its beginning, for whichever link comes next.
  expect(a.backlog.written).toBe(0);
  const got: Uint8Array[] = [];
  for (let i = 0; i < 50; i++) {
    got.push(...b.receive());
    await sleep(2);
  }
  expect(before + size(got)).toBeLessThan(sent * PAYLOAD);
  expect(b.link.serverConnected).toBe(false);
});
