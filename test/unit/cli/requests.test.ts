// Every request of the vectors, built from its command line: the same bytes apart from the sequence
// number. Where we send more or less on purpose, the difference is spelled out.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  CT_GET_STATS,
  CT_GET_STATS_CPU,
  EXP_GET,
  EXP_GET_STATS_CPU,
} from '../../../src/cli/attributes.js';
import {
  encodeBare,
  encodeCreate,
  encodeDelete,
  encodeDump,
  encodeExpectCreate,
  encodeExpectOne,
  encodeFlush,
  encodeGet,
  encodeUpdate,
} from '../../../src/cli/encode.js';
import { MESSAGE_MAX, MessageWriter } from '../../../src/cli/message.js';
import { changeOf } from '../../../src/cli/modify.js';
import { parseCommandLine } from '../../../src/cli/parse.js';
import type { Request } from '../../../src/cli/request.js';
import { FlowReader } from '../../../src/report/reader.js';
import { type DecodedFlow, writeFlow } from '../../flow-writer.js';
import { LABEL_MAP_FILE } from './label-map.js';

interface Vector {
  name: string;
  command: string;
  hex: string;
}

const vectors: Vector[] = JSON.parse(
  readFileSync(new URL('../../vectors/ctnetlink-request-vectors.json', import.meta.url), 'utf8'),
);

const OUT = 1024;
const bytes = new Uint8Array(OUT + MESSAGE_MAX);
const view = new DataView(bytes.buffer);
const message = new MessageWriter(bytes, view);

/** The flow that the vectors' updates and deletions found. */
function flowOf(labels?: string): FlowReader {
  const ports = { proto: 6, sport: 10, dport: 20 };
  const flow: DecodedFlow = {
    orig: { src: '1.1.1.1', dst: '2.2.2.2', ...ports },
    reply: { src: '2.2.2.2', dst: '1.1.1.1', proto: 6, sport: 20, dport: 10 },
    status: 0xe,
    timeout: 49,
    mark: 0,
    id: 77,
    protoinfo: { tcp: { state: 3 } },
    ...(labels === undefined ? {} : { labels }),
  };
  writeFlow(view, 0, flow);
  return new FlowReader(view, 0);
}

function parse(command: string): Request {
  const words = command.split(' ');
  const labelled = /--label|-l /.test(command);
  // -I takes no --labelmap: its labels are looked up in the file of the other commands.
  const known = labelled && words[0] === '-U' ? [...words, '--labelmap', LABEL_MAP_FILE] : words;
  return parseCommandLine(known, { warn: () => {} });
}

function hex(length: number): string {
  return Buffer.from(bytes.subarray(OUT, OUT + length)).toString('hex');
}

/** The same message with padding bytes as zeros: the C command leaves what was in its memory. */
function padded(text: string): string {
  const copy = Buffer.from(text, 'hex');
  const walk = (at: number, end: number): void => {
    while (at + 4 <= end) {
      const length = copy.readUInt16LE(at);
      const next = at + ((length + 3) & ~3);
      if (copy.readUInt16LE(at + 2) & 0x8000) walk(at + 4, at + length);
      copy.fill(0, at + length, Math.min(next, end));
      at = next;
    }
  };
  walk(20, copy.length);
  return copy.toString('hex');
}

/** Which message of its command a vector is: `... #2`. */
function place(name: string): number {
  return Number(/#(\d+)$/.exec(name)?.[1]);
}

/** What the labels of the flow were before each labelled update. */
const LABELS_BEFORE: Record<string, string | undefined> = {
  '--label-add foo': undefined,
  '--label-add bar': '02000000000000000000000000000000',
  '--label-del foo': '06000000000000000000000000000000',
  '--label-del': '06000000000000000000000000000000',
};

function build(vector: Vector, request: Request): string {
  switch (request.command) {
    case 'create':
      if (request.table === 'expect') return hex(encodeExpectCreate(message, OUT, request, 0));
      return hex(encodeCreate(message, OUT, request, true, true, 0));
    case 'add':
      return hex(encodeCreate(message, OUT, request, false, true, 0));
    case 'get':
      if (request.table === 'expect') return hex(encodeExpectOne(message, OUT, request, 0));
      return hex(encodeGet(message, OUT, request, 0));
    case 'list':
      return hex(encodeDump(message, OUT, request, false, 0));
    case 'flush':
      return hex(encodeFlush(message, OUT, request, 0));
    case 'count':
      if (request.table === 'expect') {
        return hex(encodeBare(message, OUT, EXP_GET, true, request.family, 0));
      }
      return hex(encodeBare(message, OUT, CT_GET_STATS, false, 0, 0));
    case 'stats': {
      const type = request.table === 'expect' ? EXP_GET_STATS_CPU : CT_GET_STATS_CPU;
      return hex(encodeBare(message, OUT, type, true, 0, 0));
    }
    case 'delete':
      if (request.table === 'expect') return hex(encodeExpectOne(message, OUT, request, 0));
      return hex(encodeDump(message, OUT, request, false, 0));
    case 'update': {
      if (place(vector.name) === 1) return hex(encodeDump(message, OUT, request, false, 0));
      const option = Object.keys(LABELS_BEFORE)
        .reverse()
        .find((words) => vector.command.endsWith(words));
      const flow = flowOf(option === undefined ? undefined : LABELS_BEFORE[option]);
      const get = place(vector.name) === 3;
      return hex(encodeUpdate(message, OUT, request, flow, changeOf(request, flow)!, get, 0));
    }
  }
  throw new Error(`no request for ${vector.name}`);
}

const deletion = (name: string) => name === '-D -s 1.1.1.1 -m 3 -u ASSURED #2';
const labelledCreation = (name: string) => name.startsWith('-I') && name.includes('--label-add');
const familyFlush = (name: string) => name === '-F -f ipv6 #1';
const same = vectors.filter(
  ({ name }) => !deletion(name) && !familyFlush(name) && !labelledCreation(name),
);

describe('requests of the C command, byte for byte', () => {
  test('nearly all vectors are among them', () => {
    expect(vectors.length - same.length).toBe(3);
  });

  test.each(same)('$name', (vector) => {
    expect(build(vector, parse(vector.command))).toBe(padded(vector.hex));
  });

  test('a new flow with labels', () => {
    const vector = vectors.find(({ name }) => labelledCreation(name))!;
    const request = parse(vector.command.replace(' --label-add foo,last', ''));
    request.labelAdd = Uint8Array.from([2, ...new Array<number>(14).fill(0), 0x80]);
    expect(build(vector, request)).toBe(padded(vector.hex));
  });
});

describe('requests that are meant to differ', () => {
  test('-F -f asks with version 1, so that the kernel heeds the family', () => {
    const vector = vectors.find(({ name }) => familyFlush(name))!;
    const built = build(vector, parse(vector.command));
    expect(built).toBe(vector.hex.replace(/0a000000$/, '0a010000'));
  });

  test('-D names the flow by its original tuple and id, and by nothing that may have changed', () => {
    const vector = vectors.find(({ name }) => deletion(name))!;
    const built = hex(encodeDelete(message, OUT, flowOf(), true, 0));
    // nlmsghdr (but its length), nfgenmsg and CTA_TUPLE_ORIG are those of the vector
    expect(built.slice(8, 144)).toBe(vector.hex.slice(8, 144));
    expect(built.slice(144)).toBe('08000c000000004d');
  });

  test('-U of a flow in a zone names the zone', () => {
    const flow = flowOf();
    writeFlow(view, 0, {
      orig: { src: '1.1.1.1', dst: '2.2.2.2', proto: 17, sport: 1, dport: 2 },
      zone: 9,
      mark: 1,
    });
    const request = parse('-U -m 5');
    const built = hex(
      encodeUpdate(message, OUT, request, flow, changeOf(request, flow)!, false, 0),
    );
    expect(built).toContain('0600120000090000');
  });

  test('-L narrows what the kernel sends to what the selection can want', () => {
    const narrowed = (command: string) =>
      hex(encodeDump(message, OUT, parse(command), true, 0)).slice(40);
    expect(narrowed('-L')).toBe('');
    expect(narrowed('-L -w 3')).toBe('0600120000030000');
    // zone 0 is also that of flows with a zone in one direction only
    expect(narrowed('-L -w 0')).toBe('');
    expect(narrowed('-L -f ipv4 -p udp --dport 53')).toBe(
      '1c00018004000180140002800500010011000000060003000035' +
        '0000140019800800010028000000' +
        '0800020000000000',
    );
    // prefixes and IPv6 addresses stay with us
    expect(narrowed('-L -s 10.0.0.0/8')).toBe('');
    expect(narrowed('-L -s fd::1')).toBe('');
  });
});

describe('a saved line with a translation', () => {
  const LINE =
    '-A -t 499 -u UNSET -s 1.1.1.1 -d 2.2.2.2 -g 8.8.8.8 -n 9.9.9.9 -p tcp --sport 10 --dport 20 ' +
    '--reply-port-src 80 --reply-port-dst 40 --state ESTABLISHED';

  test('restores the translated ports', () => {
    const vector = vectors.find(({ name }) => name.includes('-n 9.9.9.9:4000 -g 8.8.8.8:80'))!;
    const explicit = parse(LINE.replace('-g 8.8.8.8', '-g 8.8.8.8:80').replace('9.9 ', '9.9:40 '));
    const wanted = build(vector, explicit);
    expect(build(vector, parse(LINE))).toBe(wanted);
  });

  test('leaves ports alone that were not translated', () => {
    const built = build(
      vectors[0]!,
      parse(
        LINE.replace(
          '--reply-port-src 80 --reply-port-dst 40',
          '--reply-port-src 20 --reply-port-dst 10',
        ),
      ),
    );
    const plain = build(
      vectors[0]!,
      parse(LINE.replace(' --reply-port-src 80 --reply-port-dst 40', '')),
    );
    expect(built).toBe(plain);
  });
});
