// Part `memory`: how much a daemon needs at rest and for each flow, on the node that tracks them and
// on the one that only keeps them for it.
//
// PSS counts pages shared with other processes in part, RSS in full. The fixed part is measured right
// after the start, the slope is the line through the other sizes. Also here: CPU of an idle daemon.

import { readFileSync } from 'node:fs';
import { sleep } from '../../lab/wait.js';
import { cpuTime, memoryOf, parseKilobytes } from '../measure.js';
import type { Part } from '../part.js';
import { fitLine } from '../statistics.js';
import { CONTESTANTS, contest, type Nodes } from './contest.js';
import { withKernelLimit } from './limit.js';

const SETTLE = 4000; // ms: what follows a start is no idleness yet
/** Looks at an idle daemon, ms each: a collection of garbage, once after a start, is in one of them. */
const IDLE = 2000;
const IDLE_LOOKS = 5;
const SIZES = [100_000, 500_000, 1_000_000, 4_000_000];
const QUICK_SIZES = [100_000, 200_000];
const LARGEST = SIZES.at(-1)!;
const MIB = 2 ** 20;
/** Flows a second while the table fills: what every program takes without losing any. */
const FILL_RATE = 90_000;
/** Bytes of free memory that 4 million flows need: two kernel tables and the C daemons' caches. */
const LARGEST_NEEDS = 12 * 2 ** 30;

export const memory: Part = ({ quick, collector, progress }) =>
  withKernelLimit(LARGEST + 100_000, async (limit) => {
    const sizes = (quick ? QUICK_SIZES : SIZES).filter(
      (size) => size <= limit && (size < LARGEST || availableMemory() > LARGEST_NEEDS),
    );
    for (const who of CONTESTANTS) {
      const schedulingClass = 'RR 99';
      const side = who === 'ours' ? 'ours' : 'rival';
      const add = (name: string, unit: string, value: number, note?: string): void => {
        const common = {
          part: 'memory',
          better: 'lower',
          rivalName: 'C',
          schedulingClass,
        } as const;
        const figure = { ...common, name, unit };
        collector.add(side, note === undefined ? figure : { ...figure, note }, value);
      };
      progress(`memory: ${who}, empty`);
      await contest(who, { flows: sizes.at(-1)! + 50_000 }, async (nodes) => {
        if (!quick) await sleep(SETTLE);
        for (let look = 0; look < (quick ? 1 : IDLE_LOOKS); look++) {
          const before = [cpuTime(nodes.pids.active), performance.now()] as const;
          await sleep(IDLE);
          const share = (cpuTime(nodes.pids.active) - before[0]) / 1e6;
          add('CPU when idle', '% of a core', (share / (performance.now() - before[1])) * 100);
        }
        const points = { active: [] as Point[], backup: [] as Point[] };
        let filled = 0;
        for (const size of [0, ...sizes]) {
          if (size > 0) progress(`memory: ${who}, ${size.toLocaleString('en-US')} flows`);
          await fill(nodes, filled, size);
          filled = size;
          for (const node of ['active', 'backup'] as const) {
            const { pss, rss } = memoryOf(nodes.pids[node]);
            const what = `${node}, ${size.toLocaleString('en-US')} flows`;
            add(`PSS ${what}`, 'MiB', pss / MIB);
            add(`RSS ${what}`, 'MiB', rss / MIB);
            if (size > 0) points[node].push([size, rss]);
          }
        }
        for (const node of ['active', 'backup'] as const) {
          if (points[node].length < 2) continue;
          const upTo = (most: number) => fitLine(points[node].filter(([size]) => size <= most));
          add(`RSS ${node}, each further flow to 1,000,000`, 'B', upTo(1_000_000).slope);
          if (sizes.at(-1) === LARGEST) {
            const name = `RSS ${node}, each further flow to 4,000,000`;
            add(name, 'B', upTo(LARGEST).slope);
          }
        }
      });
    }
  });

/** Bytes that the machine can still give away, the page cache included. */
function availableMemory(): number {
  return parseKilobytes(readFileSync('/proc/meminfo', 'utf8'), 'MemAvailable');
}

type Point = [number, number];

async function fill(nodes: Nodes, from: number, to: number): Promise<void> {
  if (to === from) return;
  const command = { from, count: to - from, rate: FILL_RATE, burst: 64 };
  const { failed, reason } = await nodes.load({ do: 'create', ...command });
  if (failed > 0) throw new Error(`${failed} flows could not be created: ${reason}`);
  await nodes.replicated(to, 120_000, 200);
  await nodes.atRest();
}
