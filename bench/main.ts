// `npm run bench`: the figures a user wants to see before trusting the product, in one run.
//
//   codec, table            the module beside plain JavaScript, anywhere
//   active … scale          whole daemons in network namespaces, ours beside the C daemon
//
// Ours and the rival take turns on the same load, each with the machine to itself; a figure is the
// median of its repetitions with the smallest and largest, and how many times better ours is. Run it
// on a machine that has nothing else to do. How each part measures stands at the top of its file.

import { readFileSync, writeFileSync } from 'node:fs';
import { C } from '../lab/daemon.js';
import { requirePrograms, requireRoot } from '../lab/require.js';
import { Collector, compare, type Figure, renderTable } from './figures.js';
import { burst } from './lab/burst.js';
import { commit } from './lab/commit.js';
import { events } from './lab/events.js';
import { latency } from './lab/latency.js';
import { memory } from './lab/memory.js';
import { scale } from './lab/scale.js';
import { traffic } from './lab/traffic.js';
import { describeMachine, type Machine, machineText } from './machine.js';
import { codec } from './micro/codec.js';
import { table } from './micro/table.js';
import { type Options, PARTS, type PartName, parseOptions, USAGE, UsageError } from './options.js';
import type { Part } from './part.js';

/** What --json writes and --compare reads. */
export interface Results {
  format: 1;
  machine: Machine;
  quick: boolean;
  seconds: number;
  figures: Figure[];
}

/** The nodes always work in pairs, so one measurement gives `active` and `backup`. */
const WORK: Record<PartName, Part[]> = {
  codec: [codec],
  table: [table],
  active: [events, traffic],
  backup: [events, traffic],
  memory: [memory],
  commit: [commit],
  burst: [burst],
  latency: [latency],
  scale: [scale],
};

async function main(options: Options): Promise<void> {
  const { parts, quick } = options;
  const onlyMicro = [...parts].every((part) => part === 'codec' || part === 'table');
  if (!onlyMicro) {
    requireRoot();
    requirePrograms(['ip', 'nft', 'mount', 'chrt', C.path]);
  }
  const old = options.compare === undefined ? undefined : readResults(options.compare);
  const machine = describeMachine();
  process.stdout.write(`${machineText(machine)}\n\n`);
  const collector = new Collector();
  const start = performance.now();
  const elapsed = (): number => Math.round((performance.now() - start) / 1000);
  const progress = (text: string): void => {
    process.stderr.write(`${String(elapsed()).padStart(5)} s  ${text}\n`);
  };
  const work = new Set(PARTS.filter((part) => parts.has(part)).flatMap((part) => WORK[part]));
  for (const part of work) await part({ quick, collector, progress });
  const figures = collector
    .figures()
    .filter(({ part }) => parts.has(part as PartName))
    .sort((a, b) => PARTS.indexOf(a.part as PartName) - PARTS.indexOf(b.part as PartName));
  process.stdout.write(`${renderTable(figures)}\n`);
  if (old) process.stdout.write(`\nsince ${old.machine.date}\n${compare(old.figures, figures)}\n`);
  if (options.json !== undefined) {
    const results: Results = { format: 1, machine, quick, seconds: elapsed(), figures };
    writeFileSync(options.json, `${JSON.stringify(results, undefined, 2)}\n`);
  }
}

/** Reads a file of an earlier run; throws when it is something else. */
function readResults(path: string): Results {
  const results = JSON.parse(readFileSync(path, 'utf8')) as Partial<Results>;
  if (results.format !== 1 || !Array.isArray(results.figures) || results.machine === undefined) {
    throw new UsageError(`${path} is no result of this bench`);
  }
  return results as Results;
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(USAGE);
  else await main(options);
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n\n${USAGE}`);
  process.exitCode = 2;
}
