// Flows in sync messages: what C daemons sent each other is read to the last attribute, and written
// again byte for byte.

import { describe, expect, test } from 'vitest';
import * as layout from '../../../assembly/layout.js';
import { fromHex, type Sandbox, sandbox, toHex } from '../../wasm.js';
import { FLOW, OUT, type Sample, samples, snapshot, TUPLE } from './vectors.js';

const MSG = 32768;
const ORIG = FLOW + layout.FLOW_ORIG;
const MASTER = FLOW + layout.FLOW_MASTER;
const WSCALE = 4;
const OMIT_TIMEOUT = 2;
const BIG_ENDIAN_PEER = 1;

const flows = samples(0, 2);
const box = sandbox();

function decode(bytes: Uint8Array, options = 0, into = FLOW): number {
  box.bytes.fill(0, into, into + layout.FLOW_SIZE);
  box.bytes.set(bytes, MSG);
  return box.fn.decodeSync!(MSG, bytes.length, into, options);
}

function encode(type: number, options: number, room = 1468): Uint8Array {
  const length = box.fn.encodeSync!(FLOW, OUT, room, type, options);
  if (length < 0) throw new Error(`encodeSync: ${length}`);
  return box.bytes.slice(OUT, OUT + length);
}

const present = (b: Sandbox, at = FLOW) => b.view.getUint32(at + layout.FLOW_PRESENT, true);
const raw = (at: number, size: number) => toHex(box.bytes.subarray(at, at + size));
const u8 = (offset: number) => box.bytes[FLOW + offset];
const u32 = (offset: number) => box.view.getUint32(FLOW + offset, true);
const big = (hex: string) => Number.parseInt(hex, 16);
const swap = (hex: string) => hex.slice(2, 4) + hex.slice(0, 2);
const zeros = '0'.repeat(24);

/** What one attribute must leave in the Flow: its bit, and the check of its value. */
const fields: Record<string, [number, (hex: string) => void]> = {
  IPV4: [layout.HAS_ORIG, (hex) => addresses(ORIG, 2, hex)],
  IPV6: [layout.HAS_ORIG, (hex) => addresses(ORIG, 10, hex)],
  L4PROTO: [layout.HAS_ORIG, (hex) => expect(raw(ORIG + layout.TUPLE_L4, 1)).toBe(hex)],
  PORT: [layout.HAS_ORIG, (hex) => ports(ORIG, hex)],
  TCP_STATE: [layout.HAS_STATE, (hex) => expect(u8(layout.FLOW_STATE)).toBe(big(hex))],
  SCTP_STATE: [layout.HAS_STATE, (hex) => expect(u8(layout.FLOW_STATE)).toBe(big(hex))],
  STATUS: [layout.HAS_STATUS, (hex) => expect(u32(layout.FLOW_STATUS)).toBe(big(hex))],
  TIMEOUT: [layout.HAS_TIMEOUT, (hex) => expect(u32(layout.FLOW_TIMEOUT)).toBe(big(hex))],
  MARK: [layout.HAS_MARK, (hex) => expect(u32(layout.FLOW_MARK)).toBe(big(hex))],
  MASTER_IPV4: [layout.HAS_MASTER, (hex) => addresses(MASTER, 2, hex)],
  MASTER_IPV6: [layout.HAS_MASTER, (hex) => addresses(MASTER, 10, hex)],
  MASTER_L4PROTO: [layout.HAS_MASTER, (hex) => expect(raw(MASTER + 1, 1)).toBe(hex)],
  MASTER_PORT: [layout.HAS_MASTER, (hex) => ports(MASTER, hex)],
  SNAT_IPV4: [layout.HAS_NAT_SRC, (hex) => address(layout.FLOW_NAT_SRC, hex)],
  SNAT_IPV6: [layout.HAS_NAT_SRC, (hex) => address(layout.FLOW_NAT_SRC, hex)],
  DNAT_IPV4: [layout.HAS_NAT_DST, (hex) => address(layout.FLOW_NAT_DST, hex)],
  DNAT_IPV6: [layout.HAS_NAT_DST, (hex) => address(layout.FLOW_NAT_DST, hex)],
  SPAT_PORT: [
    layout.HAS_NAT_SPORT,
    (hex) => expect(raw(FLOW + layout.FLOW_NAT_SPORT, 2)).toBe(swap(hex)),
  ],
  DPAT_PORT: [
    layout.HAS_NAT_DPORT,
    (hex) => expect(raw(FLOW + layout.FLOW_NAT_DPORT, 2)).toBe(swap(hex)),
  ],
  NAT_SEQ_ADJ: [
    layout.HAS_SEQADJ_ORIG | layout.HAS_SEQADJ_REPLY,
    (hex) => words(layout.FLOW_SEQADJ, hex, [0, 1, 2, 3, 4, 5]),
  ],
  SCTP_VTAG_ORIG: [layout.HAS_VTAG, (hex) => expect(u32(layout.FLOW_VTAG_ORIG)).toBe(big(hex))],
  SCTP_VTAG_REPL: [layout.HAS_VTAG, (hex) => expect(u32(layout.FLOW_VTAG_REPLY)).toBe(big(hex))],
  ICMP_TYPE: [layout.HAS_ORIG, (hex) => expect(raw(ORIG + layout.TUPLE_ICMP_TYPE, 1)).toBe(hex)],
  ICMP_CODE: [layout.HAS_ORIG, (hex) => expect(raw(ORIG + layout.TUPLE_ICMP_CODE, 1)).toBe(hex)],
  ICMP_ID: [layout.HAS_ORIG, (hex) => expect(raw(ORIG + layout.TUPLE_SPORT, 2)).toBe(swap(hex))],
  TCP_WSCALE_ORIG: [layout.HAS_WSCALE, (hex) => expect(u8(layout.FLOW_WSCALE_ORIG)).toBe(big(hex))],
  TCP_WSCALE_REPL: [
    layout.HAS_WSCALE,
    (hex) => expect(u8(layout.FLOW_WSCALE_REPLY)).toBe(big(hex)),
  ],
  HELPER_NAME: [
    layout.HAS_HELPER,
    (hex) => expect(raw(FLOW + layout.FLOW_HELPER, 16)).toBe(hex.padEnd(32, '0')),
  ],
  LABELS: [layout.HAS_LABELS, (hex) => words(layout.FLOW_LABELS, hex, [0, 1, 2, 3])],
  SYNPROXY: [layout.HAS_SYNPROXY, (hex) => words(layout.FLOW_SYNPROXY, hex, [1, 0, 2])],
  ZONE: [
    layout.HAS_ZONE,
    (hex) => expect(box.view.getUint16(FLOW + layout.FLOW_ZONE, true)).toBe(big(hex)),
  ],
};

function addresses(tuple: number, l3: number, hex: string): void {
  const half = hex.length / 2;
  expect(box.bytes[tuple]).toBe(l3);
  expect(raw(tuple + layout.TUPLE_SRC, 16)).toBe(hex.slice(0, half).padEnd(32, '0'));
  expect(raw(tuple + layout.TUPLE_DST, 16)).toBe(hex.slice(half).padEnd(32, '0'));
}

function address(offset: number, hex: string): void {
  expect(raw(FLOW + offset, 16)).toBe(hex.length === 8 ? hex + zeros : hex);
}

function ports(tuple: number, hex: string): void {
  expect((box.bytes[tuple + layout.TUPLE_KNOWN] ?? 0) & layout.KNOWN_PORTS).not.toBe(0);
  expect(raw(tuple + layout.TUPLE_SPORT, 4)).toBe(hex);
}

/** Big-endian words on the wire, the `i`-th of which belongs into word `order[i]`. */
function words(offset: number, hex: string, order: number[]): void {
  order.forEach((place, i) => {
    expect(u32(offset + 4 * place)).toBe(big(hex.slice(8 * i, 8 * i + 8)));
  });
}

/** C daemons send NAT ports of 0 for ICMP whenever a nat chain exists; no flow has such. */
function isSpuriousPort(sample: Sample, name: string): boolean {
  return (
    sample.message.attrs.some((attr) => attr.name === 'ICMP_ID') &&
    (name === 'SPAT_PORT' || name === 'DPAT_PORT')
  );
}

describe('every captured flow message', () => {
  test('there are vectors of all three types', () => {
    expect(new Set(flows.map((sample) => sample.message.type))).toEqual(new Set([0, 1, 2]));
    expect(flows.length).toBeGreaterThan(100);
  });

  test.each(flows)('$name: each attribute is in the Flow and nothing else', (sample) => {
    expect(decode(sample.bytes)).toBe(0);
    let expected = 0;
    for (const attr of sample.message.attrs) {
      if (isSpuriousPort(sample, attr.name)) continue;
      const field = fields[attr.name];
      if (!field) throw new Error(`no check for ${attr.name}`);
      field[1](attr.valueHex);
      expected |= field[0];
    }
    expect(present(box)).toBe(expected);
    expect(box.view.getUint32(FLOW + layout.FLOW_OBSERVED, true)).toBe(0);
  });

  // Not reproduced: the spurious NAT ports of ICMP, which say nothing.
  const plain = flows.filter((s) => !s.message.attrs.some((a) => isSpuriousPort(s, a.name)));

  test.each(plain)('$name: decoded and encoded gives the same bytes', (sample) => {
    decode(sample.bytes);
    const wscale = sample.message.attrs.some((attr) => attr.name === 'TCP_WSCALE_ORIG');
    const bytes = encode(sample.message.type, wscale ? WSCALE : 0);
    const expected = sample.bytes.slice();
    expected[1] = 0; // flags and sequence belong to the sender
    expected.fill(0, 4, 8);
    expect(toHex(bytes)).toBe(toHex(expected));
  });

  test.each(flows)('$name: routing sees the same tuple and zone', (sample) => {
    decode(sample.bytes);
    const zone = box.fn.peekSync!(MSG, sample.bytes.length, TUPLE, 0);
    expect(zone).toBe(box.view.getUint16(FLOW + layout.FLOW_ZONE, true));
    expect(raw(TUPLE, layout.TUPLE_SIZE)).toBe(raw(ORIG, layout.TUPLE_SIZE));
  });
});

test('the only messages that are not reproduced are ICMP ones behind a nat chain', () => {
  const lost = flows.filter((s) => s.message.attrs.some((a) => isSpuriousPort(s, a.name)));
  expect(lost.map((sample) => sample.name.replace(/ @.*/, ''))).toEqual([
    'icmp-snat-v4',
    'icmpv6-nat-chain-no-nat',
  ]);
});

function build(attrs: string, type = 0): Uint8Array {
  const body = attrs.replace(/[ |]/g, '');
  const length = (8 + body.length / 2).toString(16).padStart(4, '0');
  return fromHex(`1${type}00${length}00000000${body}`);
}

const TCP4 =
  '000c0000 0a010002 0a020002 | 00080005 0000000e | 00050002 06000000 | 00080003 9c441f92';

describe('the big-endian peer', () => {
  test('sends the ICMP id in packet order', () => {
    const icmp =
      '000c0000 0a010002 0a020002 | 00050002 01000000 | 00050016 08000000 | 00050017 00000000 |' +
      '00060018 699e0000';
    expect(decode(build(icmp), BIG_ENDIAN_PEER)).toBe(0);
    expect(raw(ORIG + layout.TUPLE_SPORT, 2)).toBe('699e');
    expect(toHex(encode(0, BIG_ENDIAN_PEER))).toContain('00060018699e0000');
    expect(toHex(encode(0, 0))).toContain('000600189e690000');
  });

  test('sends NAT ports in packet order', () => {
    expect(decode(build(`${TCP4} 0006000e c3500000`), BIG_ENDIAN_PEER)).toBe(0);
    expect(raw(FLOW + layout.FLOW_NAT_SPORT, 2)).toBe('c350');
    expect(toHex(encode(1, BIG_ENDIAN_PEER))).toContain('0006000ec3500000');
    expect(toHex(encode(1, 0))).toContain('0006000e50c30000');
  });
});

describe('what the sender leaves out', () => {
  test('TIMEOUT when CommitTimeout is configured', () => {
    decode(build(`${TCP4} 00080006 00000078`));
    expect(toHex(encode(0, 0))).toContain('0008000600000078');
    expect(toHex(encode(0, OMIT_TIMEOUT))).not.toContain('0008000600000078');
  });

  test('window scales unless window tracking is configured', () => {
    const message = build(`${TCP4} 00050004 03000000 00050019 0b000000 0005001a 07000000`);
    decode(message);
    expect(toHex(encode(0, 0))).not.toContain('00050019');
    expect(toHex(encode(0, WSCALE))).toContain('000500190b0000000005001a07000000');
  });

  test('a helper name that a C peer would refuse the whole message for', () => {
    decode(build(TCP4));
    box.view.setUint32(FLOW, present(box) | layout.HAS_HELPER, true);
    const name = (text: string) => {
      box.bytes.fill(0, FLOW + layout.FLOW_HELPER, FLOW + layout.FLOW_HELPER + 16);
      box.bytes.set(new TextEncoder().encode(text), FLOW + layout.FLOW_HELPER);
    };
    const bare = toHex(encode(0, 0)).length;
    name('netbios-ns1');
    expect(toHex(encode(0, 0))).toContain('0010001b6e657462696f732d6e733100');
    name('netbios-ns12');
    expect(toHex(encode(0, 0)).length).toBe(bare);
  });

  test('labels without a bit, zone 0', () => {
    decode(build(`${TCP4} 0014001c 00000000 00000000 00000000 00000000 00060020 00000000`));
    expect(toHex(encode(0, 0))).toBe(toHex(build(TCP4)));
  });

  test('ports of protocols for which no C daemon expects any', () => {
    decode(build(TCP4));
    for (const protocol of [47, 253]) {
      box.bytes[ORIG + layout.TUPLE_L4] = protocol;
      expect(toHex(encode(0, 0))).not.toContain('00080003');
    }
  });
});

describe('what no C daemon knows', () => {
  const EXTENDED = 8;
  const GRE = '000c0000 0a010002 0a020002 00080005 00000008 00050002 2f000000';
  const cases: [string, string, string][] = [
    ['the zone of the original direction', TCP4, '0006003c 00050000'],
    ['the zone of the reply', TCP4, '0006003d 00060000'],
    ['the keys of GRE', GRE, '0008003e 12345678'],
  ];

  test.each(cases)('%s: goes to nodes of ours and to no other', (_name, flow, extension) => {
    const message = build(`${flow} ${extension}`);
    expect(decode(message)).toBe(0);
    expect(toHex(encode(0, EXTENDED))).toBe(toHex(message));
    expect(toHex(encode(0, 0))).toBe(toHex(build(flow)));
  });

  test('the zone of the original direction is where the flow is looked up', () => {
    const message = build(`${TCP4} 0006003c 00050000`);
    decode(message);
    expect(present(box) & (layout.HAS_ZONE | layout.HAS_ZONE_ORIG)).toBe(layout.HAS_ZONE_ORIG);
    expect(box.fn.peekSync!(MSG, message.length, TUPLE, 0)).toBe(5);
  });

  test('the zone of the reply is not', () => {
    const message = build(`${TCP4} 0006003d 00060000`);
    decode(message);
    expect(present(box) & layout.HAS_ZONE_REPLY).toBe(layout.HAS_ZONE_REPLY);
    expect(box.fn.peekSync!(MSG, message.length, TUPLE, 0)).toBe(0);
  });

  test('a zone of both directions leaves no room for another', () => {
    const message = build(`${TCP4} 00060020 00070000 0006003c 00050000 0006003d 00060000`);
    decode(message);
    expect(box.fn.peekSync!(MSG, message.length, TUPLE, 0)).toBe(7);
    expect(toHex(encode(0, EXTENDED))).toBe(toHex(build(`${TCP4} 00060020 00070000`)));
  });

  test.each(['003b', '003f'])('type 0x%s is refused as before', (type) => {
    expect(decode(build(`${TCP4} 0006${type} 00050000`))).toBe(layout.BAD_TYPE);
  });
});

describe('a flow without identity', () => {
  const cases: [string, string][] = [
    ['no attributes', ''],
    ['no addresses', '00050002 06000000 00080003 9c441f92'],
    ['no protocol', '000c0000 0a010002 0a020002 00080003 9c441f92'],
    ['TCP without ports', '000c0000 0a010002 0a020002 00050002 06000000'],
    ['DCCP without ports', '000c0000 0a010002 0a020002 00050002 21000000'],
    ['ICMP with ports only', '000c0000 0a010002 0a020002 00050002 01000000 00080003 9c441f92'],
    [
      'ICMP without id',
      '000c0000 0a010002 0a020002 00050002 01000000 00050016 08000000 00050017 00000000',
    ],
  ];

  test.each(cases)('%s: is refused by decoder and router', (_name, attrs) => {
    const message = build(attrs);
    expect(decode(message)).toBe(layout.BAD_TUPLE);
    expect(present(box)).toBe(0);
    expect(box.fn.peekSync!(MSG, message.length, TUPLE, 0)).toBe(layout.BAD_TUPLE);
  });

  test('is refused by the encoder', () => {
    decode(build(TCP4));
    box.bytes[ORIG + layout.TUPLE_KNOWN] = layout.KNOWN_L3 | layout.KNOWN_L4;
    expect(box.fn.encodeSync!(FLOW, OUT, 1468, 0, 0)).toBe(layout.BAD_TUPLE);
    box.bytes[ORIG + layout.TUPLE_KNOWN] = layout.KNOWN_L4 | layout.KNOWN_PORTS;
    expect(box.fn.encodeSync!(FLOW, OUT, 1468, 0, 0)).toBe(layout.BAD_TUPLE);
  });

  test('except DCCP, whose ports a kernel without its tracker does not know', () => {
    decode(build(TCP4));
    box.bytes[ORIG + layout.TUPLE_L4] = 33;
    box.bytes[ORIG + layout.TUPLE_KNOWN] = layout.KNOWN_L3 | layout.KNOWN_L4;
    expect(toHex(encode(0, 0))).toContain('0008000300000000');
  });
});

describe('the attribute order', () => {
  test('does not matter to the receiver', () => {
    const parts = [
      '000c00000a0100020a020002',
      '0008000500000008',
      '0005000201000000',
      '0005001608000000',
      '0005001700000000',
      '000600189e690000',
      '0008000600000003',
    ];
    decode(build(parts.join('')));
    const expected = snapshot(box, FLOW);
    decode(build(parts.reverse().join('')));
    expect(snapshot(box, FLOW)).toEqual(expected);
  });

  test('decides between repetitions: the last one wins', () => {
    decode(build(`${TCP4} 00080007 00000001 00080007 00000002`));
    expect(u32(layout.FLOW_MARK)).toBe(2);
    decode(build(`${TCP4} 00240001 ${'fd'.repeat(32)}`));
    addresses(ORIG, 10, 'fd'.repeat(32));
    decode(build(`00240001 ${'fd'.repeat(32)} ${TCP4}`));
    addresses(ORIG, 2, '0a0100020a020002');
  });

  test('an attribute of another protocol or family is ignored', () => {
    decode(build(`${TCP4} 00050011 05000000 00050016 08000000 0014001d ${'fd'.repeat(16)}`));
    const bits = layout.HAS_ORIG | layout.HAS_STATUS;
    expect(present(box)).toBe(bits);
  });

  test('NAT ports of ICMP and of protocols without ports are ignored', () => {
    const gre = '000c0000 0a010002 0a020002 00050002 2f000000 0006000e 00000000';
    decode(build(gre));
    expect(present(box)).toBe(layout.HAS_ORIG);
  });

  test('NAT ports of UDP-Lite are taken and said again, if it has ports', () => {
    const lite = '000c0000 0a010002 0a020002 00050002 88000000';
    decode(build(`${lite} 0006000e 34120000`));
    expect(present(box) & layout.HAS_NAT_SPORT).toBe(0);
    decode(build(`${lite} 00080003 12345678 0006000e 34120000`));
    expect(present(box) & layout.HAS_NAT_SPORT).toBe(layout.HAS_NAT_SPORT);
    const length = box.fn.encodeSync!(FLOW, OUT, 1468, 0, 0);
    expect(raw(OUT, length)).toContain('0006000e3412');
  });
});

describe('labels', () => {
  const labels = () => raw(FLOW + layout.FLOW_LABELS, 16);

  test('label i is bit i%8 of byte i/8', () => {
    decode(build(`${TCP4} 0014001c 00000020 00000000 00000040 80000000`)); // 5, 70, 127
    expect(labels()).toBe(`20${'00'.repeat(7)}4000000000000080`);
  });

  test('fewer words leave the rest clear, more than four are cut', () => {
    decode(build(`${TCP4} 0008001c 00000001`));
    expect(labels()).toBe(`01${'00'.repeat(15)}`);
    decode(build(`${TCP4} 0018001c ${'00000001'.repeat(5)}`));
    expect(labels()).toBe('01000000'.repeat(4));
  });

  test('a payload that is not whole words is ignored, an earlier one stays', () => {
    decode(build(`${TCP4} 0009001c 00000001 00000000`));
    expect(present(box) & layout.HAS_LABELS).toBe(0);
    decode(build(`${TCP4} 0008001c 00000001 0009001c 00000002 00000000`));
    expect(labels()).toBe(`01${'00'.repeat(15)}`);
  });
});
