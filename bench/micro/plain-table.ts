// The rival of the flow table: the same slab and chained index in typed arrays and plain JavaScript,
// with the index at its final size from the start (which is in its favour: ours grows).

import { hashWords } from './plain.js';

const WORDS = 20; // a record of 80 bytes, as ours
const NEXT = 4;
const LIVE = 14;
const NONE = 0xffffffff;

export class PlainTable {
  readonly #records: Uint32Array;
  readonly #heads: Uint32Array;
  readonly #mask: number;
  #free = NONE;
  #used = 0;

  constructor(
    capacity: number,
    private readonly seed: number,
  ) {
    this.#records = new Uint32Array(capacity * WORDS);
    this.#mask = 2 ** Math.ceil(Math.log2(capacity)) - 1;
    this.#heads = new Uint32Array(this.#mask + 1).fill(NONE);
  }

  /** The record of the key at `key`, or -1. */
  find(key: Uint32Array): number {
    const records = this.#records;
    let at = this.#heads[hashWords(key, 0, this.seed) & this.#mask]!;
    while (at !== NONE) {
      if (
        records[at] === key[0] &&
        records[at + 1] === key[1] &&
        records[at + 2] === key[2] &&
        records[at + 3] === key[3]
      ) {
        return at;
      }
      at = records[at + NEXT]!;
    }
    return -1;
  }

  add(key: Uint32Array): number {
    const records = this.#records;
    let at = this.#free;
    if (at !== NONE) this.#free = records[at + NEXT]!;
    else at = this.#used++ * WORDS;
    for (let i = 0; i < 4; i++) records[at + i] = key[i]!;
    const head = hashWords(key, 0, this.seed) & this.#mask;
    records[at + NEXT] = this.#heads[head]!;
    records[at + LIVE] = 1;
    this.#heads[head] = at;
    return at;
  }

  set(at: number, word: number, value: number): void {
    this.#records[at + word] = value;
  }

  remove(at: number): void {
    const records = this.#records;
    const head = hashWords(records, at, this.seed) & this.#mask;
    let before = NONE;
    let record = this.#heads[head]!;
    while (record !== at && record !== NONE) {
      before = record;
      record = records[record + NEXT]!;
    }
    if (record === NONE) return;
    if (before === NONE) this.#heads[head] = records[at + NEXT]!;
    else records[before + NEXT] = records[at + NEXT]!;
    records[at + LIVE] = 0;
    records[at + NEXT] = this.#free;
    this.#free = at;
  }

  /** Living records, counted by a walk over the slab. */
  walk(): number {
    let count = 0;
    const end = this.#used * WORDS;
    for (let at = 0; at < end; at += WORDS) count += this.#records[at + LIVE]!;
    return count;
  }
}
