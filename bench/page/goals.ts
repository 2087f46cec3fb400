// What the product promises against the C daemon, and how the figures of a run stand to it. A goal
// that the run missed is called missed; one whose figure the run lacks is left out.
//
// Most goals are ratios, C divided by ours, from the same run. The others bound a figure of ours:
// memory of an empty daemon, CPU when idle, and latency, where the bound is on what ours adds.
// Pure functions.

import { type Figure, ratioOf } from '../figures.js';
import { formatNumber } from '../statistics.js';

export type Verdict = 'aim reached' | 'reached' | 'missed';

export interface Standing {
  question: string;
  schedulingClass: string;
  ours: string;
  rival: string;
  /** What is held against the goal: how many times better, or the bounded figure. */
  reached: string;
  least: string;
  aim: string;
  verdict: Verdict;
  /** How many times better than the rival; undefined for bounds. */
  ratio: number | undefined;
  leastRatio: number | undefined;
}

interface Selection {
  part: string;
  name: string;
  schedulingClass?: string;
}

interface RatioGoal extends Selection {
  kind: 'ratio';
  question: string;
  least: number;
  aim: number;
  /** A bound on ours as well, in the figure's unit. */
  bound?: number;
}

interface BoundGoal extends Selection {
  kind: 'bound' | 'added';
  question: string;
  /** Upper bounds in `unit`. */
  least: number;
  aim: number;
  unit: string;
  /** Factor from the figure's unit to `unit`. */
  factor?: number;
}

export type Goal = RatioGoal | BoundGoal;

const MB_A_MIB = 1.048576;
const CYCLE = 'create + update + delete';

function cpuGoals(schedulingClass: string): Goal[] {
  const goal = (part: string, rate: string, words: string, least: number, aim: number): Goal => ({
    kind: 'ratio',
    question: `${part}: CPU ${part === 'active' ? 'an event' : 'a message'}, ${words}`,
    part,
    name: `${CYCLE}, ${rate}`,
    schedulingClass,
    least,
    aim,
  });
  return [
    goal('active', '20 k/s', '20,000/s', 3, 6),
    goal('active', '60 k/s', '60,000/s', 2.5, 5),
    goal('active', 'flat out', 'flat out', 1.8, 3),
    goal('backup', '20 k/s', '20,000/s', 2.5, 5),
    goal('backup', '60 k/s', '60,000/s', 2.2, 4),
    goal('backup', 'flat out', 'flat out', 2.5, 6),
  ];
}

function latencyGoals(): Goal[] {
  return ['1 k/s', '20 k/s', '60 k/s'].map((rate) => ({
    kind: 'added',
    question: `latency p99 that ours adds, event to link, ${rate.replace(' k', ',000')}`,
    part: 'latency',
    name: `event to link, ${rate}, p99`,
    least: 3,
    aim: 1,
    unit: 'ms',
  }));
}

function memoryGoals(): Goal[] {
  const ratio = { kind: 'ratio', part: 'memory' } as const;
  const nodes = ['active', 'backup'] as const;
  return [
    ...nodes.map(
      (node): Goal => ({
        ...ratio,
        question: `${node}: bytes a flow, slope to 1,000,000 flows`,
        name: `RSS ${node}, each further flow to 1,000,000`,
        least: 3.3,
        aim: 4.5,
        bound: 160,
      }),
    ),
    ...nodes.map(
      (node): Goal => ({
        ...ratio,
        question: `${node}: resident memory with 500,000 flows`,
        name: `RSS ${node}, 500,000 flows`,
        least: 1.8,
        aim: 2.4,
      }),
    ),
    {
      kind: 'bound',
      question: 'resident memory, empty (the price of a JavaScript engine)',
      part: 'memory',
      name: 'RSS active, 0 flows',
      least: 90,
      aim: 60,
      unit: 'MB',
      factor: MB_A_MIB,
    },
    {
      kind: 'bound',
      question: 'CPU when idle',
      part: 'memory',
      name: 'CPU when idle',
      least: 0.5,
      aim: 0.1,
      unit: '% of a core',
    },
  ];
}

export const GOALS: readonly Goal[] = [
  ...cpuGoals('RR 99'),
  ...cpuGoals('OTHER'),
  ...memoryGoals(),
  {
    kind: 'ratio',
    question: 'commit of 200,000 flows',
    part: 'commit',
    name: 'commit of 200 k flows',
    least: 1.7,
    aim: 2.3,
    bound: 150_000,
  },
  {
    kind: 'ratio',
    question: 'burst of 300,000 flows until the backup has all',
    part: 'burst',
    name: 'until the backup has all it will have',
    least: 1,
    aim: 1.3,
  },
  {
    kind: 'ratio',
    question: 'loss-free rate with 25 % of one core',
    part: 'limit',
    name: 'loss-free rate at 25 % of a core',
    least: 2,
    aim: 2.7,
  },
  ...latencyGoals(),
];

function find(figures: readonly Figure[], { part, name, schedulingClass }: Selection) {
  return figures.find(
    (figure) =>
      figure.part === part &&
      figure.name === name &&
      (schedulingClass === undefined || figure.schedulingClass === schedulingClass),
  );
}

/** How the figures stand to the goals, in the order of the goals. */
export function standings(figures: readonly Figure[], goals = GOALS): Standing[] {
  return goals.flatMap((goal) => {
    const figure = find(figures, goal);
    if (figure?.ours === undefined || figure.rival === undefined) return [];
    const standing = goal.kind === 'ratio' ? ratioStanding(goal, figure) : bound(goal, figure);
    return standing ? [standing] : [];
  });
}

function ratioStanding(goal: RatioGoal, figure: Figure): Standing | undefined {
  const ratio = ratioOf(figure);
  if (ratio === undefined) return undefined;
  const ours = figure.ours!.median;
  const within =
    goal.bound === undefined ||
    (figure.better === 'lower' ? ours <= goal.bound : ours >= goal.bound);
  const sign = figure.better === 'lower' ? '≤' : '≥';
  const also =
    goal.bound === undefined ? '' : `, ${sign} ${formatNumber(goal.bound)} ${figure.unit}`;
  return {
    ...both(goal, figure, 1, figure.unit),
    reached: `${formatNumber(ratio)}×`,
    least: `${goal.least}×${also}`,
    aim: `${goal.aim}×`,
    verdict: verdict(within && ratio >= goal.least, within && ratio >= goal.aim),
    ratio,
    leastRatio: goal.least,
  };
}

function bound(goal: BoundGoal, figure: Figure): Standing {
  const factor = goal.factor ?? 1;
  const ours = figure.ours!.median * factor;
  const value = goal.kind === 'added' ? ours - figure.rival!.median * factor : ours;
  return {
    ...both(goal, figure, factor, goal.unit),
    reached: `${goal.kind === 'added' ? `${value < 0 ? '' : '+'}` : ''}${formatNumber(value)} ${goal.unit}`,
    least: `≤ ${goal.least} ${goal.unit}`,
    aim: `≤ ${goal.aim} ${goal.unit}`,
    verdict: verdict(value <= goal.least, value <= goal.aim),
    ratio: undefined,
    leastRatio: undefined,
  };
}

function both(goal: Goal, figure: Figure, factor: number, unit: string) {
  return {
    question: goal.question,
    schedulingClass: figure.schedulingClass ?? '',
    ours: `${formatNumber(figure.ours!.median * factor)} ${unit}`,
    rival: `${formatNumber(figure.rival!.median * factor)} ${unit}`,
  };
}

function verdict(least: boolean, aim: boolean): Verdict {
  if (!least) return 'missed';
  return aim ? 'aim reached' : 'reached';
}
