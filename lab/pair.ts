// Two firewalls with their daemons, for one experiment: made before, removed after, and on failure
// the error carries both daemons' logs.

import { C, Daemon, type DaemonOptions, OURS, type Program } from './daemon.js';
import { Run } from './namespace.js';
import { Topology } from './topology.js';

/** Which program runs on the active (fw1) and on the backup firewall (fw2). */
export interface Programs {
  readonly active: Program;
  readonly backup: Program;
}

/** Every pairing in which at least one program is ours. */
export const PAIRINGS: readonly Programs[] = [
  { active: OURS, backup: OURS },
  { active: C, backup: OURS },
  { active: OURS, backup: C },
];

/** The C daemon on both sides: proves the lab, not the product. */
export const REFERENCE: Programs = { active: C, backup: C };

export interface Pair {
  readonly run: Run;
  readonly topology: Topology;
  readonly active: Daemon;
  readonly backup: Daemon;
}

/** Options that both daemons share, or a function of the node that differs. */
export type PairOptions = Partial<
  Omit<DaemonOptions, 'program' | 'node' | 'peer' | 'link' | 'mode'>
> & {
  mode?: string | ((node: Topology['fw1']) => string);
  link?: (node: Topology['fw1'], peer: Topology['fw1']) => string;
  /** Adds to the lab before the daemons start. */
  prepare?: (topology: Topology) => void;
};

/** Makes the lab, starts both daemons, runs `body`, removes everything whatever happens. */
export async function withPair(
  programs: Programs,
  body: (pair: Pair) => Promise<void>,
  options: PairOptions = {},
): Promise<void> {
  const run = Run.start();
  const daemons: Daemon[] = [];
  try {
    const topology = new Topology(run);
    const { link, mode, prepare, ...shared } = options;
    prepare?.(topology);
    const make = (program: Program, node: Topology['fw1']) => {
      const peer = topology.peer(node);
      const own = {
        ...(link && { link: link(node, peer) }),
        ...(mode && { mode: typeof mode === 'string' ? mode : mode(node) }),
      };
      const daemon = new Daemon(run, { ...shared, ...own, program, node, peer });
      daemons.push(daemon);
      return daemon;
    };
    const active = make(programs.active, topology.fw1);
    const backup = make(programs.backup, topology.fw2);
    await Promise.all([active.start(), backup.start()]);
    await body({ run, topology, active, backup });
  } catch (error) {
    const logs = daemons.map((daemon) => daemon.log()).join('\n');
    const text = error instanceof Error ? error.message : String(error);
    throw new Error(`${text}\n${logs}`, { cause: error });
  } finally {
    run.remove();
  }
}
