// From the JSON of a bench run to bench/report/README.md: `node dist/bench/report.js FILE [OUT]`.
// The first table is for readers in a hurry, one line a question; behind it every figure of the run
// and how it was measured. Numbers are never typed by hand: a question whose figure the run lacks is
// left out.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../lab/require.js';
import { type Figure, ratioOf } from './figures.js';
import { machineText } from './machine.js';
import { PARTS } from './options.js';
import { type Results, readResults } from './results.js';
import { formatNumber, formatSummary } from './statistics.js';

/** What a reader wants to know first, and the figure that answers it. */
const QUESTIONS: readonly { question: string; part: string; name: string }[] = [
  { question: 'CPU of an event, active node, 20,000/s', part: 'active', name: 'create, 20 k/s' },
  { question: 'CPU of an event, active node, 60,000/s', part: 'active', name: 'create, 60 k/s' },
  { question: 'CPU of an event, active node, flat out', part: 'active', name: 'create, flat out' },
  { question: 'CPU of a message, backup, 20,000/s', part: 'backup', name: 'create, 20 k/s' },
  { question: 'CPU of a message, backup, flat out', part: 'backup', name: 'create, flat out' },
  {
    question: 'CPU of a TCP connection, active node',
    part: 'active',
    name: 'TCP connection, SYN to close, 2 k/s',
  },
  { question: 'Memory a flow, active node', part: 'memory', name: 'PSS active, each further flow' },
  { question: 'Memory at rest', part: 'memory', name: 'PSS active, 0 flows' },
  {
    question: 'Memory with a million flows',
    part: 'memory',
    name: 'PSS active, 1,000,000 flows',
  },
  { question: 'Commit of 200,000 flows', part: 'commit', name: 'commit of 200 k flows' },
  {
    question: 'Bulk to an empty backup',
    part: 'commit',
    name: 'bulk to an empty backup, from the order on',
  },
  {
    question: 'Delay event to link, 20,000/s, median',
    part: 'latency',
    name: 'event to link, 20 k/s, p50',
  },
  {
    question: 'Delay event to link, 20,000/s, p99',
    part: 'latency',
    name: 'event to link, 20 k/s, p99',
  },
  { question: 'CPU when idle', part: 'memory', name: 'CPU when idle' },
];

/** How each part measures, for the reader of its table. */
const METHODS: Record<string, string> = {
  codec: 'Nanoseconds a message; one operation of Benchmark.js is a batch of 1024.',
  table: 'Nanoseconds a flow, each flow once in an order far from the one of the slab.',
  active:
    'CPU (user and system, all threads, from the scheduler) of the node that sees the event, from ' +
    'the first request until both nodes rest, divided by the events. Bursts: 2, 4, 8 and 128 events.',
  backup: 'The same for the node that receives the messages, in the same runs.',
  memory: 'PSS and RSS of one daemon. The slope is the line through all sizes but the empty one.',
  commit:
    "The commit's time is each daemon's own; the bulk's runs from the order to the last flow.",
  burst: '300,000 flows as fast as the kernel makes them; NetlinkBufferSize 33554432.',
  latency:
    'From the request that makes the flow to the arrival of its datagram at the peer, by the ' +
    "machine's clock. Ours gathers events for CoalesceTime (1 ms unless configured); C does not.",
  scale:
    'The active node with Workers 0 to 3; below, what the measured shares allow on more cores.',
};

/** The whole report. */
export function renderReport(results: Results): string {
  const { figures, machine, quick, seconds } = results;
  const title = quick ? 'Benchmark (quick run)' : 'Benchmark';
  const parts = PARTS.filter((part) => figures.some((figure) => figure.part === part));
  return [
    `# ${title}`,
    '',
    'Made by `npm run bench` and `node dist/bench/report.js`; do not edit. Ours and the C daemon',
    'took turns on the same load; a figure is the median of its repetitions with the smallest and',
    'the largest. *Better* is how many times better ours is: below 1 the rival wins.',
    '',
    `${machineText(machine)}; the run took ${seconds} s.`,
    '',
    '## In short',
    '',
    ...shortTable(figures),
    ...parts.flatMap((part) => [
      '',
      `## ${part}`,
      '',
      METHODS[part] ?? '',
      '',
      ...fullTable(figures.filter((figure) => figure.part === part)),
    ]),
    '',
  ].join('\n');
}

function shortTable(figures: readonly Figure[]): string[] {
  const rows = QUESTIONS.flatMap(({ question, part, name }) => {
    const figure = figures.find((candidate) => candidate.part === part && candidate.name === name);
    const ratio = figure && ratioOf(figure);
    if (figure?.ours === undefined || figure.rival === undefined || ratio === undefined) return [];
    const value = (side: 'ours' | 'rival') =>
      `${formatNumber(figure[side]!.median)} ${figure.unit}`;
    return [`| ${question} | ${value('ours')} | ${value('rival')} | ${formatNumber(ratio)}× |`];
  });
  return ['| | ours | C | better |', '|---|--:|--:|--:|', ...rows];
}

function fullTable(figures: readonly Figure[]): string[] {
  const rows = figures.map((figure) => {
    const { name, unit, ours, rival, schedulingClass, note } = figure;
    const ratio = ratioOf(figure);
    const cells = [
      name,
      unit,
      ours ? formatSummary(ours) : '',
      rival ? formatSummary(rival) : '',
      ratio === undefined ? '' : `${formatNumber(ratio)}×`,
      schedulingClass ?? '',
      note ?? '',
    ];
    return `| ${cells.join(' | ')} |`;
  });
  const rival = figures.find((figure) => figure.rival)?.rivalName ?? '';
  return [
    `| | unit | ours | ${rival} | better | class | |`,
    '|---|---|--:|--:|--:|---|---|',
    ...rows,
  ];
}

function main([from, to = join(ROOT, 'bench', 'report', 'README.md')]: string[]): void {
  if (from === undefined) {
    process.stderr.write('usage: node dist/bench/report.js RESULTS.json [README.md]\n');
    process.exitCode = 2;
    return;
  }
  const results = readResults(from);
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, renderReport(results));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv.slice(2));
