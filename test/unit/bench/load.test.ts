// What the load generator sends: flows with tuples of their own, and never a delete without one.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  FLOW_ORIG,
  FLOW_REPLY,
  TUPLE_DST,
  TUPLE_SPORT,
  TUPLE_SRC,
} from '../../../assembly/layout.js';
import { namesInDatagram } from '../../../bench/lab/message.js';
import { checkDelete, template } from '../../../bench/request.js';
import { flowOf, patchTuple, portOf, sourceOf } from '../../../bench/tuple.js';
import { sandbox } from '../../wasm.js';
import { samples } from '../sync/vectors.js';

const flows = fc.integer({ min: 0, max: 8_000_000 });

describe('the tuple of a flow', () => {
  test('names the flow', () => {
    fc.assert(
      fc.property(flows, (n) => {
        expect(flowOf(sourceOf(n), portOf(n))).toBe(n);
      }),
    );
  });

  test('of somebody else names none', () => {
    expect(flowOf(0x0a010002, 20000)).toBe(-1);
    expect(flowOf(sourceOf(5), 80)).toBe(-1);
  });
});

describe('a request', () => {
  test('is read back by our decoder with the tuple it was given', () => {
    const { fn, bytes, view } = sandbox();
    fc.assert(
      fc.property(flows, (n) => {
        const request = template('create', 3);
        patchTuple(
          new DataView(request.buffer, request.byteOffset, request.length),
          0,
          'create',
          n,
        );
        bytes.set(request, 8192);
        expect(fn.decodeFlow!(8192, request.length, 4096)).toBe(0);
        const orig = 4096 + FLOW_ORIG;
        expect(view.getUint32(orig + TUPLE_SRC)).toBe(sourceOf(n));
        expect(view.getUint16(orig + TUPLE_SPORT)).toBe(portOf(n));
        const reply = 4096 + FLOW_REPLY;
        expect(view.getUint32(reply + TUPLE_DST)).toBe(sourceOf(n));
        expect(view.getUint32(reply + TUPLE_SRC)).toBe(view.getUint32(orig + TUPLE_DST));
      }),
    );
  });

  test.each(['create', 'update', 'delete'] as const)('to %s begins with its tuple', (kind) => {
    const request = template(kind, 3);
    const view = new DataView(request.buffer, request.byteOffset, request.length);
    expect(view.getUint32(0, true)).toBe(request.length);
    expect(view.getUint16(20, true)).toBe(52);
    expect(view.getUint16(22, true)).toBe(0x8001);
  });

  test('to delete passes the check, and none without a whole tuple does', () => {
    const request = template('delete', 3);
    expect(() => checkDelete(request)).not.toThrow();
    for (let length = 0; length < request.length; length++) {
      const cut = Uint8Array.from(request.subarray(0, Math.max(length, 24)));
      expect(() => checkDelete(cut)).toThrow('without a tuple');
    }
    const other = Uint8Array.from(request);
    other[22] = 3; // CTA_STATUS where the tuple should be
    expect(() => checkDelete(other)).toThrow('without a tuple');
  });
});

describe('a datagram of the link', () => {
  /** An IPv4 packet with a UDP datagram of these messages. */
  function packet(...messages: Uint8Array[]): DataView {
    const body = Buffer.concat(messages);
    const out = Buffer.alloc(28 + body.length);
    out[0] = 0x45;
    out.writeUInt16BE(out.length, 2);
    out[9] = 17;
    out.set(body, 28);
    return new DataView(out.buffer, out.byteOffset, out.length);
  }

  /** A captured message about flow n. */
  function message(n: number): Uint8Array {
    const sample = samples(0, 0).find(({ name }) => name.startsWith('tcp-v4-new-syn_sent'));
    const bytes = Uint8Array.from(sample!.bytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(12, sourceOf(n));
    view.setUint16(40, portOf(n));
    return bytes;
  }

  test('names the flows of its messages', () => {
    const view = packet(message(1), message(70_000));
    expect(namesInDatagram(view, 0, view.byteLength)).toEqual([1, 70_000]);
  });

  test('names none when it carries only control messages, or is no UDP', () => {
    const ack = Uint8Array.of(0x1a, 8, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2);
    const control = packet(ack);
    expect(namesInDatagram(control, 0, control.byteLength)).toEqual([]);
    const tcp = packet(message(1));
    tcp.setUint8(9, 6);
    expect(namesInDatagram(tcp, 0, tcp.byteLength)).toEqual([]);
  });

  test('that is cut names what is whole', () => {
    const view = packet(message(1), message(2));
    for (let length = 0; length <= view.byteLength; length++) {
      const names = namesInDatagram(view, 0, length);
      expect([1, 2].slice(0, names.length)).toEqual(names);
      expect(names.length).toBe(length === view.byteLength ? 2 : length >= 88 ? 1 : 0);
    }
  });
});
