// The lines that operators read, against those that the C tool printed for the same messages.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import * as L from '../../../assembly/layout.js';
import { ipv6Text } from '../../../src/report/address.js';
import { CPU_COUNTERS, cpuText, EXPECT_CPU_COUNTERS } from '../../../src/report/cpu.js';
import { expectJson, expectText, expectXml } from '../../../src/report/expect.js';
import { ExpectReader, FlowReader, flowText } from '../../../src/report/flow.js';
import { flowJson } from '../../../src/report/json.js';
import { flowXml } from '../../../src/report/xml.js';
import {
  type DecodedExpect,
  type DecodedFlow,
  writeAddress,
  writeExpect,
  writeFlow,
} from '../../flow-writer.js';

interface Vector {
  name: string;
  event: string;
  command?: string;
  conntrackLineCore?: string;
  printedAt?: number;
  labelmap?: Record<string, string>;
  decoded: DecodedFlow &
    DecodedExpect & {
      cpu?: number;
      stats?: Record<string, number>;
      expStats?: Record<string, number>;
      entries?: number;
    };
}

const vectors: Vector[] = JSON.parse(
  readFileSync(new URL('../../vectors/ctnetlink-vectors.json', import.meta.url), 'utf8'),
);
const FLOW_EVENTS = ['NEW', 'UPDATE', 'DESTROY', 'DUMP', 'GET'];
const flows = vectors.filter((vector) => FLOW_EVENTS.includes(vector.event));
const expectations = vectors.filter((vector) => /^EXP_(NEW|DESTROY|DUMP)$/.test(vector.event));

// Records lie at odd places of a larger memory, so that a forgotten base offset shows.
const AT = 1016;
const view = new DataView(new ArrayBuffer(4096));

beforeAll(() => {
  process.env.TZ = 'UTC';
});

function flowOf(decoded: DecodedFlow): FlowReader {
  writeFlow(view, AT, decoded);
  return new FlowReader(view, AT);
}

function expectOf(decoded: DecodedExpect): ExpectReader {
  writeExpect(view, AT, decoded);
  return new ExpectReader(view, AT);
}

function isDump(vector: Vector): boolean {
  return ['DUMP', 'GET', 'EXP_DUMP'].includes(vector.event);
}

function lineOf(vector: Vector): string {
  const reader = flowOf(vector.decoded);
  const words = vector.command?.split(' ') ?? ['-o', 'extended,id'];
  const output = (words[words.indexOf('-o') + 1] ?? '').split(',');
  const map = Object.entries(vector.labelmap ?? {}).map(([bit, name]) => [+bit, name] as const);
  return flowText(reader, {
    event: isDump(vector) ? undefined : reader.event,
    layer3: output.includes('extended'),
    id: output.includes('id'),
    ktimestamp: output.includes('ktimestamp'),
    labels: output.includes('labels') ? new Map(map) : undefined,
    userspace: true,
    ...(vector.printedAt === undefined ? {} : { now: vector.printedAt }),
  });
}

describe('a flow prints the line of the C tool', () => {
  it('has vectors of every kind', () => {
    expect(flows.length).toBeGreaterThan(200);
    for (const event of FLOW_EVENTS) expect(flows.some((v) => v.event === event)).toBe(true);
  });

  it.each(flows)('$name', (vector) => {
    expect(vector.conntrackLineCore).toBeDefined();
    expect(lineOf(vector)).toBe(vector.conntrackLineCore);
  });
});

describe('an expectation prints the line of the C tool', () => {
  it.each(expectations)('$name', (vector) => {
    const reader = expectOf(vector.decoded);
    const event = isDump(vector) ? undefined : reader.event;
    expect(expectText(reader, { event })).toBe(vector.conntrackLineCore);
  });
});

describe('counters of the kernel print the line of the C tool', () => {
  it.each(vectors.filter((vector) => vector.decoded.cpu !== undefined))('$name', (vector) => {
    const { cpu, stats, expStats } = vector.decoded;
    const names: readonly string[] = stats ? CPU_COUNTERS : EXPECT_CPU_COUNTERS;
    const counters = Object.entries(stats ?? expStats ?? {});
    counters.sort(([a], [b]) => names.indexOf(a) - names.indexOf(b));
    expect(counters.every(([name]) => names.includes(name))).toBe(true);
    expect(cpuText(cpu!, counters)).toBe(vector.conntrackLineCore);
  });

  it('leaves only the plain count of `conntrack -C` to its caller', () => {
    const rest = vectors.filter(
      (v) =>
        v.conntrackLineCore !== undefined &&
        !flows.includes(v) &&
        !expectations.includes(v) &&
        v.decoded.cpu === undefined,
    );
    expect(rest.map((v) => [v.event, v.conntrackLineCore])).toEqual([['STATS', '1']]);
  });
});

const ftpControl: DecodedFlow = {
  orig: { src: '10.1.0.2', dst: '10.2.0.2', proto: 6, sport: 40009, dport: 21 },
  status: 0xe,
  timeout: 3600,
  helper: { name: 'ftp' },
  protoinfo: { tcp: { state: 3 } },
};

describe('lines of the caches of the daemon', () => {
  it('the external cache has no reply, no timeout and the ages at the end', () => {
    const line = flowText(flowOf(ftpControl), { timeout: false, expires: 3, active: 3 });
    expect(line).toBe(
      'tcp      6 ESTABLISHED src=10.1.0.2 dst=10.2.0.2 sport=40009 dport=21 [ASSURED] helper=ftp [expires in 3s] [active since 3s]',
    );
  });

  it('a failed commit is logged with its timeout', () => {
    expect(flowText(flowOf({ ...ftpControl, timeout: 432000 }))).toContain('6 432000 ESTABLISHED');
  });

  it('a flow of a protocol without tracker is `unknown` and has no ports', () => {
    const flow = flowOf({
      orig: { src: '7.7.7.7', dst: '8.8.8.8', proto: 89 },
      reply: { src: '8.8.8.8', dst: '7.7.7.7', proto: 89 },
      status: 8,
      mark: 0,
    });
    expect(flowText(flow, { timeout: false, active: 0 })).toBe(
      'unknown  89 src=7.7.7.7 dst=8.8.8.8 [UNREPLIED] src=8.8.8.8 dst=7.7.7.7 mark=0 [active since 0s]',
    );
  });

  it('an expectation has no timeout and its age', () => {
    const line = expectText(expectOf(ftpData), { timeout: false, active: 2 });
    expect(line).toBe(
      'proto=6 src=10.1.0.2 dst=10.2.0.2 sport=0 dport=41739 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.1.0.2 master-dst=10.2.0.2 sport=40009 dport=21 class=0 helper=ftp [active since 2s]',
    );
  });

  it('flags of an expectation are joined, its zone stands before them', () => {
    const line = expectText(expectOf({ ...ftpData, flags: 7, zone: 4 }), { timeout: false });
    expect(line).toContain('dport=21 zone=4 PERMANENT,INACTIVE,USERSPACE class=0 helper=ftp');
  });
});

const ftpData: DecodedExpect = {
  tuple: { src: '10.1.0.2', dst: '10.2.0.2', proto: 6, sport: 0, dport: 41739 },
  mask: { src: '255.255.255.255', dst: '255.255.255.255', proto: 6, sport: 0, dport: 65535 },
  master: { src: '10.1.0.2', dst: '10.2.0.2', proto: 6, sport: 40009, dport: 21 },
  timeout: 300,
  flags: 0,
  class: 0,
  helper: 'ftp',
};

describe('times and origins', () => {
  it('an event line begins with the time of receipt, unless the kernel stamped the event', () => {
    const received = 1795352748_000659_170n / 1n;
    const flow = flowOf({ ...ftpControl });
    expect(flowText(flow, { received })).toMatch(/^\[1795352748\.000659\]\ttcp {6}6 3600 /);
    const stamped = flowOf({ ...ftpControl, timestampEvent: '1795352279197509415' });
    expect(flowText(stamped, { received })).toMatch(/^\[1795352279\.197509\]\ttcp/);
  });

  it('the program that caused an event is named if known', () => {
    const flow = flowOf({ ...ftpControl, nlmsg: { type: 258, flags: 0, portid: 5820 } });
    expect(flow.event).toBe('destroy');
    expect(flowText(flow, { event: flow.event, userspace: true, progname: 'conntrack' })).toMatch(
      /^\[DESTROY\] tcp .* \[USERSPACE\] portid=5820 progname=conntrack$/,
    );
  });

  it('a killed flow shows both times of the kernel', () => {
    const timestamp = { start: '1795352279197528303', stop: '1795352280250978819' };
    const line = flowText(flowOf({ ...ftpControl, timestamp }), { ktimestamp: true });
    expect(line).toContain(
      'delta-time=1 [start=Sun Nov 22 12:57:59 2026] [stop=Sun Nov 22 12:58:00 2026] helper=ftp',
    );
  });

  it('labels without a name are left out, and a set without names is the bare word', () => {
    const flow = flowOf({ ...ftpControl, labels: '05000000000000000000000000000080' });
    expect(flowText(flow, { labels: new Map([[2, 'two']]) })).toMatch(/ labels=two$/);
    expect(flowText(flow, { labels: new Map() })).toMatch(/ labels$/);
    expect(flowText(flow)).not.toContain('labels');
  });
});

describe('IPv6 addresses are shortest', () => {
  const at = 2048;
  it.each([
    '::',
    '::1',
    '::0.1.0.2',
    '::1.2.3.4',
    '::ffff:1.2.3.4',
    '64:ff9b::c000:221',
    'fd01::2',
    '1:0:2:3:4:5:6:7',
    '1:0:0:2::3',
    '1::2:0:0:3:4',
    '2001:db8::',
    '1:2:3:4:5:6:7:8',
    'fe80::a00:27ff:fe4e:66a1',
  ])('%s', (text) => {
    new Uint8Array(view.buffer, at, 16).fill(0);
    writeAddress(view, at, text);
    expect(ipv6Text(view, at)).toBe(text);
  });

  it('text that is read back gives the same bytes', () => {
    const bytes = new Uint8Array(view.buffer, at, 16);
    const mostlyZero = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(255));
    fc.assert(
      fc.property(fc.array(mostlyZero, { minLength: 16, maxLength: 16 }), (address) => {
        bytes.set(address);
        const text = ipv6Text(view, at);
        bytes.fill(0xee);
        writeAddress(view, at, text);
        expect(Array.from(bytes)).toEqual(address);
      }),
    );
  });
});

describe('XML', () => {
  it('a flow of the internal cache', () => {
    const flow = flowOf({
      orig: { src: '10.1.0.2', dst: '10.2.0.2', proto: 6, sport: 40002, dport: 8080 },
      reply: { src: '10.2.0.2', dst: '10.1.0.2', proto: 6, sport: 8080, dport: 40002 },
      status: 0xe,
      timeout: 99,
      mark: 42,
      id: 876115093,
      protoinfo: { tcp: { state: 3 } },
    });
    expect(flowXml(flow, { timeout: false })).toBe(
      '<flow><meta direction="original"><layer3 protonum="2" protoname="ipv4"><src>10.1.0.2</src><dst>10.2.0.2</dst></layer3><layer4 protonum="6" protoname="tcp"><sport>40002</sport><dport>8080</dport></layer4></meta><meta direction="reply"><layer3 protonum="2" protoname="ipv4"><src>10.2.0.2</src><dst>10.1.0.2</dst></layer3><layer4 protonum="6" protoname="tcp"><sport>8080</sport><dport>40002</dport></layer4></meta><meta direction="independent"><state>ESTABLISHED</state><mark>42</mark><id>876115093</id><assured/></meta></flow>',
    );
  });

  it('a flow of the external cache', () => {
    const flow = flowOf({
      orig: { src: '10.1.0.2', dst: '10.2.0.2', proto: 17, sport: 40006, dport: 5002 },
      status: 0xa,
    });
    expect(flowXml(flow, { timeout: false })).toBe(
      '<flow><meta direction="original"><layer3 protonum="2" protoname="ipv4"><src>10.1.0.2</src><dst>10.2.0.2</dst></layer3><layer4 protonum="17" protoname="udp"><sport>40006</sport><dport>5002</dport></layer4></meta><meta direction="reply"><layer3 protonum="0" protoname="unknown"><src></src><dst></dst></layer3><layer4 protonum="0" protoname="unknown"></layer4></meta><meta direction="independent"></meta></flow>',
    );
  });

  it('a ping over IPv6 has an empty fourth layer', () => {
    const flow = flowOf({
      orig: { src: 'fd01::2', dst: 'fd02::2', proto: 58, icmpType: 128, icmpCode: 0, icmpId: 9 },
      reply: { src: 'fd02::2', dst: 'fd01::2', proto: 58, icmpType: 129, icmpCode: 0, icmpId: 9 },
      status: 0xa,
      id: 4293064849,
    });
    expect(flowXml(flow)).toBe(
      '<flow><meta direction="original"><layer3 protonum="10" protoname="ipv6"><src>fd01::2</src><dst>fd02::2</dst></layer3><layer4 protonum="58" protoname="icmpv6"></layer4></meta><meta direction="reply"><layer3 protonum="10" protoname="ipv6"><src>fd02::2</src><dst>fd01::2</dst></layer3><layer4 protonum="58" protoname="icmpv6"></layer4></meta><meta direction="independent"><id>4293064849</id></meta></flow>',
    );
  });

  it('an expectation', () => {
    expect(expectXml(expectOf(ftpData), { timeout: false })).toBe(
      '<flow><layer3 protonum="2" protoname="ipv4"><expected><src>10.1.0.2</src><dst>10.2.0.2</dst></expected><mask><src>255.255.255.255</src><dst>255.255.255.255</dst></mask><master><src>10.1.0.2</src><dst>10.2.0.2</dst></master></layer3><layer4 protonum="6" protoname="tcp"><expected><sport>0</sport><dport>41739</dport></expected><mask><sport>0</sport><dport>65535</dport></mask><master><sport>40009</sport><dport>21</dport></master></layer4><meta><helper-name>ftp</helper-name><class>0</class></meta></flow>',
    );
    expect(expectXml(expectOf({ ...ftpData, flags: 3, zone: 9 }))).toContain(
      '<meta><helper-name>ftp</helper-name><timeout>300</timeout><class>0</class><zone>9</zone><permanent/><inactive/></meta>',
    );
  });

  it('every vector closes what it opens and names the state of its own protocol', () => {
    for (const vector of flows) {
      const reader = flowOf(vector.decoded);
      const xml = flowXml(reader, { event: reader.event, labels: new Map([[1, 'a<b&c']]) });
      const open: string[] = [];
      for (const [, close, name, empty] of xml.matchAll(/<(\/?)([\w-]+)[^>]*?(\/?)>/g)) {
        if (close) expect(open.pop()).toBe(name);
        else if (!empty) open.push(name!);
      }
      expect(open).toEqual([]);
      const info = vector.decoded.protoinfo as Record<string, { stateName?: string }> | undefined;
      const state = info && Object.values(info)[0]?.stateName;
      if (state !== undefined) expect(xml).toContain(`<state>${state}</state>`);
    }
  });

  it('text from outside cannot break out of its element', () => {
    const xml = flowXml(flowOf({ ...ftpControl, secctx: 'a<b>&"', use: 1 }), { timeout: true });
    expect(xml).toContain('<secctx>a&lt;b&gt;&amp;&quot;</secctx><use>1</use>');
  });

  it('an event bears its kind, its moment and the times of the kernel', () => {
    const timestamp = { start: '1795352279197528303', stop: '1795352280250978819' };
    const xml = flowXml(flowOf({ ...ftpControl, timestamp }), {
      event: 'destroy',
      ktimestamp: true,
      when: new Date(Date.UTC(2026, 10, 22, 3, 4, 5)),
    });
    expect(xml).toMatch(/^<flow type="destroy">/);
    expect(xml).toContain(
      '<assured/><timestamp><start>1795352279197528303</start><stop>1795352280250978819</stop></timestamp><deltatime>1</deltatime></meta><when><hour>3</hour><min>04</min><sec>05</sec><wday>1</wday><day>22</day><month>11</month><year>2026</year></when><helper>ftp</helper></flow>',
    );
  });
});

describe('the age of a flow that has ended', () => {
  // 0.4 s that cross the end of a second: C's text says 1, its XML 0.
  const timestamp = { start: '1795352279800000000', stop: '1795352280200000000' };
  const flow = () => flowOf({ ...ftpControl, timestamp });

  it('is the difference of whole seconds in text', () => {
    expect(flowText(flow())).toContain(' delta-time=1');
  });

  it('is the whole seconds of the difference in XML', () => {
    expect(flowXml(flow())).toContain('<deltatime>0</deltatime>');
  });
});

describe('JSON', () => {
  it('names every field as documented', () => {
    const flow = flowOf({
      ...ftpControl,
      nlmsg: { type: 258, flags: 0, portid: 77 },
      reply: { src: '10.2.0.2', dst: '10.1.0.2', proto: 6, sport: 21, dport: 40009, zone: 6 },
      mark: 5,
      id: 4294967295,
      labels: '03000000000000000000000000000000',
      countersOrig: { packets: '3', bytes: '9223372036854775809' },
      timestamp: { start: '1795352279197528303' },
    });
    const text = flowJson(flow, {
      event: flow.event,
      labels: new Map([[0, 'zero']]),
      now: 1795352280,
      active: 1,
    });
    expect(text).toContain('"bytes":9223372036854775809');
    expect(JSON.parse(text)).toEqual({
      event: 'destroy',
      original: {
        layer3: 'ipv4',
        protocol: 6,
        layer4: 'tcp',
        src: '10.1.0.2',
        dst: '10.2.0.2',
        sport: 40009,
        dport: 21,
        packets: 3,
        bytes: 2 ** 63, // what a JavaScript reader makes of it
      },
      reply: {
        layer3: 'ipv4',
        protocol: 6,
        layer4: 'tcp',
        src: '10.2.0.2',
        dst: '10.1.0.2',
        sport: 21,
        dport: 40009,
        zone: 6,
      },
      state: 'ESTABLISHED',
      status: ['seen_reply', 'assured', 'confirmed'],
      timeout: 3600,
      mark: 5,
      helper: 'ftp',
      labels: ['zero', 1],
      id: 4294967295,
      portid: 77,
      start: '2026-11-22T12:57:59.197528303Z',
      age: 1,
      active: 1,
    });
  });

  it('NAT shows what the flow is translated to', () => {
    const flow = flowOf(ftpControl);
    view.setUint32(AT + L.FLOW_PRESENT, flow.present | L.HAS_NAT_SRC | L.HAS_NAT_SPORT, true);
    writeAddress(view, AT + L.FLOW_NAT_SRC, '9.9.9.9');
    view.setUint16(AT + L.FLOW_NAT_SPORT, 4000);
    expect(JSON.parse(flowJson(flow)).nat).toEqual({ src: '9.9.9.9', sport: 4000 });
  });

  it('every vector is an object that agrees with its message', () => {
    for (const vector of flows) {
      const object = JSON.parse(flowJson(flowOf(vector.decoded)));
      expect(object.original.src).toBe(vector.decoded.orig?.src);
      expect(object.reply.dst).toBe(vector.decoded.reply?.dst);
      expect(object.id).toBe(vector.decoded.id);
      expect(object.timeout).toBe(vector.decoded.timeout);
      expect(object.original.sport ?? object.original.srckey).toBe(vector.decoded.orig?.sport);
      expect(object.original.type).toBe(vector.decoded.orig?.icmpType);
    }
  });

  it('an expectation', () => {
    expect(JSON.parse(expectJson(expectOf({ ...ftpData, flags: 1 })))).toMatchObject({
      tuple: { src: '10.1.0.2', sport: 0, dport: 41739 },
      mask: { src: '255.255.255.255', dport: 65535 },
      master: { sport: 40009 },
      timeout: 300,
      flags: ['permanent'],
      class: 0,
      helper: 'ftp',
    });
  });
});

describe('a reader', () => {
  it('moves to another record and to grown memory', () => {
    const other = new DataView(new ArrayBuffer(L.FLOW_SIZE * 3));
    const second = { ...ftpControl, orig: { ...ftpControl.orig, sport: 7 } };
    writeFlow(other, L.FLOW_SIZE, ftpControl);
    writeFlow(other, L.FLOW_SIZE * 2, second);
    const reader = flowOf({ orig: { src: '1.1.1.1', dst: '2.2.2.2', proto: 17 } });
    expect(flowText(reader.attach(other).at(L.FLOW_SIZE))).toContain('sport=40009');
    expect(flowText(reader.at(L.FLOW_SIZE * 2))).toContain('sport=7');
  });
});
