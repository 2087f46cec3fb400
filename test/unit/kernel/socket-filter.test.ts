// The program for the event socket, run by a small interpreter of classic BPF, against the shards'
// own judgement of the same message: it may drop nothing that they would keep, and it drops all that
// they would drop, unless the addresses had to be left out.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileFilter } from '../../../src/cache/filter.js';
import type { AddressEntry, Filter } from '../../../src/config/config.js';
import {
  compileSocketFilter,
  INSTRUCTION_SIZE,
  MOST_INSTRUCTIONS,
} from '../../../src/kernel/socket-filter.js';
import { sandbox } from '../../wasm.js';

// ---------------------------------------------------------------------------------- interpreter

/** Runs a program as linux/filter.h tells: 0 drops, anything else passes. Throws on a bad program. */
function run(program: Uint8Array, message: Uint8Array): number {
  const code = new DataView(program.buffer, program.byteOffset, program.length);
  const data = new DataView(message.buffer, message.byteOffset, message.length);
  const memory: (number | undefined)[] = [];
  let a = 0;
  let x = 0;
  for (let pc = 0; ; pc++) {
    const at = pc * INSTRUCTION_SIZE;
    if (at >= program.length) throw new Error('ran off the end');
    const k = code.getUint32(at + 4, true);
    const branch = (taken: boolean): void => {
      pc += code.getUint8(at + (taken ? 2 : 3));
    };
    switch (code.getUint16(at, true)) {
      case 0x00:
        a = k;
        break;
      case 0x01:
        x = k;
        break;
      case 0x02:
        memory[k] = a;
        break;
      case 0x60:
        if (memory[k] === undefined) throw new Error('reads memory before it is written');
        a = memory[k];
        break;
      case 0x20:
        if (k + 4 > message.length) return 0;
        a = data.getUint32(k);
        break;
      case 0x30:
        if (k === 0xfffff00c) a = findAttribute(data, a, message.length, x);
        else if (k === 0xfffff010) a = findNested(data, a, x);
        else if (k >= message.length) return 0;
        else a = data.getUint8(k);
        break;
      case 0x40:
        if (x + k + 4 > message.length) return 0;
        a = data.getUint32(x + k);
        break;
      case 0x50:
        if (x + k >= message.length) return 0;
        a = data.getUint8(x + k);
        break;
      case 0x07:
        x = a;
        break;
      case 0x05:
        pc += k;
        break;
      case 0x15:
        branch(a === k);
        break;
      case 0x25:
        branch(a > k);
        break;
      case 0x35:
        branch(a >= k);
        break;
      case 0x06:
        return k;
      default:
        throw new Error(`unknown instruction ${code.getUint16(at, true)}`);
    }
  }
}

function findAttribute(data: DataView, from: number, end: number, type: number): number {
  for (let at = from; at + 4 <= end; ) {
    const length = data.getUint16(at, true);
    if (length < 4 || at + length > end) return 0;
    if ((data.getUint16(at + 2, true) & 0x3fff) === type) return at;
    at += (length + 3) & ~3;
  }
  return 0;
}

function findNested(data: DataView, nest: number, type: number): number {
  if (nest + 4 > data.byteLength) return 0;
  const length = data.getUint16(nest, true);
  if (nest + length > data.byteLength) return 0;
  return findAttribute(data, nest + 4, nest + length, type);
}

// ------------------------------------------------------------------------------------- messages

interface Event {
  destroy: boolean;
  family: 4 | 6;
  l4: number;
  client: Uint8Array;
  /** Undefined: no reply tuple. */
  server: Uint8Array | undefined;
  /** TCP state; undefined: no protocol information. */
  state: number | undefined;
  port: number;
}

function attribute(type: number, ...payload: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(payload);
  const out = Buffer.alloc((4 + body.length + 3) & ~3);
  out.writeUInt16LE(4 + body.length, 0);
  out.writeUInt16LE(type, 2);
  body.copy(out, 4);
  return out;
}

const NESTED = 0x8000;

function tuple(type: number, event: Event, src: Uint8Array): Uint8Array {
  const dst = new Uint8Array(src.length).fill(0x77);
  const [atSrc, atDst] = event.family === 4 ? [1, 2] : [3, 4];
  const ip = attribute(NESTED | 1, attribute(atSrc, src), attribute(atDst, dst));
  const ports = [2, 3].map((at) => attribute(at, Uint8Array.of(1, 2)));
  const number = attribute(1, Uint8Array.of(event.l4));
  return attribute(NESTED | type, ip, attribute(NESTED | 2, number, ...ports));
}

/** The message of linux/netfilter/nfnetlink_conntrack.h that tells this event. */
function message(event: Event): Uint8Array {
  const parts = [tuple(1, event, event.client)];
  if (event.server !== undefined) parts.push(tuple(2, event, event.server));
  parts.push(attribute(3, Uint8Array.of(0, 0, 0, 8)));
  if (event.state !== undefined) {
    const state = attribute(1, Uint8Array.of(event.state));
    parts.push(attribute(NESTED | 4, attribute(NESTED | 1, state)));
  }
  const body = Buffer.concat(parts);
  const header = Buffer.alloc(20);
  header.writeUInt32LE(20 + body.length, 0);
  header.writeUInt16LE(event.destroy ? 0x102 : 0x100, 4);
  header.writeUInt32LE(event.port, 12);
  header[16] = event.family === 4 ? 2 : 10;
  return new Uint8Array(Buffer.concat([header, body]));
}

// ---------------------------------------------------------------------------------- both judges

const box = sandbox(64);
const MESSAGE = 1024;
const FLOW = 8192;
const FILTER = 65536;

function kept(filter: Uint8Array, bytes: Uint8Array): boolean {
  box.bytes.set(filter, FILTER);
  box.bytes.set(bytes, MESSAGE);
  expect(box.fn.decodeFlow!(MESSAGE, bytes.length, FLOW)).toBe(0);
  return box.fn.filterPasses!(FILTER, FLOW, bytes[4] === 2 ? 1 : 0) === 1;
}

const anyByte = fc.constantFrom(0, 0, 1, 2, 127, 128, 254, 255);
const anyAddress = (size: number): fc.Arbitrary<Uint8Array> =>
  fc.array(anyByte, { minLength: size, maxLength: size }).map((list) => Uint8Array.from(list));
const anyFamily = fc.constantFrom<4 | 6>(4, 6);
const anyEntry: fc.Arbitrary<AddressEntry> = anyFamily.chain((family) => {
  const width = family === 4 ? 32 : 128;
  return fc.record({
    family: fc.constant(family),
    bytes: anyAddress(width / 8),
    prefix: fc.oneof(fc.constantFrom(0, 1, width - 1, width, width, width / 2), fc.nat(width)),
  });
});
const anyPolicy = fc.constantFrom<'Accept' | 'Ignore'>('Accept', 'Ignore');
/** Not ICMP (1) and ICMPv6 (58): their tuples look different and are filtered by number all the same. */
const anyNumber = fc
  .oneof(fc.constantFrom(6, 6, 17, 255), fc.nat(255))
  .filter((number) => number !== 1 && number !== 58);
const anyState = fc.integer({ min: 0, max: 15 });
const anyFilter: fc.Arbitrary<Filter> = fc
  .record({
    protocol: fc.option(fc.record({ policy: anyPolicy, numbers: fc.array(anyNumber) })),
    address: fc.option(
      fc.record({ policy: anyPolicy, entries: fc.array(anyEntry, { maxLength: 30 }) }),
    ),
    state: fc.option(fc.record({ policy: anyPolicy, states: fc.array(anyState) })),
  })
  .map(({ protocol, address, state }) => ({
    from: 'Kernelspace' as const,
    ...(protocol && { protocol }),
    ...(address && { address }),
    ...(state && { state }),
  }));

/** Addresses of the entries, and those beside their first and last. */
function near(filter: Filter, family: 4 | 6): Uint8Array[] {
  return (filter.address?.entries ?? [])
    .filter((entry) => entry.family === family)
    .flatMap(({ bytes, prefix }) => {
      const width = BigInt(bytes.length * 8);
      const hosts = (1n << (width - BigInt(prefix))) - 1n;
      const last = BigInt(`0x${Buffer.from(bytes).toString('hex')}`) | hosts;
      return [last, last + 1n, last ^ hosts, (last ^ hosts) - 1n].map((value) => {
        const hex = BigInt.asUintN(Number(width), value).toString(16);
        return new Uint8Array(Buffer.from(hex.padStart(bytes.length * 2, '0'), 'hex'));
      });
    });
}

const anyEvent = (filter: Filter): fc.Arbitrary<Event> =>
  anyFamily
    .chain((family) => {
      const close = near(filter, family);
      const any = anyAddress(family === 4 ? 4 : 16);
      const address = close.length > 0 ? fc.oneof(any, fc.constantFrom(...close)) : any;
      return fc.record({
        destroy: fc.boolean(),
        family: fc.constant(family),
        l4: anyNumber,
        client: address,
        server: fc.option(address, { nil: undefined }),
        state: fc.option(anyState, { nil: undefined }),
        port: fc.constantFrom(0, 4711),
      });
    })
    .map((event) => (event.l4 === 6 ? event : { ...event, state: undefined }));

function address(family: 4 | 6, n: number): AddressEntry {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  bytes[0] = family === 4 ? 10 : 0xfd;
  new DataView(bytes.buffer).setUint32(bytes.length - 4, (bytes[0] << 24) | (n * 2));
  return { family, bytes, prefix: bytes.length * 8 };
}

function hosts(family: 4 | 6, count: number): AddressEntry[] {
  return Array.from({ length: count }, (_, n) => address(family, n));
}

const plain: Event = {
  destroy: false,
  family: 4,
  l4: 6,
  client: Uint8Array.of(10, 0, 0, 2),
  server: Uint8Array.of(192, 0, 2, 1),
  state: 3,
  port: 0,
};

// ---------------------------------------------------------------------------------------- tests

describe('the filter in the kernel', () => {
  it('drops exactly what the shards would drop, for any filter and any event', () => {
    const answers = [0, 0];
    fc.assert(
      fc.property(
        anyFilter.chain((filter) =>
          fc.tuple(fc.constant(filter), fc.array(anyEvent(filter), { minLength: 1 })),
        ),
        ([filter, events]) => {
          const compiled = compileFilter(filter);
          const { program, addresses } = compileSocketFilter({ filter: compiled });
          expect(addresses).toBe(true);
          expect(program.length).toBeLessThanOrEqual(MOST_INSTRUCTIONS * INSTRUCTION_SIZE);
          for (const event of events) {
            const bytes = message(event);
            const wanted = kept(compiled, bytes);
            answers[Number(wanted)]!++;
            expect(run(program, bytes) !== 0).toBe(wanted);
          }
        },
      ),
      { numRuns: 500 },
    );
    expect(Math.min(...answers)).toBeGreaterThan(300);
  }, 60_000);

  it.each([
    [4, 'Ignore'],
    [4, 'Accept'],
    [6, 'Ignore'],
    [6, 'Accept'],
  ] as const)('holds 200 hosts of family %d to %s', (family, policy) => {
    const filter: Filter = {
      from: 'Kernelspace',
      address: { policy, entries: hosts(family, 200) },
    };
    const { program, addresses } = compileSocketFilter({ filter: compileFilter(filter) });
    expect(addresses).toBe(true);
    for (let n = 0; n < 201; n++) {
      const client = address(family, n).bytes;
      const beside = client.slice();
      beside[beside.length - 1]! |= 1;
      const server = new Uint8Array(client.length).fill(9);
      const verdict = (source: Uint8Array): boolean =>
        run(program, message({ ...plain, family, client: source, server })) !== 0;
      expect(verdict(client)).toBe((policy === 'Accept') === n < 200);
      expect(verdict(beside)).toBe(policy === 'Ignore');
    }
  });

  it('leaves thousands of addresses to user space, and still drops by protocol and state', () => {
    const filter: Filter = {
      from: 'Kernelspace',
      protocol: { policy: 'Accept', numbers: [6] },
      address: { policy: 'Accept', entries: [...hosts(4, 5000), ...hosts(6, 5000)] },
      state: { policy: 'Accept', states: [3] },
    };
    const { program, addresses } = compileSocketFilter({ filter: compileFilter(filter) });
    expect(addresses).toBe(false);
    const verdict = (event: Partial<Event>): boolean =>
      run(program, message({ ...plain, ...event })) !== 0;
    expect(verdict({})).toBe(true);
    expect(verdict({ client: Uint8Array.of(1, 1, 1, 1) })).toBe(true);
    expect(verdict({ l4: 17, state: undefined })).toBe(false);
    expect(verdict({ state: 7 })).toBe(false);
    expect(verdict({ state: 7, destroy: true })).toBe(true);
  });

  it('drops the events of our own injection, of no other port', () => {
    const { program } = compileSocketFilter({ ports: [0, 4711, 90] });
    const verdict = (port: number): boolean => run(program, message({ ...plain, port })) !== 0;
    expect(verdict(4711)).toBe(false);
    expect(verdict(0)).toBe(true);
    expect(verdict(4712)).toBe(true);
    expect(verdict(0x67120000)).toBe(true); // 4711 in the other byte order
  });

  it('lets everything through that is not about flows, whatever the filter', () => {
    const filter = compileFilter({
      from: 'Kernelspace',
      protocol: { policy: 'Accept', numbers: [] },
    });
    const { program } = compileSocketFilter({ filter, ports: [0, 4711, 90] });
    const bytes = message({ ...plain, port: 4711 });
    expect(run(program, bytes)).toBe(0);
    bytes[5] = 2; // NFNL_SUBSYS_CTNETLINK_EXP
    expect(run(program, bytes)).not.toBe(0);
    bytes[5] = 0; // NLMSG_ERROR, NLMSG_DONE
    expect(run(program, bytes)).not.toBe(0);
  });

  it('is no program at all when there is nothing to drop', () => {
    expect(compileSocketFilter({}).program).toHaveLength(0);
  });
});
