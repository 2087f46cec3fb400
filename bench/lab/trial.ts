// Trials: what is measured on a pair of nodes. The contestants take turns; in one turn a contestant
// has new nodes, and all trials that were asked for run on them one after the other. Each trial
// leaves the tables as it found them, apart from the last ones in the list of main.ts.

import type { Figure } from '../figures.js';
import type { PartContext } from '../part.js';
import { CONTESTANTS, type Contestant, contest, type Nodes } from './contest.js';
import { warmUp } from './events.js';
import { withKernelLimit } from './limit.js';

export interface Trial {
  nodes: Nodes;
  who: Contestant;
  quick: boolean;
  /** Adds one repetition of a figure of this contestant. */
  add: (figure: Measured, value: number) => void;
}

/** A figure as a trial names it: the rival is always the C daemon. */
export type Measured = Omit<Figure, 'ours' | 'rival' | 'rivalName'>;

export interface Experiment {
  name: string;
  /** Turns it takes part in, of the TURNS of a full run; a quick one has a single turn. */
  turns: number;
  run: (trial: Trial) => Promise<void>;
}

const TURNS = 2;
/** Flows that the largest trial has in the kernel of one node. */
const KERNEL_FLOWS = 350_000;

/** Runs the experiments, ours and the C daemon in turn. */
export async function runTrials(
  experiments: readonly Experiment[],
  { quick, collector, progress, fail, done }: PartContext,
): Promise<void> {
  await withKernelLimit(KERNEL_FLOWS, async () => {
    for (let turn = 0; turn < (quick ? 1 : TURNS); turn++) {
      const chosen = experiments.filter(({ turns }) => turn < turns);
      if (chosen.length === 0) return;
      for (const who of CONTESTANTS) {
        let now = 'warm-up';
        const measured = contest(who, {}, async (nodes) => {
          const side = who === 'ours' ? 'ours' : 'rival';
          const add = (figure: Measured, value: number): void =>
            collector.add(side, { ...figure, rivalName: 'C' }, value);
          progress(`turn ${turn + 1}, ${who}: warm-up`);
          await warmUp(nodes, !quick);
          for (const { name, run } of chosen) {
            now = name;
            progress(`turn ${turn + 1}, ${who}: ${name}`);
            await run({ nodes, who, quick, add });
          }
        });
        // What state the nodes are in is unknown now: on to the other contestant with new ones.
        await measured.catch((error) => fail(`${now} of ${who}`, error));
        done();
      }
    }
  });
}
