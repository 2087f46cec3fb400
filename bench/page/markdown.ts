// The words around the figures: the page bench/report/README.md, and the numbers in the project's
// README. No number is typed here: all come from the figures of one run, and what the run lacks is
// left out. Pure functions.

import { type Figure, ratioOf } from '../figures.js';
import { machineText } from '../machine.js';
import { PARTS } from '../options.js';
import type { Results } from '../results.js';
import { formatNumber, formatSummary } from '../statistics.js';
import { type Chart, charts } from './charts.js';
import { type Standing, standings } from './goals.js';

/** How each part measures, for the reader of its table. */
const METHODS: Record<string, string> = {
  codec: 'Nanoseconds a message; one operation of Benchmark.js is a batch of 1024.',
  table:
    'Nanoseconds a flow, each flow once in an order far from the one of the slab. A call into the ' +
    'module for each flow is in the figure of ours; the daemon calls once a batch.',
  active:
    'CPU (user and system, all threads, from the scheduler) of the node that sees the event, from ' +
    'the first request until both nodes rest, divided by the events. Bursts: 2, 8 and 128 events.',
  backup: 'The same for the node that receives the messages, in the same runs.',
  memory:
    'PSS and RSS of one daemon. The slope is the line through the sizes from 100,000 flows on. ' +
    'PSS shares pages between the two daemons of the pair; RSS counts them in full.',
  commit:
    "The commit's time is each daemon's own; resync and bulk run from the order to the last flow, " +
    'direct injection (`DisableExternalCache`) from the first of 100,000 new flows until the other ' +
    'kernel has the last.',
  burst: '300,000 flows as fast as the kernel makes them; NetlinkBufferSize 33554432.',
  latency:
    'From the request that makes the flow to the arrival of its datagram at the peer, by the ' +
    "machine's clock, and on until the peer's daemon has read it (looked at every 100 µs). Ours " +
    'gathers events under load for CoalesceTime (1 ms unless configured); C does not.',
  limit:
    "The active node's daemon in a control group that gets a quarter of one core. New flows at " +
    'rising rates for 2 s each, until the event socket overruns; NetlinkBufferSize 8388608.',
  scale:
    'The active node with Workers 0 to 2; below, what the measured shares allow on more cores: ' +
    "main's share of an event cannot be divided, the rest divides by the workers.",
  cli:
    "The `conntrack` command beside Debian's in one namespace, from before the process is made until it " +
    'has ended, standard output a file. `-R` loads what `-o save` of the C command printed. `-E` follows ' +
    "new flows, eight in one system call; *the same buffer* is the system's, which C always has.",
};

const CHART_OF: Record<string, readonly string[]> = {
  active: ['cpu-active'],
  backup: ['cpu-backup'],
  memory: ['memory'],
  latency: ['latency'],
  limit: ['limit'],
  commit: ['rates'],
  scale: ['scale'],
  table: ['table'],
};

/** The page of the report. */
export function renderPage(results: Results): string {
  const { figures, machine, quick, seconds, failures = [], merged = [] } = results;
  const drawn = charts(figures);
  const parts = PARTS.filter((part) => figures.some((figure) => figure.part === part));
  return [
    `# ${quick ? 'Benchmark (quick run)' : 'Benchmark'}`,
    '',
    'Made by `npm run bench -- --report`; do not edit. How the parts measure and what to keep in mind:',
    '[docs/benchmark.md](../../docs/benchmark.md). Raw figures: [results.json](results.json).',
    '',
    'Ours and the C daemon took turns on the same load in one run, each with the machine to itself;',
    'a figure is the median of its repetitions with the smallest and the largest. *Better* is how many',
    'times better ours is: below 1 the rival wins. *Class* is the scheduling class that **both** were put',
    'into: `RR 99` is SCHED_RR with priority 99, which the C daemon takes by itself, `OTHER` is',
    'SCHED_OTHER, where ours stays by itself.',
    '',
    `${machineText(machine)}; the run took ${seconds} s.`,
    ...merged.map(({ date, parts: older }) => `From a run of ${date}: ${older.join(', ')}.`),
    ...(failures.length > 0
      ? ['', '**Not measured in this run:**', '', ...failures.map((line) => `- ${line}`)]
      : []),
    '',
    '## Repeat it',
    '',
    'On Debian or Ubuntu with Node.js 20 or newer, as root, on a machine with nothing else to do:',
    '',
    ...REPEAT,
    '',
    '## Goals',
    '',
    ...image(drawn, 'ratios', ''),
    ...goalTable(standings(figures)),
    ...parts.flatMap((part) => [
      '',
      `## ${part}`,
      '',
      METHODS[part] ?? '',
      '',
      ...(CHART_OF[part] ?? []).flatMap((file) => image(drawn, file, '')),
      ...fullTable(figures.filter((figure) => figure.part === part)),
    ]),
    '',
  ].join('\n');
}

const REPEAT = [
  '```sh',
  'cd flowtwin                       # a clone of this repository',
  'sudo npm run bench -- --report    # installs, builds, measures for ten minutes',
  'less bench/report/README.md       # this page, with the figures of your machine',
  '```',
];

/** A chart that follows the reader's theme; nothing when the run has no figures for it. */
function image(drawn: readonly Chart[], file: string, folder: string): string[] {
  const chart = drawn.find((candidate) => candidate.file === file);
  if (chart === undefined) return [];
  const at = `${folder}charts/${file}`;
  return [
    '<picture>',
    `  <source media="(prefers-color-scheme: dark)" srcset="${at}-dark.svg">`,
    `  <img alt="${chart.title}" src="${at}-light.svg">`,
    '</picture>',
    '',
  ];
}

function goalTable(rows: readonly Standing[]): string[] {
  const missed = rows.filter(({ verdict }) => verdict === 'missed');
  const words = missed.map(
    ({ question, schedulingClass, reached, least }) =>
      `- ${question}${schedulingClass ? ` (${schedulingClass})` : ''}: ${reached}, the goal is ${least}`,
  );
  return [
    missed.length === 0
      ? `This run reached all ${rows.length} goals.`
      : `This run reached ${rows.length - missed.length} of ${rows.length} goals. **Missed:**`,
    ...(words.length > 0 ? ['', ...words] : []),
    '',
    '| | class | ours | C | reached | at least | aim | |',
    '|---|---|--:|--:|--:|--:|--:|---|',
    ...rows.map(
      ({ question, schedulingClass, ours, rival, reached, least, aim, verdict }) =>
        `| ${[question, schedulingClass, ours, rival, reached, least, aim, verdict].join(' | ')} |`,
    ),
  ];
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

/** What the README tells, in its order; the words are for readers who know no part names. */
const SHORT: readonly { words: string; part: string; name: string; schedulingClass?: string }[] = [
  ...(['active', 'backup'] as const).flatMap((part) =>
    ['20 k/s', '60 k/s', 'flat out'].map((rate) => ({
      words: `${part}: CPU ${part === 'active' ? 'an event' : 'a message'}, ${rate}`,
      part,
      name: `create + update + delete, ${rate}`,
      schedulingClass: 'RR 99',
    })),
  ),
  {
    words: 'active: CPU a TCP connection, SYN to close',
    part: 'active',
    name: 'TCP connection, SYN to close, 2 k/s',
    schedulingClass: 'RR 99',
  },
  {
    words: 'events a second without loss, a quarter of one core',
    part: 'limit',
    name: 'loss-free rate at 25 % of a core',
  },
  {
    words: 'bytes a flow, active, slope to 1,000,000 flows',
    part: 'memory',
    name: 'RSS active, each further flow to 1,000,000',
  },
  {
    words: 'resident memory, 1,000,000 flows',
    part: 'memory',
    name: 'RSS active, 1,000,000 flows',
  },
  { words: 'resident memory, empty', part: 'memory', name: 'RSS active, 0 flows' },
  { words: 'commit of 200,000 flows', part: 'commit', name: 'commit of 200 k flows' },
  {
    words: 'direct injection, event to the other kernel',
    part: 'commit',
    name: 'direct injection, event to kernel',
  },
  {
    words: 'burst of 300,000 flows until the backup has all',
    part: 'burst',
    name: 'until the backup has all it will have',
  },
  {
    words: 'event to the link, 20,000/s, p99',
    part: 'latency',
    name: 'event to link, 20 k/s, p99',
  },
  {
    words: "event to the peer's cache, 20,000/s, p99",
    part: 'latency',
    name: "event to peer's cache, 20 k/s, p99",
  },
  { words: 'CPU when idle', part: 'memory', name: 'CPU when idle' },
  { words: '`conntrack -L` of 100,000 flows', part: 'cli', name: '-L of 100 k flows' },
  {
    words: '`conntrack -R` of 100,000 saved lines',
    part: 'cli',
    name: '-R of 100 k saved lines',
  },
];

const BEGIN = '<!-- numbers: written by npm run bench -- --report -->';
const END = '<!-- end of numbers -->';

/** The README with its numbers replaced by those of the run. Throws when it has no place for them. */
export function renderReadme(readme: string, results: Results): string {
  const from = readme.indexOf(BEGIN);
  const to = readme.indexOf(END);
  if (from < 0 || to < from) throw new Error(`the README has no lines ${BEGIN} and ${END}`);
  const before = readme.slice(0, from + BEGIN.length);
  return `${before}\n\n${numbers(results).join('\n')}\n${readme.slice(to)}`;
}

function numbers({ figures, machine, seconds, quick }: Results): string[] {
  const rows = standings(figures);
  const missed = rows.filter(({ verdict }) => verdict === 'missed').length;
  return [
    `Beside the C daemon (${machine.conntrackd ?? 'not installed'}), the two taking turns on the same load in one`,
    `${quick ? 'quick run' : `run of ${seconds} s`}, both in SCHED_RR, on ${machine.cores} × ${machine.processor}, Linux ${machine.kernel},`,
    `Node ${machine.node}. It reached ${rows.length - missed} of its ${rows.length} goals; the`,
    '[report](bench/report/README.md) has them all, with every figure in both scheduling classes.',
    '',
    ...image(charts(figures), 'ratios', 'bench/report/'),
    '| | Flowtwin | C daemon | better |',
    '|---|--:|--:|--:|',
    ...SHORT.flatMap(({ words, ...selection }) => shortRow(words, selection, figures)),
    '',
  ];
}

function shortRow(
  words: string,
  wanted: { part: string; name: string; schedulingClass?: string },
  figures: readonly Figure[],
): string[] {
  const figure = figures.find(
    ({ part, name, schedulingClass }) =>
      part === wanted.part &&
      name === wanted.name &&
      (wanted.schedulingClass ?? schedulingClass) === schedulingClass,
  );
  const ratio = figure && ratioOf(figure);
  if (figure?.ours === undefined || figure.rival === undefined || ratio === undefined) return [];
  const value = (side: 'ours' | 'rival') => `${formatNumber(figure[side]!.median)} ${figure.unit}`;
  return [`| ${words} | ${value('ours')} | ${value('rival')} | ${formatNumber(ratio)}× |`];
}
