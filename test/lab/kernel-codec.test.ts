// The codec before its judge: our requests make flows in a real kernel, and what the kernel then
// says of them, read by our decoder, is what was asked for. One throw-away network namespace with a
// ruleset that has NAT chains and uses labels, so that the kernel keeps both.

import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as L from '../../assembly/layout.js';
import { missingPrograms, missingRoot } from '../../lab/require.js';
import { addressHex, readExpect, readFlow } from '../unit/ctnetlink/wide.js';
import { fromHex, sandbox, toHex } from '../wasm.js';

const NAMESPACE = `ft-codec-${process.pid}`;
const SCRIPT = fileURLToPath(new URL('./kernel-requests.mjs', import.meta.url));
const RULES = `table inet codec {
  chain filter { type filter hook forward priority 0; ct label set 5; }
  chain source { type nat hook postrouting priority 100; }
  chain target { type nat hook prerouting priority -100; }
}`;

const CREATE = 0;
const UPDATE = 1;
const DELETE = 2;
const GET = 3;
const NLM_F_ACK = 4;
const NEW_FLAGS = 0x604; // ACK, CREATE, EXCL
const WINDOW_TRACKING = 1;
const CT_GET = 0x101;
const EXP_GET = 0x201;
const ENOENT = 2;
const EEXIST = 17;

const box = sandbox(4);
const { bytes, view, fn } = box;
const FLOW = 1024;
const EXPECT = 2048;
const OUT = 8192;
const MESSAGE = 4096;

interface Tuple {
  src: string;
  dst: string;
  proto: number;
  sport?: number;
  dport?: number;
  icmp?: [id: number, type: number, code: number];
}

/** A flow to be made: the original tuple, what is replicated with it, and what must come back. */
interface Wish {
  orig: Tuple;
  status?: number;
  timeout?: number;
  mark?: number;
  zone?: number;
  zoneOrig?: number;
  zoneReply?: number;
  state?: number;
  wscale?: [number, number];
  tcpFlags?: [number, number];
  vtags?: [number, number];
  seqadj?: number[];
  synproxy?: number[];
  labels?: string;
  helper?: string;
  master?: Tuple;
  natSrc?: string;
  natDst?: string;
  natSport?: number;
  natDport?: number;
}

function putTuple(at: number, tuple: Tuple): void {
  const v6 = tuple.src.includes(':');
  bytes.fill(0, at, at + L.TUPLE_SIZE);
  bytes[at + L.TUPLE_L3] = v6 ? 10 : 2;
  bytes[at + L.TUPLE_L4] = tuple.proto;
  let known = L.KNOWN_L3 | L.KNOWN_L4;
  bytes.set(fromHex(addressHex(tuple.src)), at + L.TUPLE_SRC);
  bytes.set(fromHex(addressHex(tuple.dst)), at + L.TUPLE_DST);
  if (tuple.sport !== undefined) {
    known |= L.KNOWN_PORTS;
    view.setUint16(at + L.TUPLE_SPORT, tuple.sport);
    view.setUint16(at + L.TUPLE_DPORT, tuple.dport!);
  }
  if (tuple.icmp) {
    known |= L.KNOWN_ICMP;
    view.setUint16(at + L.TUPLE_SPORT, tuple.icmp[0]);
    bytes[at + L.TUPLE_ICMP_TYPE] = tuple.icmp[1];
    bytes[at + L.TUPLE_ICMP_CODE] = tuple.icmp[2];
  }
  bytes[at + L.TUPLE_KNOWN] = known;
}

/** Writes a wish as a Flow at FLOW. */
function putFlow(wish: Wish): void {
  bytes.fill(0, FLOW, FLOW + L.FLOW_SIZE);
  putTuple(FLOW + L.FLOW_ORIG, wish.orig);
  let has = L.HAS_ORIG;
  const word = (value: number | undefined, at: number, bit: number) => {
    if (value === undefined) return;
    view.setUint32(FLOW + at, value, true);
    has |= bit;
  };
  const half = (value: number | undefined, at: number, bit: number, little: boolean) => {
    if (value === undefined) return;
    view.setUint16(FLOW + at, value, little);
    has |= bit;
  };
  const raw = (value: Uint8Array | undefined, at: number, bit: number) => {
    if (value === undefined) return;
    bytes.set(value, FLOW + at);
    has |= bit;
  };
  const pair = (value: [number, number] | undefined, at: number, step: number, bit: number) => {
    if (value === undefined) return;
    bytes[FLOW + at] = value[0];
    bytes[FLOW + at + step] = value[1];
    has |= bit;
  };
  const words = (value: number[] | undefined, at: number, bit: number) => {
    value?.forEach((one, index) => {
      word(one, at + 4 * index, bit);
    });
  };
  const address = (text?: string) => (text === undefined ? undefined : fromHex(addressHex(text)));
  word(wish.status, L.FLOW_STATUS, L.HAS_STATUS);
  word(wish.timeout ?? 600, L.FLOW_TIMEOUT, L.HAS_TIMEOUT);
  word(wish.mark, L.FLOW_MARK, L.HAS_MARK);
  half(wish.zone, L.FLOW_ZONE, L.HAS_ZONE, true);
  half(wish.zoneOrig, L.FLOW_ZONE_ORIG, L.HAS_ZONE_ORIG, true);
  half(wish.zoneReply, L.FLOW_ZONE_REPLY, L.HAS_ZONE_REPLY, true);
  if (wish.state !== undefined) raw(Uint8Array.of(wish.state), L.FLOW_STATE, L.HAS_STATE);
  pair(wish.wscale, L.FLOW_WSCALE_ORIG, 1, L.HAS_WSCALE);
  pair(wish.tcpFlags, L.FLOW_TCP_FLAGS_ORIG, 2, L.HAS_TCP_FLAGS);
  words(wish.vtags, L.FLOW_VTAG_ORIG, L.HAS_VTAG);
  words(wish.seqadj, L.FLOW_SEQADJ, L.HAS_SEQADJ_ORIG | L.HAS_SEQADJ_REPLY);
  words(wish.synproxy, L.FLOW_SYNPROXY, L.HAS_SYNPROXY);
  raw(wish.labels === undefined ? undefined : fromHex(wish.labels), L.FLOW_LABELS, L.HAS_LABELS);
  raw(wish.helper ? Buffer.from(wish.helper) : undefined, L.FLOW_HELPER, L.HAS_HELPER);
  raw(address(wish.natSrc), L.FLOW_NAT_SRC, L.HAS_NAT_SRC);
  raw(address(wish.natDst), L.FLOW_NAT_DST, L.HAS_NAT_DST);
  half(wish.natSport, L.FLOW_NAT_SPORT, L.HAS_NAT_SPORT, false);
  half(wish.natDport, L.FLOW_NAT_DPORT, L.HAS_NAT_DPORT, false);
  if (wish.master) {
    putTuple(FLOW + L.FLOW_MASTER, wish.master);
    has |= L.HAS_MASTER;
  }
  view.setUint32(FLOW + L.FLOW_PRESENT, has, true);
}

type Step = { request: string } | { dump: number };
let sequence = 0;

/** The step that sends the request `kind` for a wish. */
function ask(wish: Wish, kind: number, options = 0): Step {
  putFlow(wish);
  const flags = kind === CREATE ? NEW_FLAGS : NLM_F_ACK;
  const length = fn.encodeRequest!(FLOW, OUT, 1024, kind, ++sequence, flags, options);
  expect(length).toBeGreaterThan(20);
  return { request: toHex(bytes.slice(OUT, OUT + length)) };
}

/** Takes the steps inside the namespace. */
function run(steps: Step[]): unknown[] {
  const child = spawnSync('ip', ['netns', 'exec', NAMESPACE, process.execPath, SCRIPT], {
    input: JSON.stringify(steps),
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    timeout: 30_000,
  });
  if (child.status !== 0) throw new Error(child.stderr || String(child.error));
  return JSON.parse(child.stdout) as unknown[];
}

type Shape = Record<string, unknown>;

/** What the kernel's dump says, flow by flow. */
function decodeDump(messages: unknown): Shape[] {
  return (messages as string[]).map((hex) => {
    const message = fromHex(hex);
    bytes.set(message, MESSAGE);
    expect(fn.decodeFlow!(MESSAGE, message.length, FLOW)).toBe(0);
    fn.natFromReply!(FLOW);
    return readFlow(box, FLOW);
  });
}

/** Creates the flows in order in an empty table; the kernel must accept all. Returns its view. */
function make(wishes: Wish[], options = 0): Shape[] {
  flush();
  const results = run([...wishes.map((wish) => ask(wish, CREATE, options)), { dump: CT_GET }]);
  expect(results.slice(0, -1)).toEqual(wishes.map(() => 0));
  return decodeDump(results.at(-1));
}

function flush(): void {
  execFileSync('ip', ['netns', 'exec', NAMESPACE, 'conntrack', '-F'], { stdio: 'pipe' });
}

const missing = missingRoot() ?? missingPrograms(['ip', 'nft', 'conntrack']);
if (missing) process.stderr.write(`lab tests are skipped: ${missing}\n`);

const tcp4: Tuple = { src: '10.1.0.2', dst: '10.2.0.2', proto: 6, sport: 40001, dport: 80 };
const udp4: Tuple = { ...tcp4, proto: 17 };
const tcp6: Tuple = { src: 'fd01::2', dst: 'fd02::2', proto: 6, sport: 40001, dport: 80 };
const udp6: Tuple = { ...tcp6, proto: 17 };
const ASSURED = 0xe; // SEEN_REPLY, ASSURED, CONFIRMED

describe.skipIf(missing !== undefined)('flows made in a kernel', () => {
  beforeAll(() => {
    execFileSync('ip', ['netns', 'add', NAMESPACE]);
    execFileSync('ip', ['netns', 'exec', NAMESPACE, 'nft', '-f', '-'], { input: RULES });
  });
  afterAll(() => {
    execFileSync('ip', ['netns', 'del', NAMESPACE]);
  });

  const PLAIN: [string, Tuple][] = [
    ['TCP, IPv4', tcp4],
    ['TCP, IPv6', tcp6],
    ['UDP, IPv4', udp4],
    ['UDP, IPv6', udp6],
    ['UDPlite', { ...tcp4, proto: 136 }],
    ['UDPlite, IPv6', { ...tcp6, proto: 136 }],
    ['SCTP', { ...tcp4, proto: 132 }],
    ['SCTP, IPv6', { ...tcp6, proto: 132 }],
    ['GRE with keys', { ...tcp4, proto: 47, sport: 7, dport: 9 }],
    ['GRE without keys', { src: '10.1.0.2', dst: '10.2.0.2', proto: 47 }],
    ['ICMP echo', { src: '10.1.0.2', dst: '10.2.0.2', proto: 1, icmp: [99, 8, 0] }],
    ['ICMP timestamp', { src: '10.1.0.2', dst: '10.2.0.2', proto: 1, icmp: [99, 13, 0] }],
    ['ICMP address mask', { src: '10.1.0.2', dst: '10.2.0.2', proto: 1, icmp: [99, 17, 0] }],
    ['ICMPv6 echo', { src: 'fd01::2', dst: 'fd02::2', proto: 58, icmp: [99, 128, 0] }],
    ['ICMPv6 node information', { src: 'fd01::2', dst: 'fd02::2', proto: 58, icmp: [9, 139, 1] }],
    ['a protocol without ports', { src: '10.1.0.2', dst: '10.2.0.2', proto: 253 }],
    ['a protocol without ports, IPv6', { src: 'fd01::2', dst: 'fd02::2', proto: 50 }],
  ];

  test.each(PLAIN)('%s: created, found, updated and deleted', (_name, orig) => {
    const wish: Wish = { orig, status: ASSURED, timeout: 900, mark: 0xdeadbeef };
    const [flow] = make([wish]);
    const seen = flow!.orig as Shape;
    expect(seen).toMatchObject({
      src: addressHex(orig.src),
      dst: addressHex(orig.dst),
      proto: orig.proto,
    });
    if (orig.sport !== undefined) {
      expect(seen).toMatchObject({ sport: orig.sport, dport: orig.dport });
      expect(flow!.reply).toMatchObject({ sport: orig.dport, dport: orig.sport });
    }
    if (orig.icmp) {
      const [icmpId, icmpType, icmpCode] = orig.icmp;
      expect(seen).toMatchObject({ icmpId, icmpType, icmpCode });
      expect(flow!.reply).toMatchObject({ icmpId, icmpCode });
      expect((flow!.reply as Shape).icmpType).toBe(
        { 8: 0, 13: 14, 17: 18, 128: 129, 139: 140 }[icmpType],
      );
    }
    expect(flow!.reply).toMatchObject({ src: addressHex(orig.dst), dst: addressHex(orig.src) });
    expect(flow!.mark).toBe(0xdeadbeef);
    expect(flow!.timeout).toBeGreaterThan(890);
    expect(flow!.timeout).toBeLessThanOrEqual(900);
    expect((flow!.status as number) & 0x3f).toBe(ASSURED);

    const changed = { ...wish, mark: 5, timeout: 70 };
    const results = run([
      ask(wish, CREATE),
      ask(wish, GET),
      ask(changed, UPDATE),
      { dump: CT_GET },
      ask(wish, DELETE),
      ask(wish, DELETE),
      ask(wish, GET),
      { dump: CT_GET },
    ]);
    expect(results.filter((result) => typeof result === 'number')).toEqual([
      EEXIST,
      0,
      0,
      0,
      ENOENT,
      ENOENT,
    ]);
    const [updated] = decodeDump(results[3]);
    expect(updated).toMatchObject({ orig: flow!.orig, reply: flow!.reply, mark: 5 });
    expect(updated!.timeout).toBeLessThanOrEqual(70);
    expect(results[7]).toEqual([]);
  });

  test('a delete takes its own flow and no other', () => {
    const others = [udp4, tcp6, { ...tcp4, sport: 40002 }].map((orig) => ({ orig }));
    make([{ orig: tcp4 }, ...others]);
    const [gone, rest] = run([ask({ orig: tcp4 }, DELETE), { dump: CT_GET }]);
    expect(gone).toBe(0);
    expect(decodeDump(rest)).toHaveLength(others.length);
  });

  describe('NAT', () => {
    const natted: [string, Wish, Shape][] = [];
    for (const [family, orig, source, target] of [
      ['IPv4', tcp4, '192.0.2.1', '198.51.100.1'],
      ['IPv6', tcp6, 'fd0a::1', 'fd0b::1'],
    ] as const) {
      const src = addressHex(source);
      const dst = addressHex(target);
      for (const proto of [6, 17, 132, 136]) {
        const tuple = { ...orig, proto };
        const name = (kind: string) => `${kind}, protocol ${proto}, ${family}`;
        natted.push(
          [name('source'), { orig: tuple, natSrc: source }, { natSrc: src }],
          [name('target'), { orig: tuple, natDst: target }, { natDst: dst }],
          [
            name('source and port'),
            { orig: tuple, natSrc: source, natSport: 50000 },
            { natSrc: src, natSport: 50000 },
          ],
          [
            name('target and port'),
            { orig: tuple, natDst: target, natDport: 8080 },
            { natDst: dst, natDport: 8080 },
          ],
          [name('port only'), { orig: tuple, natSport: 50001 }, { natSport: 50001 }],
          [
            name('both with ports'),
            { orig: tuple, natSrc: source, natDst: target, natSport: 50002, natDport: 8081 },
            { natSrc: src, natDst: dst, natSport: 50002, natDport: 8081 },
          ],
        );
      }
      const echo: Tuple = {
        src: orig.src,
        dst: orig.dst,
        proto: family === 'IPv4' ? 1 : 58,
        icmp: [77, family === 'IPv4' ? 8 : 128, 0],
      };
      natted.push([`ICMP, ${family}`, { orig: echo, natSrc: source }, { natSrc: src }]);
      const gre: Tuple = { ...orig, proto: 47, sport: 1, dport: 2 };
      natted.push([`GRE, ${family}`, { orig: gre, natDst: target }, { natDst: dst }]);
    }

    test.each(natted)('%s', (_name, wish, nat) => {
      const [flow] = make([{ ...wish, status: ASSURED }]);
      const { natSrc, natDst, natSport, natDport } = flow!;
      const given = JSON.parse(JSON.stringify({ natSrc, natDst, natSport, natDport }));
      expect(given).toEqual(nat);
      const source = nat.natSrc !== undefined || nat.natSport !== undefined;
      const target = nat.natDst !== undefined || nat.natDport !== undefined;
      // SRC_NAT and DST_NAT: the kernel will translate packets.
      expect((flow!.status as number) & 0x30).toBe((source ? 0x10 : 0) | (target ? 0x20 : 0));
    });

    test('a flow keeps its port though another of the same source has a new one', () => {
      const first = { orig: tcp4, natSrc: '192.0.2.1', natSport: 50000 };
      const second = { orig: { ...tcp4, dst: '10.2.0.3' }, natSrc: '192.0.2.1' };
      const flows = make([first, second]);
      const kept = flows.find(({ orig }) => (orig as Shape).dst === addressHex('10.2.0.3'));
      expect(kept).toMatchObject({ natSrc: addressHex('192.0.2.1'), reply: { dport: 40001 } });
    });

    test('an update of a translated flow is accepted and leaves its translation', () => {
      const wish = { orig: tcp6, natSrc: 'fd0a::1', natSport: 50000, status: ASSURED };
      make([wish]);
      const [result, dump] = run([ask({ ...wish, mark: 9 }, UPDATE), { dump: CT_GET }]);
      expect(result).toBe(0);
      expect(decodeDump(dump)[0]).toMatchObject({ natSport: 50000, mark: 9 });
    });
  });

  test('status: what the kernel refuses is not sent', () => {
    const wishes = [0xffffffff, 0x1, 0x20e, 0xc00e, 0x40e, 0].map((status, index) => ({
      orig: { ...tcp4, sport: 1000 + index },
      status,
    }));
    const flows = make(wishes);
    const status = (index: number) =>
      flows.find(({ orig }) => (orig as Shape).sport === 1000 + index)!.status as number;
    expect(wishes.map((_, index) => status(index) & 0x60f)).toEqual([
      0x40e, 0x8, 0xe, 0xe, 0x40e, 0x8,
    ]);
  });

  test('a fixed timeout can be updated', () => {
    const wish = { orig: udp4, status: 0x40e, timeout: 500 };
    make([wish]);
    const [result, dump] = run([ask({ ...wish, timeout: 9, mark: 3 }, UPDATE), { dump: CT_GET }]);
    expect(result).toBe(0);
    const [flow] = decodeDump(dump);
    expect(flow!.mark).toBe(3);
    expect(flow!.timeout).toBeGreaterThan(490);
  });

  test('a timeout of 0 makes a flow all the same', () => {
    expect(make([{ orig: udp4, timeout: 0 }])).toHaveLength(1);
  });

  test('TCP state, flags and window scale', () => {
    const tcp = (wish: Partial<Wish>, options = 0) =>
      ((make([{ orig: tcp4, status: ASSURED, ...wish }], options)[0]!.protoinfo as Shape).tcp ??
        {}) as Shape;
    for (let state = 0; state <= 9; state++) expect(tcp({ state }).state).toBe(state);
    expect(tcp({ state: 3 })).toMatchObject({ flagsOrig: 8, flagsReply: 8 });
    expect(tcp({ state: 3 }, WINDOW_TRACKING)).toMatchObject({ flagsOrig: 0, flagsReply: 0 });
    const scales = { wscaleOrig: 7, wscaleReply: 9 };
    expect(tcp({ state: 3, wscale: [7, 9] })).toMatchObject({ ...scales, flagsOrig: 9 });
    expect(tcp({ state: 3, wscale: [7, 9] }, WINDOW_TRACKING)).toMatchObject({
      ...scales,
      flagsOrig: 1,
      flagsReply: 1,
    });
    expect(tcp({ state: 3, wscale: [7, 9], tcpFlags: [0x23, 0x23] })).toMatchObject({
      ...scales,
      flagsOrig: 0x0b,
      flagsReply: 0x0b,
    });
    // Scaling was not agreed on: the kernel keeps none, and says so.
    expect(tcp({ state: 1, wscale: [7, 0], tcpFlags: [0x03, 0] })).toMatchObject({
      wscaleOrig: 0,
      wscaleReply: 0,
      flagsOrig: 0x0b,
      flagsReply: 0x08,
    });
  });

  test('SCTP state and verification tags', () => {
    const orig = { ...tcp4, proto: 132 };
    const [flow] = make([{ orig, status: ASSURED, state: 4, vtags: [0xfedcba98, 2] }]);
    expect(flow!.protoinfo).toEqual({ sctp: { state: 4, vtagOrig: 0xfedcba98, vtagReply: 2 } });
    // State without tags is a nest that the kernel refuses: it is left out.
    expect(make([{ orig, state: 4 }])).toHaveLength(1);
  });

  test('zones of both directions and of one', () => {
    const wishes: Wish[] = [
      { orig: tcp4 },
      { orig: tcp4, zone: 7 },
      { orig: udp4, zoneOrig: 8 },
      { orig: tcp6, zoneReply: 9 },
    ];
    const flows = make(wishes);
    const zones = flows.map((flow) => [
      flow.zone ?? 0,
      (flow.orig as Shape).zone ?? 0,
      (flow.reply as Shape).zone ?? 0,
    ]);
    expect(zones.sort()).toEqual([
      [0, 0, 0],
      [0, 0, 9],
      [0, 8, 0],
      [7, 0, 0],
    ]);
    const kinds = wishes.flatMap((wish) => [ask(wish, UPDATE), ask(wish, DELETE)]);
    const results = run([...kinds, { dump: CT_GET }]);
    expect(results).toEqual([...kinds.map(() => 0), []]);
  });

  test('sequence adjustment, synproxy and labels, created and updated', () => {
    const wish: Wish = {
      orig: tcp4,
      status: ASSURED,
      state: 3,
      seqadj: [1, 2, 0xffffff00, 4, 5, 6],
      synproxy: [11, 12, 13],
      labels: '03000000000000000000000000000080',
    };
    const check = (flow: Shape | undefined, given: Wish) => {
      const [a, b, c, d, e, f] = given.seqadj!;
      const [isn, its, tsoff] = given.synproxy!;
      expect(flow).toMatchObject({
        seqAdjOrig: { correctionPos: a, offsetBefore: b, offsetAfter: c },
        seqAdjReply: { correctionPos: d, offsetBefore: e, offsetAfter: f },
        synproxy: { isn, its, tsoff },
        labels: given.labels,
      });
    };
    check(make([wish])[0], wish);
    const changed = {
      ...wish,
      seqadj: [7, 8, 9, 10, 11, 12],
      synproxy: [1, 2, 3],
      labels: '0000000000000000000000000000ff00',
    };
    const [result, dump] = run([ask(changed, UPDATE), { dump: CT_GET }]);
    expect(result).toBe(0);
    check(decodeDump(dump)[0], changed);
  });

  test('helper, related flow and expectation', () => {
    const master = { ...tcp4, dport: 21 };
    const child = { src: '10.2.0.2', dst: '10.1.0.2', proto: 6, sport: 20, dport: 41000 };
    const flows = make([
      { orig: master, status: ASSURED, state: 3, helper: 'ftp' },
      { orig: child, status: 0xf, state: 3, master },
    ]);
    const parent = flows.find(({ helper }) => helper === 'ftp');
    const related = flows.find(({ master: of }) => of !== undefined);
    expect((parent!.status as number) & 0x2000).toBe(0x2000);
    expect(related!.master).toEqual(parent!.orig);
    expect((related!.status as number) & 1).toBe(1);

    bytes.fill(0, EXPECT, EXPECT + L.EXPECT_SIZE);
    putTuple(EXPECT + L.EXPECT_TUPLE, { ...child, sport: 0, dport: 42000 });
    putTuple(EXPECT + L.EXPECT_MASK, {
      src: '255.255.255.255',
      dst: '255.255.255.255',
      proto: 6,
      sport: 0,
      dport: 0xffff,
    });
    putTuple(EXPECT + L.EXPECT_MASTER, master);
    putTuple(EXPECT + L.EXPECT_NAT, {
      ...tcp4,
      src: '10.9.9.9',
      dst: '0.0.0.0',
      sport: 0,
      dport: 4242,
    });
    bytes.set(Buffer.from('nat-follow-master'), EXPECT + L.EXPECT_FN);
    view.setUint32(EXPECT + L.EXPECT_TIMEOUT, 100, true);
    view.setUint32(EXPECT + L.EXPECT_NAT_DIR, 1, true);
    const has =
      L.EXPECT_HAS_TUPLE |
      L.EXPECT_HAS_MASK |
      L.EXPECT_HAS_MASTER |
      L.EXPECT_HAS_TIMEOUT |
      L.EXPECT_HAS_FLAGS |
      L.EXPECT_HAS_CLASS |
      L.EXPECT_HAS_FN |
      L.EXPECT_HAS_NAT |
      L.EXPECT_HAS_NAT_DIR;
    view.setUint32(EXPECT + L.EXPECT_PRESENT, has, true);
    const announce = (kind: number) => {
      const flags = kind === CREATE ? NEW_FLAGS : NLM_F_ACK;
      const length = fn.encodeExpectRequest!(EXPECT, OUT, 1024, kind, ++sequence, flags);
      return { request: toHex(bytes.slice(OUT, OUT + length)) };
    };
    const results = run([
      announce(CREATE),
      announce(UPDATE),
      { dump: EXP_GET },
      announce(GET),
      announce(DELETE),
      announce(DELETE),
      { dump: EXP_GET },
    ]);
    const announced = results[2] as string[];
    expect(results.filter((result) => typeof result === 'number')).toEqual([0, 0, 0, 0, ENOENT]);
    expect(announced).toHaveLength(1);
    const message = fromHex(announced[0]!);
    bytes.set(message, MESSAGE);
    expect(fn.decodeExpect!(MESSAGE, message.length, 3072)).toBe(0);
    const read = readExpect(box, 3072);
    expect(read).toMatchObject({
      tuple: { src: addressHex('10.2.0.2'), sport: 0, dport: 42000 },
      mask: { src: 'ffffffff', sport: 0, dport: 0xffff },
      master: parent!.orig,
      nat: { src: addressHex('10.9.9.9') },
      natDir: 1,
      helper: 'ftp',
      fn: 'nat-follow-master',
      class: 0,
    });
    expect(read.timeout).toBeLessThanOrEqual(100);
    expect(results[6]).toEqual([]);
  });
});
