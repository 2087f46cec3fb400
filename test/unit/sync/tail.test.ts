// The tail of control messages: what our nodes say arrives, what strangers send is ignored, and
// nothing is read beyond the message.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Peer, Peers } from '../../../src/sync/peers.js';
import {
  addresseesPart,
  appendTail,
  askPart,
  CAPABILITY,
  capabilitiesPart,
  holdingsPart,
  identityPart,
  modePart,
  type Part,
  programPart,
  readTail,
  tailLength,
} from '../../../src/sync/tail.js';

const IDENTITY = { node: 0xfedcba9876543210n, start: 1_790_000_000_123 };
const HOLDINGS = { internal: 2 ** 32 - 1, external: 7, unacknowledged: 3, waiting: 0 };

const EVERYTHING: Part[] = [
  identityPart(IDENTITY),
  capabilitiesPart(CAPABILITY.ADDRESSED | CAPABILITY.ZONES),
  modePart(1),
  programPart('1.2.3'),
  holdingsPart(HOLDINGS),
  addresseesPart([1n, 2n ** 64n - 1n]),
  askPart(),
  { type: 999, value: Uint8Array.of(1, 2, 3) },
];

/** A control message with this tail at the very end of its memory, where one byte too far throws. */
function message(parts: readonly Part[], header: 8 | 16 = 8): DataView {
  const length = header + tailLength(parts);
  const view = new DataView(new ArrayBuffer(length));
  view.setUint8(0, 0x1a);
  view.setUint8(1, header === 8 ? 0x10 : 0x08);
  view.setUint16(2, header);
  expect(appendTail(view, 0, header, parts)).toBe(length);
  expect(view.getUint16(2)).toBe(length);
  return view;
}

describe('the tail of a control message', () => {
  it.each([8, 16] as const)('tells behind a header of %i bytes what was put in', (header) => {
    const tail = readTail(message(EVERYTHING, header), 0, header)!;
    expect(tail).toMatchObject({
      identity: IDENTITY,
      capabilities: 5,
      mode: 1,
      program: '1.2.3',
      holdings: HOLDINGS,
      addressees: [1n, 2n ** 64n - 1n],
      asks: true,
    });
    expect(tail.parts).toEqual(EVERYTHING);
  });

  it('is a whole number of words and leaves the bytes before it alone', () => {
    expect(tailLength(EVERYTHING) % 4).toBe(0);
    expect(tailLength([])).toBe(8);
    const view = message(EVERYTHING, 16);
    expect([view.getUint8(0), view.getUint8(1), view.getUint32(8)]).toEqual([0x1a, 8, 0]);
  });

  it('is no tail when a C daemon or a stranger left something else there', () => {
    const none = new DataView(new ArrayBuffer(8));
    none.setUint16(2, 8);
    expect(readTail(none, 0, 8)).toBeUndefined();
    for (const at of [8, 9, 10, 11, 12]) {
      const view = message(EVERYTHING);
      view.setUint8(at, view.getUint8(at) ^ 0x20);
      expect(readTail(view, 0, 8), `byte ${at}`).toBeUndefined();
    }
  });

  it('is ignored as a whole when a length does not add up', () => {
    for (const wrong of [0, 7, 12, 500, 65535]) {
      const view = message([identityPart(IDENTITY), modePart(0)]);
      view.setUint16(14, wrong);
      expect(readTail(view, 0, 8), `a tail of ${wrong} bytes`).toBeUndefined();
    }
    for (const wrong of [17, 40, 65535]) {
      const view = message([identityPart(IDENTITY)]);
      view.setUint16(18, wrong);
      expect(readTail(view, 0, 8), `a part of ${wrong} bytes`).toBeUndefined();
    }
  });

  it('tells nothing of a part that has another size than it must', () => {
    const odd: Part[] = [
      { type: 1, value: new Uint8Array(15) },
      { type: 2, value: new Uint8Array(5) },
      { type: 3, value: new Uint8Array(0) },
      { type: 4, value: new Uint8Array(33) },
      { type: 5, value: new Uint8Array(12) },
      { type: 6, value: new Uint8Array(17 * 8) },
    ];
    const { parts, asks, ...told } = readTail(message(odd), 0, 8)!;
    expect(parts).toHaveLength(6);
    expect(asks).toBe(false);
    expect(Object.values(told).every((value) => value === undefined)).toBe(true);
  });

  it('shows no control characters of a stranger', () => {
    const { program } = readTail(message([programPart('1.0\u001b[2J\u0007é')]), 0, 8)!;
    expect(program).toMatch(/^[\x21-\x7e]+$/);
  });

  it('survives cuts at every byte and random damage without reading past the message', () => {
    const whole = new Uint8Array(message(EVERYTHING).buffer);
    for (let length = 8; length < whole.length; length++) {
      const view = new DataView(whole.slice(0, length).buffer);
      view.setUint16(2, length);
      expect(readTail(view, 0, 8)).toBeUndefined();
    }
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 12 }),
        (damage) => {
          const bytes = whole.slice();
          for (const [at, value] of damage) bytes[at] = value;
          const view = new DataView(bytes.buffer);
          view.setUint16(2, whole.length); // the framing has seen to that
          readTail(view, 0, 8);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('looks at a bounded number of parts', () => {
    const many = Array.from({ length: 65 }, () => modePart(0));
    expect(readTail(message(many.slice(1)), 0, 8)).toBeDefined();
    expect(readTail(message(many), 0, 8)).toBeUndefined();
  });
});

describe('what is known of a peer', () => {
  const tailOf = (node: bigint, capabilities = 0) =>
    readTail(message([identityPart({ ...IDENTITY, node }), capabilitiesPart(capabilities)]), 0, 8)!;

  it('is nothing until it has spoken with a tail', () => {
    const peers = new Peers();
    expect([peers.everyPeerIsOurs, peers.peerSpeaks(0)]).toEqual([false, false]);
    const peer = peers.at(0, 0, () => '192.0.2.1');
    peer.heardAt = 1000;
    expect([peers.everyPeerIsOurs, peers.peerSpeaks(0)]).toEqual([false, false]);
    peer.take(tailOf(5n, CAPABILITY.DIGESTS), 1000);
    expect(peers.everyPeerIsOurs).toBe(true);
    expect(peers.peerSpeaks(CAPABILITY.DIGESTS)).toBe(true);
    expect(peers.peerSpeaks(CAPABILITY.DIGESTS | CAPABILITY.ZONES)).toBe(false);
  });

  it('is what the weakest of several can do', () => {
    const peers = new Peers();
    peers.at(0, 0, () => 'a').take(tailOf(5n, CAPABILITY.ZONES), 1);
    expect(peers.peerSpeaks(CAPABILITY.ZONES)).toBe(true);
    peers.at(1, 0, () => 'b');
    expect([peers.everyPeerIsOurs, peers.peerSpeaks(CAPABILITY.ZONES)]).toEqual([false, false]);
    peers.remove(1);
    expect(peers.everyPeerIsOurs).toBe(true);
  });

  it('ends when messages come and tails do not: a C daemon has taken its place', () => {
    const peer = new Peer(0, '192.0.2.1');
    peer.heardAt = 1000;
    peer.take(tailOf(5n), 1000);
    peer.heardAt = 5500;
    peer.expire(5500);
    expect(peer.isOurs).toBe(true);
    peer.heardAt = 6500;
    peer.expire(6500);
    expect(peer.isOurs).toBe(false);
  });

  it('stays while the peer is silent: nobody has taken its place yet', () => {
    const peer = new Peer(0, '192.0.2.1');
    peer.heardAt = 1000;
    peer.take(tailOf(5n), 1000);
    peer.expire(60_000);
    expect([peer.isOurs, peer.isPresent(60_000)]).toEqual([true, false]);
  });

  it('tells a new life from the old one', () => {
    const peer = new Peer(0, '192.0.2.1');
    expect(peer.take(tailOf(5n), 1)).toBe(false);
    expect(peer.take(tailOf(5n), 2)).toBe(false);
    expect(peer.take(tailOf(6n), 3)).toBe(true);
  });
});
