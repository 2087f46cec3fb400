// Which charts the report has, and the numbers in them: from the figures of a run to series, without
// a thought for how they are drawn (draw.ts does that). A chart whose figures the run lacks is left
// out; a single missing value stays empty. Pure functions.

import type { Figure } from '../figures.js';
import { standings } from './goals.js';

export interface Series {
  name: string;
  /** One for each category; undefined: not measured. */
  values: (number | undefined)[];
}

export interface Chart {
  /** Name of the file, without theme and ending. */
  file: string;
  title: string;
  /** What the numbers are and which way is better. */
  subtitle: string;
  kind: 'columns' | 'bars';
  unit: string;
  /** The axis of the values is logarithmic. */
  log?: boolean;
  categories: string[];
  series: Series[];
  /** A mark for each category: the least that is promised. */
  marks?: (number | undefined)[];
  markName?: string;
}

const OURS = 'Flowtwin';
const RIVAL = 'C daemon';

class Lookup {
  constructor(private readonly figures: readonly Figure[]) {}

  value(side: 'ours' | 'rival', part: string, name: string, schedulingClass?: string) {
    return this.figures.find(
      (figure) =>
        figure.part === part &&
        figure.name === name &&
        (schedulingClass === undefined || figure.schedulingClass === schedulingClass),
    )?.[side]?.median;
  }

  /** Two series over the same figures: ours and the rival's. */
  pair(
    selections: readonly { part: string; name: string; schedulingClass?: string }[],
    rival: string = RIVAL,
  ): Series[] {
    const side = (which: 'ours' | 'rival', name: string): Series => ({
      name,
      values: selections.map((one) => this.value(which, one.part, one.name, one.schedulingClass)),
    });
    return [side('ours', OURS), side('rival', rival)];
  }
}

/** Every chart that these figures can fill. */
export function charts(figures: readonly Figure[]): Chart[] {
  const lookup = new Lookup(figures);
  const all = [
    ratios(figures),
    cpu(lookup, 'active', 'an event'),
    cpu(lookup, 'backup', 'a message'),
    memory(lookup),
    latency(lookup),
    limit(lookup),
    rates(lookup),
    scale(lookup),
    table(lookup),
  ];
  return all.filter(({ series }) =>
    series.some(({ values }) => values.some((value) => value !== undefined)),
  );
}

function ratios(figures: readonly Figure[]): Chart {
  const found = standings(figures).filter(({ ratio }) => ratio !== undefined);
  return {
    file: 'ratios',
    title: 'How many times better than the C daemon',
    subtitle: 'same load, same run; 1 = equal, longer is better; the mark is the goal',
    kind: 'bars',
    unit: '×',
    categories: found.map(({ question, schedulingClass }) =>
      /CPU a/.test(question) ? `${question} (${schedulingClass})` : question,
    ),
    series: [{ name: OURS, values: found.map(({ ratio }) => ratio) }],
    marks: found.map(({ leastRatio }) => leastRatio),
    markName: 'goal, at least',
  };
}

function cpu(lookup: Lookup, part: 'active' | 'backup', of: string): Chart {
  const rates = ['20 k/s', '60 k/s', 'flat out'];
  const classes = ['RR 99', 'OTHER'];
  const selections = classes.flatMap((schedulingClass) =>
    rates.map((rate) => ({ part, name: `create + update + delete, ${rate}`, schedulingClass })),
  );
  return {
    file: `cpu-${part}`,
    title: `CPU ${of}, ${part} node`,
    subtitle: 'µs of all threads, mean of create, update and delete; lower is better',
    kind: 'columns',
    unit: 'µs',
    categories: classes.flatMap((name) => rates.map((rate) => `${rate}\n${name}`)),
    series: lookup.pair(selections),
  };
}

const SIZES = [0, 100_000, 500_000, 1_000_000, 4_000_000];

function memory(lookup: Lookup): Chart {
  return {
    file: 'memory',
    title: 'Resident memory of the active node',
    subtitle: 'MiB (RSS) by flows held, logarithmic; lower is better',
    kind: 'columns',
    unit: 'MiB',
    log: true,
    categories: SIZES.map((size) => shortCount(size)),
    series: lookup.pair(
      SIZES.map((size) => ({
        part: 'memory',
        name: `RSS active, ${size.toLocaleString('en-US')} flows`,
      })),
    ),
  };
}

function latency(lookup: Lookup): Chart {
  const rates = ['1 k/s', '20 k/s', '60 k/s'];
  const quantiles = ['p50', 'p99', 'p99.9'];
  return {
    file: 'latency',
    title: "From the event in the kernel to the peer's cache",
    subtitle: 'ms, logarithmic; median, 99th and 99.9th percentile; lower is better',
    kind: 'columns',
    unit: 'ms',
    log: true,
    categories: rates.flatMap((rate) => quantiles.map((quantile) => `${quantile}\n${rate}`)),
    series: lookup.pair(
      rates.flatMap((rate) =>
        quantiles.map((quantile) => ({
          part: 'latency',
          name: `event to peer's cache, ${rate}, ${quantile}`,
        })),
      ),
    ),
  };
}

function limit(lookup: Lookup): Chart {
  const part = 'limit';
  return {
    file: 'limit',
    title: 'Events a second with a quarter of one core',
    subtitle: 'thousands a second, both in SCHED_OTHER; higher is better',
    kind: 'columns',
    unit: 'k/s',
    categories: ['highest rate without loss', 'lowest rate that lost events'],
    series: inThousands(
      lookup.pair([
        { part, name: 'loss-free rate at 25 % of a core' },
        { part, name: 'lowest rate that lost events' },
      ]),
    ),
  };
}

function rates(lookup: Lookup): Chart {
  const part = 'commit';
  return {
    file: 'rates',
    title: 'Take-over and catching up',
    subtitle: 'thousand flows a second; higher is better',
    kind: 'columns',
    unit: 'k/s',
    categories: ['commit', 'direct injection', 'resync', 'bulk'],
    series: inThousands(
      lookup.pair([
        { part, name: 'commit of 200 k flows' },
        { part, name: 'direct injection, event to kernel' },
        { part, name: 'resync an empty backup asks for' },
        { part, name: 'bulk to an empty backup, from the order on' },
      ]),
    ),
  };
}

function scale(lookup: Lookup): Chart {
  const workers = [1, 2, 4, 8, 16];
  return {
    file: 'scale',
    title: 'Events a second by workers, on paper',
    subtitle: 'thousands a second on as many free cores, from the shares measured here',
    kind: 'columns',
    unit: 'k/s',
    categories: workers.map((count) => `${count} ${count === 1 ? 'worker' : 'workers'}`),
    series: inThousands([
      {
        name: OURS,
        values: workers.map((count) => lookup.value('ours', 'scale', `${count} workers`)),
      },
    ]),
  };
}

function table(lookup: Lookup): Chart {
  const phases = ['insert', 'lookup', 'update', 'delete'];
  const sizes = [100_000, 1_000_000, 4_000_000];
  return {
    file: 'table',
    title: 'The flow table beside plain JavaScript',
    subtitle: 'ns a flow, one call each; lower is better',
    kind: 'columns',
    unit: 'ns',
    categories: sizes.flatMap((size) => phases.map((phase) => `${phase}\n${shortCount(size)}`)),
    series: lookup.pair(
      sizes.flatMap((size) =>
        phases.map((phase) => ({
          part: 'table',
          name: `${phase}, ${size.toLocaleString('en-US')} flows`,
        })),
      ),
      'plain JS',
    ),
  };
}

function inThousands(series: Series[]): Series[] {
  return series.map(({ name, values }) => ({
    name,
    values: values.map((value) => (value === undefined ? undefined : value / 1000)),
  }));
}

function shortCount(count: number): string {
  if (count === 0) return 'empty';
  return count >= 1_000_000 ? `${count / 1_000_000} M` : `${count / 1000} k`;
}
