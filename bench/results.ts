// The file that --json writes, and that --compare and the report read.

import { readFileSync, writeFileSync } from 'node:fs';
import type { Figure } from './figures.js';
import type { Machine } from './machine.js';
import { UsageError } from './options.js';

export interface Results {
  format: 1;
  machine: Machine;
  quick: boolean;
  /** How long the run took. */
  seconds: number;
  figures: Figure[];
  /** What could not be measured, and why. */
  failures?: string[];
  /** Earlier runs that parts were taken from. */
  merged?: { date: string; parts: string[] }[];
}

export function writeResults(path: string, results: Results): void {
  writeFileSync(path, `${JSON.stringify(results, undefined, 2)}\n`);
}

/** A run of some parts on top of an earlier one: each part is whole from one of the two. */
export function mergeResults(old: Results, now: Results, parts: ReadonlySet<string>): Results {
  return {
    ...now,
    quick: old.quick || now.quick,
    seconds: old.seconds + now.seconds,
    figures: [...old.figures.filter(({ part }) => !parts.has(part)), ...now.figures],
    failures: [
      ...(old.failures ?? []).filter((line) => !parts.has(line.split(':', 1)[0]!)),
      ...(now.failures ?? []),
    ],
    merged: [...(old.merged ?? []), { date: old.machine.date, parts: partsOf(old, parts) }],
  };
}

/** Parts of a run that another does not replace. */
function partsOf({ figures }: Results, replaced: ReadonlySet<string>): string[] {
  return [...new Set(figures.map(({ part }) => part))].filter((part) => !replaced.has(part));
}

/** Reads the file of an earlier run. Throws UsageError when it is something else. */
export function readResults(path: string): Results {
  let results: Partial<Results>;
  try {
    results = JSON.parse(readFileSync(path, 'utf8')) as Partial<Results>;
  } catch (error) {
    throw new UsageError(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (results?.format !== 1 || !Array.isArray(results.figures) || results.machine === undefined) {
    throw new UsageError(`${path} is no result of this bench`);
  }
  return results as Results;
}
