// What the kernel is asked: a request carries what was replicated, in the form that the kernel
// accepts, and no request without a tuple can be written. The kernel's own judgement is in
// test/lab/kernel-codec.test.ts.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { fromHex, sandbox, toHex } from '../../wasm.js';
import { addressHex, expectedFlow, FLOWS, readFlow, type Vector, vectors } from './wide.js';

const box = sandbox(4);
const { bytes, view, fn } = box;
const MESSAGE = 4096;
const FLOW = 1024;
const OUT = 8192;
const ROOM = 640;
const CREATE = 0;
const UPDATE = 1;
const DELETE = 2;
const GET = 3;
const WINDOW_TRACKING = 1;
const NLM_ACK_CREATE_EXCL = 0x604;

type Shape = Record<string, unknown>;

/** An attribute tree: type (without flag bits) → payload in hex, or the tree inside a nest. */
type Tree = { [type: number]: string | Tree };

function tree(from: Uint8Array): Tree {
  const found: Tree = {};
  const words = new DataView(from.buffer, from.byteOffset, from.length);
  for (let at = 0; at + 4 <= from.length; ) {
    const length = words.getUint16(at, true);
    const type = words.getUint16(at + 2, true);
    expect(length).toBeGreaterThanOrEqual(4);
    expect(at + length).toBeLessThanOrEqual(from.length);
    const body = from.subarray(at + 4, at + length);
    expect(found).not.toHaveProperty(String(type & 0x3fff));
    found[type & 0x3fff] = type & 0x8000 ? tree(body) : toHex(body);
    at += (length + 3) & ~3;
  }
  return found;
}

function load(vector: Vector): void {
  const message = fromHex(vector.hex);
  bytes.set(message, MESSAGE);
  bytes.fill(0xa5, FLOW, FLOW + L.FLOW_SIZE);
  expect(fn.decodeFlow!(MESSAGE, message.length, FLOW)).toBe(0);
}

/** Encodes the loaded flow; checks the header and that nothing behind the message was touched. */
function encode(kind: number, options = 0, nlflags = 4): Uint8Array {
  bytes.fill(0xcc, OUT, OUT + ROOM + 64);
  const length = fn.encodeRequest!(FLOW, OUT, ROOM, kind, 0x01020304, nlflags, options);
  expect(length).toBeGreaterThan(20);
  expect(length).toBeLessThanOrEqual(ROOM);
  expect(length % 4).toBe(0);
  expect(bytes.slice(OUT + length, OUT + ROOM + 64).every((byte) => byte === 0xcc)).toBe(true);
  expect(view.getUint32(OUT, true)).toBe(length);
  expect(view.getUint16(OUT + 6, true)).toBe(nlflags | 1);
  expect(view.getUint32(OUT + 8, true)).toBe(0x01020304);
  expect(view.getUint32(OUT + 12, true)).toBe(0);
  return bytes.slice(OUT, OUT + length);
}

function present(set: number, clear = 0): void {
  const word = view.getUint32(FLOW + L.FLOW_PRESENT, true);
  view.setUint32(FLOW + L.FLOW_PRESENT, (word & ~clear) | set, true);
}

function decodeBack(request: Uint8Array): Shape {
  bytes.set(request, MESSAGE);
  bytes.fill(0x5a, 2048, 2048 + L.FLOW_SIZE);
  expect(fn.decodeFlow!(MESSAGE, request.length, 2048)).toBe(0);
  return readFlow(box, 2048);
}

const named = (name: string) => FLOWS.find((vector) => vector.name === name)!;
const TCP = named('tcp4 ACK / UPDATE');
const UDP = named('zone both / NEW');
const inverseType = (type: number) =>
  ({ 8: 0, 0: 8, 13: 14, 14: 13, 128: 129, 129: 128 })[type] as number;

/** What must come back when a vector's flow is created and its request is read again. */
function recreated(vector: Vector): Shape {
  const flow = expectedFlow(vector);
  const orig = flow.orig as Shape;
  const { icmpType, sport, dport } = orig as { icmpType?: number; sport?: number; dport?: number };
  const reply: Shape = { ...orig, src: orig.dst, dst: orig.src };
  if (sport !== undefined) Object.assign(reply, { sport: dport, dport: sport });
  if (icmpType !== undefined) reply.icmpType = inverseType(icmpType);
  const { zone: zoneOrig, ...plain } = orig;
  delete reply.zone;
  const zoneReply = (flow.reply as Shape).zone;
  const kept = Object.fromEntries(
    ['mark', 'seqAdjOrig', 'seqAdjReply', 'synproxy', 'labels', 'helper', 'master', 'zone']
      .filter((name) => name in flow)
      .map((name) => [name, flow[name]]),
  );
  const timeout = flow.timeout === undefined ? {} : { timeout: flow.timeout };
  return {
    type: 0x100,
    flags: NLM_ACK_CREATE_EXCL | 1,
    portid: 0,
    ...kept,
    ...timeout,
    status: ((flow.status as number) & 0x406) | 8,
    orig: flow.zone === undefined && zoneOrig !== undefined ? { ...plain, zone: zoneOrig } : plain,
    reply:
      flow.zone === undefined && zoneOrig === undefined && zoneReply !== undefined
        ? { ...reply, zone: zoneReply }
        : reply,
  };
}

describe('create', () => {
  test.each(FLOWS.map((vector) => [vector.name, vector] as const))('%s', (_name, vector) => {
    load(vector);
    fn.natFromReply!(FLOW);
    const nat = Object.fromEntries(
      Object.entries(readFlow(box, FLOW)).filter(([name]) => name.startsWith('nat')),
    );
    const before = expectedFlow(vector);
    const { protoinfo, natSport, natDport, ...flow } = decodeBack(
      encode(CREATE, 0, NLM_ACK_CREATE_EXCL),
    );
    const { natSport: _s, natDport: _d, ...addresses } = nat;
    expect(flow).toEqual({ ...recreated(vector), ...addresses });
    const { sport, dport } = before.orig as { sport: number; dport: number };
    if (nat.natSrc !== undefined) expect(natSport).toBe(nat.natSport ?? sport);
    if (nat.natDst !== undefined) expect(natDport).toBe(nat.natDport ?? dport);
    const wanted = before.protoinfo as { tcp?: Shape; sctp?: Shape; dccp?: Shape } | undefined;
    const info = protoinfo as { tcp?: Shape; sctp?: Shape; dccp?: Shape } | undefined;
    if (wanted?.tcp) {
      expect(info?.tcp?.state).toBe(wanted.tcp.state);
      expect(info?.tcp?.wscaleOrig).toBe(wanted.tcp.wscaleOrig);
      expect(info?.tcp?.wscaleReply).toBe(wanted.tcp.wscaleReply);
      const flags = (((wanted.tcp.flagsOrig ?? 0) as number) & 0x8f) | 8;
      expect(info?.tcp).toMatchObject({ flagsOrig: flags, maskOrig: flags });
    } else if (wanted?.sctp) {
      // Without both tags (DESTROY) the kernel would refuse the nest.
      expect(info?.sctp).toEqual('vtagOrig' in wanted.sctp ? wanted.sctp : undefined);
    } else if (wanted?.dccp) {
      const { handshakeSeq: _, ...replicated } = wanted.dccp;
      expect(info?.dccp).toEqual(replicated);
    }
  });

  test('translated flows are among the vectors', () => {
    const translated = FLOWS.filter((vector) => vector.decoded.status & 0x30);
    expect(translated.length).toBeGreaterThan(5);
  });

  test('NAT of addresses and ports is described, the reply is the plain inverse', () => {
    load(TCP);
    const { orig } = expectedFlow(TCP) as { orig: { src: string; dst: string } };
    bytes.set(fromHex('c0000201'), FLOW + L.FLOW_NAT_SRC);
    bytes.set(fromHex('c6336401'), FLOW + L.FLOW_NAT_DST);
    view.setUint16(FLOW + L.FLOW_NAT_SPORT, 1111);
    present(L.HAS_NAT_SRC | L.HAS_NAT_DST | L.HAS_NAT_SPORT);
    const found = tree(encode(CREATE).subarray(20));
    expect(found[6]).toEqual({ 1: 'c0000201', 3: { 1: '0457' } });
    expect(found[13]).toEqual({ 1: 'c6336401', 3: { 1: '2328' } }); // 9000: unchanged, but exact
    expect((found[2] as Tree)[1]).toEqual({ 1: orig.dst, 2: orig.src });
    present(0, L.HAS_NAT_SRC | L.HAS_NAT_DST);
    const ports = tree(encode(CREATE).subarray(20));
    expect(ports[6]).toEqual({ 3: { 1: '0457' } });
    expect(ports).not.toHaveProperty('13');
  });

  test('NAT of ICMP and GRE has no ports', () => {
    load(FLOWS.find((vector) => vector.decoded.orig.proto === 1)!);
    bytes.set(fromHex('c0000201'), FLOW + L.FLOW_NAT_SRC);
    present(L.HAS_NAT_SRC | L.HAS_NAT_SPORT | L.HAS_NAT_DPORT);
    const found = tree(encode(CREATE).subarray(20));
    expect(found[6]).toEqual({ 1: 'c0000201' });
    expect(found).not.toHaveProperty('13');
  });

  test('window tracking: no liberal flag of ours, and scale factors get theirs', () => {
    load(TCP);
    present(0, L.HAS_TCP_FLAGS | L.HAS_WSCALE);
    const tcp = (request: Uint8Array) => ((tree(request.subarray(20))[4] ?? {}) as Tree)[1];
    expect(tcp(encode(CREATE))).toEqual({ 1: '03', 4: '0808', 5: '0808' });
    expect(tcp(encode(CREATE, WINDOW_TRACKING))).toEqual({ 1: '03' });
    present(L.HAS_WSCALE);
    const scales = { 1: '03', 2: '07', 3: '07' };
    expect(tcp(encode(CREATE))).toEqual({ ...scales, 4: '0909', 5: '0909' });
    expect(tcp(encode(CREATE, WINDOW_TRACKING))).toEqual({ ...scales, 4: '0101', 5: '0101' });
    present(L.HAS_TCP_FLAGS); // 0x23: with WINDOW_SCALE and SACK_PERM, without MAXACK_SET
    expect(tcp(encode(CREATE))).toEqual({ ...scales, 4: '0b0b', 5: '0b0b' });
    expect(tcp(encode(CREATE, WINDOW_TRACKING))).toEqual({ ...scales, 4: '0303', 5: '0303' });
  });

  test('only status bits that the kernel accepts', () => {
    load(TCP);
    for (const [status, sent] of [
      [0xffffffff, 0x40e],
      [0x1, 0x8],
      [0x20e, 0xe],
      [0xc000, 0x8],
      [0, 0x8],
    ] as const) {
      view.setUint32(FLOW + L.FLOW_STATUS, status, true);
      for (const kind of [CREATE, UPDATE]) {
        expect(tree(encode(kind).subarray(20))[3]).toBe(sent.toString(16).padStart(8, '0'));
      }
    }
  });

  test('a timeout is never 0, and stays out of the update of a flow with a fixed one', () => {
    load(TCP);
    view.setUint32(FLOW + L.FLOW_TIMEOUT, 0, true);
    expect(tree(encode(CREATE).subarray(20))[7]).toBe('00000001');
    view.setUint32(FLOW + L.FLOW_STATUS, 0x40e, true);
    expect(tree(encode(CREATE).subarray(20))[7]).toBe('00000001');
    expect(tree(encode(UPDATE).subarray(20))).not.toHaveProperty('7');
  });

  test('one zone at most', () => {
    load(TCP);
    view.setUint16(FLOW + L.FLOW_ZONE, 4, true);
    view.setUint16(FLOW + L.FLOW_ZONE_ORIG, 5, true);
    view.setUint16(FLOW + L.FLOW_ZONE_REPLY, 6, true);
    const zones = (kind: number) => {
      const found = tree(encode(kind).subarray(20));
      return [found[18], (found[1] as Tree)[3], ((found[2] ?? {}) as Tree)[3]];
    };
    present(L.HAS_ZONE | L.HAS_ZONE_ORIG | L.HAS_ZONE_REPLY);
    for (const kind of [CREATE, UPDATE, DELETE, GET]) {
      expect(zones(kind)).toEqual(['0004', undefined, undefined]);
    }
    present(0, L.HAS_ZONE);
    for (const kind of [CREATE, UPDATE, DELETE, GET]) {
      expect(zones(kind)).toEqual([undefined, '0005', undefined]);
    }
    present(0, L.HAS_ZONE_ORIG);
    expect(zones(CREATE)).toEqual([undefined, undefined, '0006']);
    // The original tuple of a flow with a zone in the reply direction is found without one.
    expect(zones(DELETE)).toEqual([undefined, undefined, undefined]);
  });

  test('plain GRE, whose keys peers do not send, gets zero keys', () => {
    load(UDP);
    bytes[FLOW + L.FLOW_ORIG + L.TUPLE_L4] = 47;
    bytes[FLOW + L.FLOW_ORIG + L.TUPLE_KNOWN] = L.KNOWN_L3 | L.KNOWN_L4;
    const found = tree(encode(CREATE).subarray(20));
    expect((found[1] as Tree)[2]).toEqual({ 1: '2f', 2: '0000', 3: '0000' });
  });

  test('ICMP types and their answers', () => {
    const icmp = FLOWS.find((vector) => vector.decoded.orig.proto === 1)!;
    const icmp6 = FLOWS.find((vector) => vector.decoded.orig.proto === 58)!;
    const pairs = [
      [icmp, 4, { 8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17 }],
      [icmp6, 7, { 128: 129, 129: 128, 139: 140, 140: 139 }],
    ] as const;
    for (const [vector, id, answers] of pairs) {
      load(vector);
      const at = FLOW + L.FLOW_ORIG + L.TUPLE_ICMP_TYPE;
      for (let type = 0; type < 256; type++) {
        bytes[at] = type;
        bytes[at + 1] = 9;
        const answer = (answers as Record<number, number>)[type];
        if (answer === undefined) {
          expect(fn.encodeRequest!(FLOW, OUT, ROOM, CREATE, 1, 4, 0)).toBe(L.BAD_TUPLE);
          continue;
        }
        const found = tree(encode(CREATE).subarray(20));
        const orig = (found[1] as Tree)[2] as Tree;
        const reply = (found[2] as Tree)[2] as Tree;
        expect(orig[id + 1]).toBe(type.toString(16).padStart(2, '0'));
        expect(reply).toEqual({ ...orig, [id + 1]: answer.toString(16).padStart(2, '0') });
      }
    }
  });

  test('a master of another family is refused, not sent', () => {
    const related = FLOWS.find((vector) => vector.decoded.master)!;
    load(related);
    expect(tree(encode(CREATE).subarray(20))).toHaveProperty('14');
    bytes[FLOW + L.FLOW_MASTER + L.TUPLE_L3] = 10;
    expect(fn.encodeRequest!(FLOW, OUT, ROOM, CREATE, 1, 4, 0)).toBe(L.BAD_TUPLE);
  });
});

describe('update, delete, get', () => {
  const NOT_UPDATED = [2, 5, 6, 13, 14];

  test('an update has the words of a create and none of its fixed parts', () => {
    for (const vector of FLOWS) {
      load(vector);
      fn.natFromReply!(FLOW);
      const created = tree(encode(CREATE).subarray(20));
      const request = encode(UPDATE);
      expect(view.getUint16(OUT + 4, true)).toBe(0x100);
      for (const type of NOT_UPDATED) delete created[type];
      if (vector.decoded.status & 0x400) delete created[7];
      expect(tree(request.subarray(20)), vector.name).toEqual(created);
    }
  });

  test('a delete and a get are the tuple and its zone', () => {
    for (const vector of FLOWS) {
      load(vector);
      const created = tree(encode(CREATE).subarray(20));
      const wanted = { 1: created[1], ...(created[18] ? { 18: created[18] } : {}) };
      expect(tree(encode(DELETE).subarray(20))).toEqual(wanted);
      expect(view.getUint16(OUT + 4, true)).toBe(0x102);
      expect(tree(encode(GET).subarray(20))).toEqual(wanted);
      expect(view.getUint16(OUT + 4, true)).toBe(0x101);
      expect(bytes[OUT + 16]).toBe(vector.decoded.nfgen.family);
    }
  });

  test('no delete without a tuple: the kernel would flush its table', () => {
    load(TCP);
    const refused = () => {
      for (const kind of [DELETE, CREATE, UPDATE, GET]) {
        bytes.fill(0, OUT, OUT + ROOM);
        expect(fn.encodeRequest!(FLOW, OUT, ROOM, kind, 1, 4, 0)).toBe(L.BAD_TUPLE);
        expect(view.getUint32(OUT, true)).toBe(0);
      }
    };
    present(0, L.HAS_ORIG);
    refused();
    present(L.HAS_ORIG);
    const known = FLOW + L.FLOW_ORIG + L.TUPLE_KNOWN;
    for (const bits of [0, L.KNOWN_L3, L.KNOWN_L4, L.KNOWN_L3 | L.KNOWN_L4]) {
      bytes[known] = bits;
      refused();
    }
    bytes[known] = L.KNOWN_L3 | L.KNOWN_L4 | L.KNOWN_PORTS;
    bytes[FLOW + L.FLOW_ORIG + L.TUPLE_L3] = 7;
    refused();
  });

  test('whatever lies in the flow, a delete has a complete tuple', () => {
    let written = 0;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: L.FLOW_SIZE, maxLength: L.FLOW_SIZE }),
        fc.constantFrom(0, 2, 10),
        fc.constantFrom(1, 6, 17, 58, 132),
        (flow, l3, l4) => {
          bytes.set(flow, FLOW);
          bytes[FLOW + L.FLOW_ORIG + L.TUPLE_L3] = l3;
          bytes[FLOW + L.FLOW_ORIG + L.TUPLE_L4] = l4;
          if (fn.encodeRequest!(FLOW, OUT, ROOM, DELETE, 1, 4, 0) < 0) return;
          written++;
          const found = tree(encode(DELETE).subarray(20));
          const width = l3 === 10 ? 32 : 8;
          const [src, dst] = l3 === 10 ? [3, 4] : [1, 2];
          const ip = (found[1] as Tree)[1] as Tree;
          expect(ip[src]).toHaveLength(width);
          expect(ip[dst]).toHaveLength(width);
          expect(((found[1] as Tree)[2] as Tree)[1]).toHaveLength(2);
        },
      ),
      { numRuns: 3000 },
    );
    expect(written).toBeGreaterThan(100);
  });

  test('whatever lies in the flow, every request fits the room it asks for', () => {
    let longest = 0;
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: L.FLOW_SIZE, maxLength: L.FLOW_SIZE }),
        fc.constantFrom(1, 6, 17, 33, 58, 132),
        (flow, l4) => {
          bytes.set(flow, FLOW);
          present(0xffffffff);
          for (const tuple of [L.FLOW_ORIG, L.FLOW_MASTER]) {
            bytes.set([10, l4, 0xff], FLOW + tuple);
            bytes[FLOW + tuple + L.TUPLE_ICMP_TYPE] = l4 === 1 ? 8 : 128;
          }
          longest = Math.max(longest, encode(CREATE).length);
        },
      ),
      { numRuns: 2000 },
    );
    expect(longest).toBeGreaterThan(400);
  });

  test('too little room and unknown kinds are refused', () => {
    load(TCP);
    expect(fn.encodeRequest!(FLOW, OUT, ROOM - 1, GET, 1, 4, 0)).toBe(L.BAD_ROOM);
    expect(fn.encodeRequest!(FLOW, OUT, ROOM, 4, 1, 4, 0)).toBe(L.BAD_TYPE);
    expect(fn.encodeRequest!(FLOW, OUT, ROOM, -1, 1, 4, 0)).toBe(L.BAD_TYPE);
  });
});

describe('translation from the reply tuple', () => {
  const nat = (vector: Vector) => {
    load(vector);
    fn.natFromReply!(FLOW);
    return Object.fromEntries(
      Object.entries(readFlow(box, FLOW)).filter(([name]) => name.startsWith('nat')),
    );
  };

  test('every vector', () => {
    for (const vector of FLOWS) {
      const { orig, reply, status } = vector.decoded;
      const source = (status & 0x80) !== 0;
      const target = (status & 0x100) !== 0;
      const ports = [6, 17, 33, 132, 136].includes(orig.proto) && orig.sport !== undefined;
      expect(nat(vector), vector.name).toEqual({
        ...(source && reply.dst !== orig.src ? { natSrc: addressHex(reply.dst) } : {}),
        ...(target && reply.src !== orig.dst ? { natDst: addressHex(reply.src) } : {}),
        ...(source && ports && reply.dport !== orig.sport ? { natSport: reply.dport } : {}),
        ...(target && ports && reply.sport !== orig.dport ? { natDport: reply.sport } : {}),
      });
    }
  });

  test('old translation is cleared, also without reply or status', () => {
    load(TCP);
    const all = L.HAS_NAT_SRC | L.HAS_NAT_DST | L.HAS_NAT_SPORT | L.HAS_NAT_DPORT;
    for (const missing of [0, L.HAS_REPLY, L.HAS_STATUS, L.HAS_ORIG]) {
      present(all | L.HAS_ORIG | L.HAS_REPLY | L.HAS_STATUS, missing);
      fn.natFromReply!(FLOW);
      expect(view.getUint32(FLOW + L.FLOW_PRESENT, true) & all).toBe(0);
    }
  });
});

describe('requests of the conntrack tool', () => {
  const REQUESTS = vectors('ctnetlink-request-vectors.json').filter(
    (vector) => vector.decoded.nlmsg.type >> 8 === 1 && vector.decoded.orig,
  );

  test.each(REQUESTS.map((vector) => [vector.name, vector] as const))('reads %s', (_n, vector) => {
    const message = fromHex(vector.hex);
    bytes.set(message, MESSAGE);
    expect(fn.decodeFlow!(MESSAGE, message.length, FLOW)).toBe(0);
    const flow = readFlow(box, FLOW);
    const wanted = expectedFlow(vector);
    for (const name of ['orig', 'reply', 'status', 'timeout', 'mark', 'zone', 'synproxy']) {
      expect(flow[name], name).toEqual(wanted[name]);
    }
  });

  test('reads the translation that the tool asks for', () => {
    const read = (part: string) => {
      load(REQUESTS.find((vector) => vector.command.includes(part))!);
      const { natSrc, natDst, natSport, natDport } = readFlow(box, FLOW);
      return { natSrc, natDst, natSport, natDport };
    };
    expect(read('-n 9.9.9.9:4000 -g 8.8.8.8:80')).toEqual({
      natSrc: '09090909',
      natDst: '08080808',
      natSport: 4000,
      natDport: 80,
    });
    expect(read('-n [fd::9]:4000 -g fd::8')).toEqual({
      natSrc: addressHex('fd::9'),
      natDst: addressHex('fd::8'),
      natSport: 4000,
      natDport: undefined,
    });
  });

  test('what the tool creates is written the same way', () => {
    const inserts = REQUESTS.filter(
      ({ command }) => /^-I/.test(command) && !/ -n | --label/.test(command),
    );
    expect(inserts.length).toBeGreaterThan(6);
    for (const vector of inserts) {
      load(vector);
      const ours = encode(CREATE, 0, NLM_ACK_CREATE_EXCL);
      const theirs = fromHex(vector.hex);
      expect(tree(ours.subarray(20)), vector.name).toEqual(tree(theirs.subarray(20)));
      expect(toHex(ours.subarray(4, 8)), vector.name).toBe(toHex(theirs.subarray(4, 8)));
    }
  });
});
