// A template must make of a line exactly what the parser makes of it, or not fit.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MADE_LAST, MADE_TEXT, REQUEST_MARGIN } from '../../../assembly/template-layout.js';
import { encodeCreate } from '../../../src/cli/encode.js';
import { splitWords } from '../../../src/cli/lines.js';
import { MESSAGE_MAX, MessageWriter } from '../../../src/cli/message.js';
import { parseCommandLine } from '../../../src/cli/parse.js';
import { makeTemplate, SIZE_MAX, type Template } from '../../../src/cli/template.js';
import { fromHex, sandbox, toHex } from '../../wasm.js';

const box = sandbox(2);
const TABLE = 1024;
const MADE = 2048;
const SEQUENCE = 70_000;
const TEMPLATE = 4096;
const TEXT = 32768;
const OUT = 65536;

const bytes = new Uint8Array(MESSAGE_MAX);
const writer = new MessageWriter(bytes, new DataView(bytes.buffer));

function encode(line: string): Uint8Array | undefined {
  try {
    const request = parseCommandLine(splitWords(line), { warn: () => {} });
    return bytes.slice(0, encodeCreate(writer, 0, request, true, false, 0));
  } catch {
    return undefined;
  }
}

function templateOf(line: string): Template | undefined {
  return makeTemplate(line, encode(line)!, encode);
}

/** The request that a template of `first` makes of `line`; undefined if it does not fit. */
function applied(first: string, line: string): Uint8Array | undefined {
  const template = templateOf(first);
  if (template === undefined) return undefined;
  const text = Buffer.from(line);
  box.bytes.fill(0xee);
  expect(template.place(box.bytes, box.view, TEMPLATE)).toBeLessThanOrEqual(TEMPLATE + SIZE_MAX);
  box.view.setUint32(TABLE, TEMPLATE, true);
  box.bytes.set(text, TEXT);
  const end = TEXT + text.length;
  if (box.fn.requestsOfLines!(TEXT, end, TABLE, 1, OUT, 0, 1, MADE) === 0) return undefined;
  expect(box.view.getUint32(MADE + MADE_TEXT, true)).toBe(end);
  expect(box.view.getUint32(MADE + MADE_LAST, true)).toBe(OUT);
  const { length } = template.request;
  const behind = box.bytes.subarray(OUT + length + REQUEST_MARGIN, OUT + 2 * MESSAGE_MAX);
  expect(behind.every((byte) => byte === 0xee)).toBe(true);
  return box.bytes.slice(OUT, OUT + length);
}

const octet = fc.nat(255);
const ipv4 = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join('.'));
const ipv6 = fc.ipV6().map((text) => text.toLowerCase());
const port = fc.nat(65535);

interface Flow {
  t: number;
  s: string;
  d: string;
  r: string;
  q: string;
  ports: number[];
  mark: number;
}

function flows(address: fc.Arbitrary<string>): fc.Arbitrary<Flow> {
  return fc.record({
    t: fc.nat(0xffffffff),
    s: address,
    d: address,
    r: address,
    q: address,
    ports: fc.array(port, { minLength: 4, maxLength: 4 }),
    mark: fc.nat(0xffffffff),
  });
}

const SHAPES: Record<string, (flow: Flow) => string> = {
  plain: ({ t, s, d, r, q, ports: [a, b, c, e] }) =>
    `-A -t ${t} -u SEEN_REPLY,ASSURED -s ${s} -d ${d} -r ${r} -q ${q} -p tcp --sport ${a} ` +
    `--dport ${b} --reply-port-src ${c} --reply-port-dst ${e} --state ESTABLISHED`,
  translated: ({ t, s, d, r, q, ports: [a, b, c, e] }) =>
    `-A -t ${t} -u UNSET -s ${s} -d ${d} -g ${r} -n ${q} -p udp --sport ${a} ` +
    `--dport ${b} --reply-port-src ${c} --reply-port-dst ${e}`,
  'source translated, ports kept': ({ t, s, d, r, q, ports: [a, b] }) =>
    `-A -t ${t} -u UNSET -s ${s} -d ${d} -r ${r} -n ${q} -p udp --sport ${a} ` +
    `--dport ${b} --reply-port-src ${b} --reply-port-dst ${a}`,
  'in a zone, by the reply': ({ t, r, q, ports: [a, b, c], mark }) =>
    `-I -t ${t} -w ${c} -m ${mark} -r ${r} -q ${q} -p udp --reply-port-src ${a} ` +
    `--reply-port-dst ${b}`,
  'ping with ids': ({ t, s, d, ports: [a] }) =>
    `-I -t ${t} -s ${s} -d ${d} -p icmp --icmp-type 8 --icmp-code 0 --icmp-id ${a}`,
  keys: ({ t, s, d, ports: [a, b] }) =>
    `-I -t ${t} -s ${s} -d ${d} -p gre --srckey ${a} --dstkey ${b}`,
};

describe.each(Object.entries(SHAPES))('%s', (_, shape) => {
  test.each([
    ['IPv4', ipv4],
    ['IPv6', ipv6],
  ])('%s: a line that fits is what the parser makes of it', (_, address) => {
    fc.assert(
      fc.property(flows(address), flows(address), (first, second) => {
        const line = shape(second);
        const made = applied(shape(first), line);
        if (made !== undefined) expect(made).toEqual(encode(line));
      }),
      { numRuns: 300 },
    );
  });

  test('ordinary lines do fit', () => {
    const ports = [40001, 443, 8080, 50000];
    const first = {
      t: 100,
      s: '1.2.3.4',
      d: '5.6.7.8',
      r: '9.9.9.9',
      q: '8.8.8.8',
      ports,
      mark: 1,
    };
    const second = { ...first, t: 431999, s: '10.0.0.9', r: '100.64.0.1', ports: [1, 2, 3, 4] };
    const made = applied(shape(first), shape(second));
    expect(made).toBeDefined();
    expect(made).toEqual(encode(shape(second)));
  });
});

test.each([
  ['an octal part', '-s 1.1.1.1', '-s 010.1.1.1'],
  ['a part too large', '-s 1.1.1.1', '-s 256.1.1.1'],
  ['a prefix', '-s 1.1.1.1', '-s 1.1.1.1/8'],
  ['a port too large', '--sport 1', '--sport 65536'],
  ['another protocol', '-p udp', '-p tcp'],
  ['a word more', '--dport 2', '--dport 2 -m 4'],
  ['a word less', ' --dport 2', ''],
])('%s does not fit', (_, from, to) => {
  const line = '-I -t 5 -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 1 --dport 2';
  expect(applied(line, line)).toEqual(encode(line));
  expect(applied(line, line.replace(from, to))).toBeUndefined();
});

describe('a value written in any way at all is read as the parser reads it, or does not fit:', () => {
  const digits = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: 12 }),
    fc.nat(2 ** 32 + 9).map(String),
    fc.constantFrom('65535', '65536', '99999999', '100000000', '4294967295', '4294967296'),
  );
  const dotted = fc.oneof(
    fc.array(fc.oneof(fc.nat(299).map(String), digits), { minLength: 1, maxLength: 5 }),
    fc.array(fc.constantFrom('0', '00', '7', '07', '10', '100', '255', '256', '999', ''), {
      minLength: 4,
      maxLength: 4,
    }),
  );
  const colons = fc.string({ unit: fc.constantFrom(...'09af:::.'), maxLength: 24 });
  const address = fc.oneof(
    dotted.map((parts) => parts.join('.')),
    colons,
    ipv4,
    ipv6,
  );
  const line = (t: string, s: string, port: string, d: string) =>
    `-I -t ${t} -s ${s} -d ${d} -p udp --sport ${port} --dport 2`;
  const first: Record<string, string> = {
    IPv4: line('9000', '1.2.3.4', '5', '9.9.9.9'),
    IPv6: line('9000', 'fd00::1', '5', 'fd00::2'),
  };

  test.each(Object.entries(first))('%s', (_, known) => {
    const plain = known.includes('::') ? ipv6 : ipv4;
    const anything = fc.tuple(
      fc.oneof(digits, fc.constant('9000')),
      fc.oneof(address, plain),
      fc.oneof(digits, port.map(String)),
      plain,
    );
    fc.assert(
      fc.property(anything, (values) => {
        const text = line(...values);
        const made = applied(known, text);
        if (made !== undefined) expect(made).toEqual(encode(text));
      }),
      { numRuns: 2000 },
    );
  });
});

test('a port that was translated does not fit where none was', () => {
  const line = (port: number) =>
    `-A -t 5 -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -n 9.9.9.9 -p udp --sport 10 --dport 20 ` +
    `--reply-port-src 20 --reply-port-dst ${port}`;
  expect(applied(line(10), line(11))).toBeUndefined();
  expect(encode(line(10))).not.toEqual(encode(line(11)));
});

describe('several lines', () => {
  const udp = (i: number) => `-I -t 5 -s 1.1.1.${i} -d 2.2.2.2 -p udp --sport ${i} --dport 2`;
  const tcp = (i: number) =>
    `-A -t 5 -s fd::${i} -d fd::2 -p tcp --sport ${i} --dport 2 --state CLOSE`;

  function made(text: string, most = 100): string[] {
    const templates = [udp(1), tcp(1)].map((line) => templateOf(line)!);
    for (const [i, template] of templates.entries()) {
      template.place(box.bytes, box.view, TEMPLATE + i * 8192);
      box.view.setUint32(TABLE + i * 4, TEMPLATE + i * 8192, true);
    }
    box.bytes.fill(0, TEXT, OUT);
    box.bytes.set(Buffer.from(text), TEXT);
    const end = TEXT + text.length;
    const count = box.fn.requestsOfLines!(TEXT, end, TABLE, 2, OUT, SEQUENCE, most, MADE);
    let at = OUT;
    return Array.from({ length: count }, (_, i) => {
      const length = box.view.getUint32(at, true);
      expect(box.view.getUint32(at + 8, true)).toBe(SEQUENCE + i);
      box.view.setUint32(at + 8, 0, true); // as encode() numbers it
      if (i === count - 1) expect(box.view.getUint32(MADE + MADE_LAST, true)).toBe(at);
      at += length;
      return toHex(box.bytes.slice(at - length, at));
    });
  }
  const wanted = (lines: string[]) => lines.map((line) => toHex(encode(line)!));

  test('of two kinds, in their order, the last without its newline', () => {
    const lines = [udp(1), tcp(2), tcp(3), udp(4), tcp(5)];
    expect(made(lines.join('\n'))).toEqual(wanted(lines));
  });

  test.each([
    ['a comment', '# x'],
    ['an empty line', ''],
    ['blanks before it', ` ${udp(3)}`],
    ['a carriage return', `${udp(3)}\r`],
    ['another command', '-F'],
  ])('stops before %s', (_, line) => {
    expect(made([udp(1), udp(2), line, udp(4)].join('\n'))).toEqual(wanted([udp(1), udp(2)]));
  });

  test('no more than are asked for', () => {
    expect(made(`${udp(1)}\n${udp(2)}\n${udp(3)}\n`, 2)).toEqual(wanted([udp(1), udp(2)]));
  });

  test('a text that is cut anywhere is not read beyond its end', () => {
    const line = tcp(77);
    for (let length = 1; length < line.length; length++) {
      const cut = line.slice(0, length);
      const [request] = made(cut);
      if (request !== undefined) expect(request).toBe(toHex(encode(cut)!));
    }
    expect(fromHex(made(line)[0]!)).toEqual(encode(line));
  });
});
