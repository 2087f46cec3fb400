// Dedicated links over UDP between two ends on the loopback interface.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { payloadMax } from '../../../src/channel/link.js';
import { End, message, somePort } from './ends.js';

let ends: End[] = [];

afterEach(() => {
  for (const end of ends) end.link.close();
  ends = [];
});

function open(own: string, peer: string, port: number): End {
  const end = new End({ kind: 'UDP', own, peer, port });
  ends.push(end);
  return end;
}

async function receive(end: End, count: number): Promise<Uint8Array[]> {
  const got: Uint8Array[] = [];
  for (let i = 0; i < 500 && got.length < count; i++) {
    got.push(...end.receive());
    if (got.length < count) await sleep(2);
  }
  return got;
}

test('datagrams arrive one by one, and both ends count them', async () => {
  const port = somePort();
  const a = open('127.0.0.1', '127.0.0.2', port);
  const b = open('127.0.0.2', '127.0.0.1', port);
  expect(a.send(message(80, 1), message(16, 2), message(1400, 3))).toBe(3);
  const got = await receive(b, 3);
  expect(got.map((datagram) => datagram.length)).toEqual([80, 16, 1400]);
  expect(got.map((datagram) => datagram[8])).toEqual([1, 2, 3]);
  expect(a.link).toMatchObject({ packetsSent: 3, bytesSent: 1496, sendErrors: 0 });
  expect(b.link).toMatchObject({ packetsReceived: 3, bytesReceived: 1496, receiveErrors: 0 });
});

test('a peer whose daemon is not up costs datagrams, never the link', async () => {
  const port = somePort();
  const a = open('127.0.0.1', '127.0.0.2', port);
  for (let i = 0; i < 5; i++) {
    expect(a.send(message(16, i), message(16, i))).toBe(2);
    await sleep(1); // for the refusal to come back
  }
  expect(a.link.sendErrors).toBeGreaterThan(0);
  const b = open('127.0.0.2', '127.0.0.1', port);
  a.send(message(16, 8));
  a.send(message(16, 9));
  const got = await receive(b, 2);
  expect(got.at(-1)?.[8]).toBe(9);
});

test('the payload leaves room for the headers of each kind', () => {
  expect(payloadMax('udp', 4, 1500)).toBe(1472);
  expect(payloadMax('udp', 6, 1500)).toBe(1452);
  expect(payloadMax('multicast', 4, 1500)).toBe(1472);
  expect(payloadMax('tcp', 4, 1500)).toBe(1460);
  expect(payloadMax('tcp', 6, 1500)).toBe(1440);
  expect(payloadMax('udp', 4, 65_536)).toBe(65_504);
});
