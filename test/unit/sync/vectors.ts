// The vector tables of the sync protocol, and a module with a message placed so that one byte read
// too many is caught.
//
// wire-vectors.json holds datagrams captured between two C daemons with every attribute spelled
// out; wire-negative.json holds crafted datagrams, in three modes, with what a C daemon's counters
// and cache made of each.

import { readFileSync } from 'node:fs';
import { FLOW_SIZE } from '../../../assembly/layout.js';
import { fromHex, type Sandbox, sandbox } from '../../wasm.js';

export interface Attribute {
  type: number;
  name: string;
  len: number;
  valueHex: string;
}

export interface Message {
  offset: number;
  version: number;
  type: number;
  flags: number;
  len: number;
  seq: number;
  from?: number;
  to?: number;
  attrs: Attribute[];
}

export interface Vector {
  name: string;
  mode: string;
  hex: string;
  messages: Message[];
}

export interface Negative {
  mode: 'FTFW' | 'NOTRACK' | 'ALARM';
  name: string;
  datagrams: string[];
  statsDelta: Record<string, number>;
}

function table<T>(name: string): T[] {
  return JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), 'utf8'));
}

export const vectors = table<Vector>('wire-vectors');
export const negatives = table<Negative>('wire-negative');

export interface Sample {
  name: string;
  bytes: Uint8Array;
  message: Message;
}

/** Every captured message for itself, of the types `from` to `to`. */
export function samples(from: number, to: number): Sample[] {
  return vectors.flatMap((vector) =>
    vector.messages
      .filter((message) => message.type >= from && message.type <= to)
      .map((message) => ({
        name: `${vector.name} @${message.offset}`,
        bytes: fromHex(vector.hex).subarray(message.offset, message.offset + message.len),
        message,
      })),
  );
}

/** Where tests put wide forms and output; messages lie at the end of the memory. */
export const FLOW = 4096;
export const FLOW2 = 8192;
export const TUPLE = 12288;
export const OUT = 16384;

/** A module on a memory of one page: behind the last byte every read traps. */
export function edge(): Sandbox & { end: number; put(bytes: Uint8Array): number } {
  const box = sandbox(1);
  const end = box.bytes.length;
  return {
    ...box,
    end,
    /** Places a message so that it ends with the memory; the bytes before it become `0xa5`. */
    put(bytes) {
      const at = end - bytes.length;
      box.bytes.fill(0xa5, at - 64, at);
      box.bytes.set(bytes, at);
      return at;
    },
  };
}

/** A wide form as bytes, copied. */
export function snapshot(box: Sandbox, at: number, size = FLOW_SIZE): Uint8Array {
  return box.bytes.slice(at, at + size);
}
