// One instance of the built module on a memory of its own, for unit tests.

import { compileModule, PAGE } from '../src/cache/wasm.js';

export interface Sandbox {
  /** Raw exports, untyped: tests name the functions they call. */
  fn: Record<string, (...args: number[]) => number>;
  bytes: Uint8Array;
  view: DataView;
}

let compiled: WebAssembly.Module | undefined;

/** A fresh memory of `pages` pages with an instance on it. Addresses below 64 KiB are free to use. */
export function sandbox(pages = 64): Sandbox {
  compiled ??= compileModule(process.env.FLOWTWIN_TEST_WASM);
  const memory = new WebAssembly.Memory({
    initial: pages,
    maximum: Math.max(pages, 1),
    shared: true,
  });
  const instance = new WebAssembly.Instance(compiled, { env: { memory, abort } });
  const bytes = new Uint8Array(memory.buffer);
  if (bytes.length < PAGE) throw new Error('a sandbox needs at least one page');
  return {
    fn: instance.exports as unknown as Sandbox['fn'],
    bytes,
    view: new DataView(memory.buffer),
  };
}

function abort(): never {
  throw new Error('the module aborted');
}

export function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
