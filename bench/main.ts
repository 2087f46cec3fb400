// `npm run bench`: the figures a user wants to see before trusting the product, in one run.
//
//   codec, table            the module beside plain JavaScript, anywhere
//   active … scale          whole daemons in network namespaces, ours beside the C daemon
//   cli                     the conntrack command beside Debian's
//   --report                bench/report/ and the README's numbers, from the figures of this run
//
// Ours and the rival take turns on the same load, each with the machine to itself; a figure is the
// median of its repetitions with the smallest and largest, and how many times better ours is. Run it
// on a machine that has nothing else to do. How each part measures stands at the top of its file.

import { C } from '../lab/daemon.js';
import { requirePrograms, requireRoot } from '../lab/require.js';
import { Collector, compare, renderTable } from './figures.js';
import { burst } from './lab/burst.js';
import { cli } from './lab/command.js';
import { commit } from './lab/commit.js';
import { events } from './lab/events.js';
import { injection } from './lab/injection.js';
import { latency } from './lab/latency.js';
import { limit } from './lab/loss-free.js';
import { memory } from './lab/memory.js';
import { scale } from './lab/scale.js';
import { traffic } from './lab/traffic.js';
import { type Experiment, runTrials } from './lab/trial.js';
import { describeMachine, machineText } from './machine.js';
import { codec } from './micro/codec.js';
import { table } from './micro/table.js';
import { type Options, PARTS, type PartName, parseOptions, USAGE, UsageError } from './options.js';
import { publish } from './page/publish.js';
import type { Part, PartContext } from './part.js';
import { mergeResults, type Results, readResults, writeResults } from './results.js';

interface Alone {
  run: Part;
  part: PartName;
}

/** Parts that need the machine, or nodes, of their own. */
const BEFORE: readonly Alone[] = [
  { run: codec, part: 'codec' },
  { run: table, part: 'table' },
  { run: injection, part: 'commit' },
  { run: limit, part: 'limit' },
  { run: scale, part: 'scale' },
  { run: cli, part: 'cli' },
];
/** Last: the kernel needs a while to forget millions of flows. */
const AFTER: readonly Alone[] = [{ run: memory, part: 'memory' }];

/** Trials on a common pair of nodes, in this order: commit leaves them in no state to go on. */
const TRIALS: readonly { experiment: Experiment; parts: readonly PartName[] }[] = [
  { experiment: events, parts: ['active', 'backup'] },
  { experiment: latency, parts: ['latency'] },
  { experiment: burst, parts: ['burst'] },
  { experiment: traffic, parts: ['active', 'backup'] },
  { experiment: commit, parts: ['commit'] },
];

async function main(options: Options): Promise<void> {
  const { parts, quick } = options;
  const onlyMicro = [...parts].every((part) => part === 'codec' || part === 'table');
  if (!onlyMicro) {
    requireRoot();
    requirePrograms(['ip', 'nft', 'mount', 'chrt', C.path]);
  }
  const old = options.compare === undefined ? undefined : readResults(options.compare);
  const base = options.merge === undefined ? undefined : readResults(options.merge);
  const machine = describeMachine();
  process.stdout.write(`${machineText(machine)}\n\n`);
  const collector = new Collector();
  const start = performance.now();
  const elapsed = (): number => Math.round((performance.now() - start) / 1000);
  const progress = (text: string): void => {
    process.stderr.write(`${String(elapsed()).padStart(5)} s  ${text}\n`);
  };
  const failures: string[] = [];
  const fail = (what: string, error: unknown): void => {
    const reason = error instanceof Error ? error.message : String(error);
    failures.push(`${what}: ${reason.split('\n', 1)[0]}`);
    process.stderr.write(`${what} failed: ${reason}\n`);
    process.exitCode = 1;
  };
  const measured = (): Results => ({
    ...{ format: 1, machine, quick, seconds: elapsed(), failures },
    figures: collector
      .figures()
      .filter(({ part }) => parts.has(part as PartName))
      .sort((a, b) => PARTS.indexOf(a.part as PartName) - PARTS.indexOf(b.part as PartName)),
  });
  const save = (results: Results): void => {
    if (options.json !== undefined) writeResults(options.json, results);
  };
  // After each part: a run that is cut off leaves what it has measured, and says so.
  const done = (): void =>
    save({ ...measured(), failures: [...failures, 'run: it has not come to its end'] });
  await runAll(parts, { quick, collector, progress, fail, done });
  const { figures } = measured();
  process.stdout.write(`${renderTable(figures)}\n`);
  if (old) process.stdout.write(`\nsince ${old.machine.date}\n${compare(old.figures, figures)}\n`);
  const results = base ? mergeResults(base, measured(), parts) : measured();
  save(results);
  if (options.report) publish(results);
}

/** Runs what was asked for. A part that fails does not take the others with it. */
async function runAll(parts: Options['parts'], context: PartContext): Promise<void> {
  await runAlone(BEFORE, parts, context);
  const chosen = TRIALS.filter((trial) => trial.parts.some((part) => parts.has(part)));
  await runTrials(
    chosen.map(({ experiment }) => experiment),
    context,
  );
  await runAlone(AFTER, parts, context);
}

async function runAlone(
  list: readonly Alone[],
  parts: Options['parts'],
  context: PartContext,
): Promise<void> {
  for (const { run, part } of list) {
    if (!parts.has(part)) continue;
    try {
      await run(context);
    } catch (error) {
      context.fail(part, error);
    }
    context.done();
  }
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
