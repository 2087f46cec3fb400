// The map of label names, connlabel.conf: blanks, bit number, blanks, name to the end of the line.
// Names hold ASCII letters, digits, hyphens and blanks; other lines are skipped; of a repeated bit
// or name the first one counts. Reads one file, blocks for that. docs/conntrack.md, "Labels".

import { readFileSync } from 'node:fs';
import type { LabelMap } from '../report/names.js';
import { usageError } from './complain.js';

export const LABEL_MAP = '/etc/xtables/connlabel.conf';
const LINE = /^[ \t]*(0[xX][0-9a-fA-F]+|\d+)[ \t]+([A-Za-z0-9-][A-Za-z0-9 -]*?)[ \t]*$/;

/** The map in `path`; a reason why there is none. */
export function readLabelMap(path: string): { map: LabelMap } | { reason: string } {
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return { reason: code === 'EACCES' ? 'Permission denied' : 'No such file or directory' };
  }
  const map = parseLabelMap(text);
  return map.size === 0 ? { reason: 'Success' } : { map };
}

export function parseLabelMap(text: string): LabelMap {
  const map = new Map<number, string>();
  const names = new Set<string>();
  for (const line of text.split('\n')) {
    const [, digits, name] = LINE.exec(line) ?? [];
    if (digits === undefined || name === undefined) continue;
    const bit = /^0[0-7]/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
    if (bit > 127 || map.has(bit) || names.has(name)) continue;
    map.set(bit, name);
    names.add(name);
  }
  return map;
}

/** The bitmap (16 bytes) of these names. Throws `unknown label`. */
export function labelBits(names: readonly string[], map: LabelMap | undefined): Uint8Array {
  const bits = new Uint8Array(16);
  for (const name of names) {
    const bit = [...(map ?? [])].find(([, known]) => known === name)?.[0];
    if (bit === undefined) throw usageError(`unknown label '${name}'`);
    bits[bit >> 3]! |= 1 << (bit & 7);
  }
  return bits;
}

/** Up to the last 32-bit word that has a label: the kernel takes multiples of four bytes. */
export function wholeWords(labels: Uint8Array): Uint8Array {
  let length = 16;
  while (length > 4 && labels.subarray(length - 4, length).every((byte) => byte === 0)) length -= 4;
  return labels.subarray(0, length);
}
