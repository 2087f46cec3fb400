// All dedicated links as one: what is in flight when the link in use changes, who is read, and who
// is opened anew. The links are made up.

import { beforeEach, describe, expect, test } from 'vitest';
import type { MessageVector } from '../../../src/cache/arena.js';
import { Backlog } from '../../../src/channel/backlog.js';
import type { DedicatedLink } from '../../../src/channel/link.js';
import { DedicatedLinks } from '../../../src/channel/links.js';
import { STABLE } from '../../../src/channel/selection.js';
import type { InterfaceInfo, LinkStatus } from '../../../src/kernel/links.js';

class FakeLink implements DedicatedLink {
  readonly kind = 'udp';
  readonly info: InterfaceInfo;
  ready = true;
  bytesSent = 0;
  packetsSent = 0;
  sendErrors = 0;
  bytesReceived = 0;
  packetsReceived = 0;
  receiveErrors = 0;
  /** Datagrams it takes before it is full. */
  room = Infinity;
  /** Slots it has to give. */
  waiting = 0;
  left: boolean[] = [];
  closed = false;
  sent: number[] = [];

  constructor(
    readonly device: string,
    index: number,
    status: LinkStatus = 'RUNNING',
  ) {
    this.info = { index, mtu: 1500, status };
  }

  watch(add: (fd: number, events: number) => void, sending: boolean): void {
    add(this.info.index, sending ? 5 : 1);
  }

  receive(vector: MessageVector): number {
    const count = Math.min(vector.count, this.waiting);
    this.waiting -= count;
    return count;
  }

  send(from: number, to: number): number {
    const next = Math.min(to, from + this.room);
    for (let i = from; i < next; i++) this.sent.push(i);
    this.room -= next - from;
    this.packetsSent += next - from;
    return next;
  }

  tend(): void {}

  leave(dead: boolean): void {
    this.left.push(dead);
  }

  close(): void {
    this.closed = true;
  }
}

const VECTOR: MessageVector = { headers: 0, slots: 0, slotSize: 1, count: 10 };
let devices: Map<string, InterfaceInfo>;
let log: (string | undefined)[];
let fakes: FakeLink[];
let reopened: number[];
let links: DedicatedLinks;

function make(...statuses: LinkStatus[]): void {
  fakes = statuses.map((status, i) => new FakeLink(`link${i}`, i + 1, status));
  devices = new Map(fakes.map(({ device, info }) => [device, { ...info }]));
  links = new DedicatedLinks(
    fakes,
    new Backlog(new Uint8Array(0), { slots: 0, slotSize: 0, count: 0 }),
    {
      preferred: 0,
      listening: true,
      onMove: (device) => log.push(device),
      lookUp: (device) => devices.get(device),
      reopen: (index, { index: number, status }) => {
        if (reopened.length === 0) {
          reopened.push(index);
          throw new Error('no address yet');
        }
        reopened.push(index);
        fakes[index] = new FakeLink(`link${index}`, number, status);
        return fakes[index];
      },
    },
  );
}

beforeEach(() => {
  log = [];
  reopened = [];
});

const now = (): number => performance.now();

function carrier(index: number, status: LinkStatus, at = now()): void {
  links.interfaceChanged({ index, mtu: 1500, status }, at);
}

describe('a change of the link in use', () => {
  test('takes along the datagrams that the old one did not take', () => {
    make('RUNNING', 'RUNNING');
    fakes[0]!.room = 3;
    const next = links.send(0, 8);
    expect(next).toBe(3);
    carrier(1, 'NO-CARRIER');
    expect(links.send(next, 8)).toBe(8);
    expect(fakes.map(({ sent }) => sent)).toEqual([
      [0, 1, 2],
      [3, 4, 5, 6, 7],
    ]);
    expect(links.packetsSent).toBe(8);
    expect(log).toEqual(['link1']);
    expect(fakes[0]!.left).toEqual([true]); // what it holds must not come out later
  });

  test('back to a link that is well leaves the other one in order', () => {
    make('RUNNING', 'RUNNING');
    const start = now();
    carrier(1, 'DOWN', start);
    carrier(1, 'RUNNING', start + 100);
    fakes[1]!.waiting = 1;
    links.receive(VECTOR);
    links.heard(start + 100 + STABLE - 1000);
    links.tend(start + 100 + STABLE);
    expect(links.current.device).toBe('link0');
    expect(fakes[1]!.left).toEqual([false]);
    expect(log).toEqual(['link1', 'link0']);
  });

  test('happens at start when the default link has no carrier', () => {
    make('DOWN', 'RUNNING');
    expect(links.active).toBe(1);
    expect(log).toEqual(['link1']);
  });

  test('is impossible without another link: that is said once for each loss', () => {
    make('RUNNING', 'DOWN');
    carrier(1, 'NO-CARRIER');
    carrier(1, 'NO-CARRIER');
    expect(log).toEqual([undefined]);
    expect(links.active).toBe(0);
  });
});

describe('receiving', () => {
  test('takes turns, so that a busy link does not silence another one', () => {
    make('RUNNING', 'RUNNING', 'RUNNING');
    fakes[0]!.waiting = 100;
    fakes[2]!.waiting = 1;
    const counts = [links.receive(VECTOR), links.receive(VECTOR), links.receive(VECTOR)];
    expect(counts).toEqual([10, 1, 10]);
    expect(fakes[2]!.waiting).toBe(0);
  });

  test('on another link makes the peer be followed there', () => {
    make('RUNNING', 'RUNNING');
    fakes[1]!.waiting = 1;
    links.receive(VECTOR);
    links.heard(now());
    expect(links.active).toBe(1);
  });
});

test('room is waited for on the link in use only', () => {
  make('RUNNING', 'RUNNING');
  const set: [number, number][] = [];
  links.watch((fd, events) => set.push([fd, events]), true);
  expect(set).toEqual([
    [1, 5],
    [2, 1],
  ]);
});

test('a probe waits until its link could send it', () => {
  make('RUNNING', 'RUNNING');
  fakes[1]!.waiting = 1;
  links.receive(VECTOR);
  links.heard(now());
  fakes[0]!.ready = false;
  const later = now() + 20_000;
  expect(links.takeProbe(later)).toBeUndefined();
  fakes[0]!.ready = true;
  expect(links.takeProbe(later)).toBe(fakes[0]);
});

test('a link whose interface was made anew is opened anew, once its address is there', () => {
  make('RUNNING', 'RUNNING');
  const old = fakes[0]!;
  const start = now();
  carrier(1, 'DOWN', start);
  devices.set('link0', { index: 9, mtu: 1500, status: 'RUNNING' });
  carrier(9, 'RUNNING', start + 50);
  expect(old.closed).toBe(true);
  expect(reopened).toEqual([0]); // and failed
  expect(links.all[0]!.ready).toBe(false);
  expect(links.all[0]!.device).toBe('link0');
  links.tend(start + 500);
  expect(reopened).toEqual([0]);
  links.tend(start + 1100);
  expect(reopened).toEqual([0, 0]);
  expect(links.all[0]).toBe(fakes[0]);
  expect(links.all[0]!.info).toMatchObject({ index: 9, status: 'RUNNING' });
});
