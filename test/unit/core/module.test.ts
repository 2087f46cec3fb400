// The built module's own sections. Several threads run it on one memory, so it must not bring bytes
// of its own into it, run code by itself, or keep state outside of it.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const path =
  process.env.FLOWTWIN_TEST_WASM ??
  fileURLToPath(new URL('../../../dist/flowtwin.wasm', import.meta.url));
const binary = readFileSync(path);

// https://webassembly.github.io/spec/core/binary/modules.html
const SECTION = { import: 2, memory: 5, global: 6, start: 8, data: 11 };

/** Reads an unsigned LEB128 number. */
class Reader {
  constructor(
    private readonly bytes: Uint8Array,
    public at: number,
  ) {}

  byte(): number {
    return this.bytes[this.at++]!;
  }

  number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }

  name(): string {
    const size = this.number();
    this.at += size;
    return Buffer.from(this.bytes.subarray(this.at - size, this.at)).toString();
  }
}

function sections(): Map<number, { start: number; size: number }> {
  const found = new Map<number, { start: number; size: number }>();
  const reader = new Reader(binary, 8);
  while (reader.at < binary.length) {
    const id = reader.byte();
    const size = reader.number();
    if (id !== 0) found.set(id, { start: reader.at, size });
    reader.at += size;
  }
  return found;
}

interface Import {
  name: string;
  kind: string;
}

function imports(): Import[] {
  return WebAssembly.Module.imports(new WebAssembly.Module(binary)).map(
    ({ module, name, kind }) => ({ name: `${module}.${name}`, kind }),
  );
}

/** Whether each global of the module may change. */
function mutableGlobals(): boolean[] {
  const section = sections().get(SECTION.global);
  if (!section) return [];
  const reader = new Reader(binary, section.start);
  return Array.from({ length: reader.number() }, () => {
    reader.byte(); // value type
    const mutable = reader.byte() === 1;
    // The initial value is a constant expression: one instruction and its end.
    const opcode = reader.byte();
    if (opcode === 0x43) reader.at += 4;
    else if (opcode === 0x44) reader.at += 8;
    else reader.number();
    if (reader.byte() !== 0x0b) throw new Error('a global with an unusual initial value');
    return mutable;
  });
}

describe('the built module', () => {
  it('is a WebAssembly binary whose sections can be read', () => {
    expect([...binary.subarray(0, 8)]).toEqual([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    expect(sections().size).toBeGreaterThanOrEqual(4);
    expect(sections().has(SECTION.import)).toBe(true);
  });

  it('brings no data segments', () => {
    const data = sections().get(SECTION.data);
    const segments = data ? new Reader(binary, data.start).number() : 0;
    expect(segments).toBe(0);
  });

  it('runs nothing when it is made', () => {
    expect(sections().has(SECTION.start)).toBe(false);
    const exported = WebAssembly.Module.exports(new WebAssembly.Module(binary));
    expect(exported.map(({ name }) => name)).not.toContain('_start');
  });

  it('keeps no state outside its memory', () => {
    expect(mutableGlobals().filter(Boolean)).toEqual([]);
    const exported = WebAssembly.Module.exports(new WebAssembly.Module(binary));
    const table = exported.filter(({ kind }) => kind === 'table');
    expect(table).toEqual([]);
  });

  it('imports the shared memory and nothing else but the abort of a trap', () => {
    expect(imports()).toContainEqual({ name: 'env.memory', kind: 'memory' });
    const rest = imports().filter(({ name }) => name !== 'env.memory');
    expect(rest.every(({ name, kind }) => name === 'env.abort' && kind === 'function')).toBe(true);
    expect(sections().has(SECTION.memory)).toBe(false);
    // Flags of the imported memory's limits: 3 is shared, with a maximum.
    const reader = new Reader(binary, sections().get(SECTION.import)!.start);
    const count = reader.number();
    for (let i = 0; i < count; i++) {
      const name = `${reader.name()}.${reader.name()}`;
      const kind = reader.byte();
      if (name === 'env.memory') {
        expect(kind).toBe(2);
        expect(reader.byte()).toBe(3);
        return;
      }
      reader.number();
    }
    throw new Error('no memory among the imports');
  });
});
