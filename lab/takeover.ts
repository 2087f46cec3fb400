// Fail-over as a script of the high-availability manager does it, with a clock on each step.
//
// The order is the one of the primary-backup script that ships with the C daemon: commit the
// external cache (-c), move the addresses, then empty the caches (-f), read the kernel's table
// again (-R) and tell the peer everything (-B). The steps after the move do not hold up traffic.

import type { Daemon } from './daemon.js';
import type { Topology } from './topology.js';

/** Milliseconds of each step. */
export interface TakeoverTimes {
  commit: number;
  move: number;
  flush: number;
  reread: number;
  bulk: number;
}

export interface TakeoverOptions {
  /** False: the control experiment, nothing is committed. */
  commit?: boolean;
  /** Take the addresses off the other firewall first; false when that one is dead. */
  release?: boolean;
}

/** The firewall stops as in a power failure: daemon killed, all links down. */
export async function killHard(topology: Topology, daemon: Daemon): Promise<void> {
  topology.cut(daemon.node);
  await daemon.kill();
}

/** Makes `daemon`'s firewall the active one. */
export async function takeOver(
  topology: Topology,
  daemon: Daemon,
  options: TakeoverOptions = {},
): Promise<TakeoverTimes> {
  const timed = async (step: () => unknown) => {
    const start = performance.now();
    await step();
    return performance.now() - start;
  };
  const commit = await timed(() => options.commit !== false && daemon.client('-c'));
  const move = await timed(() => {
    if (options.release) topology.release(topology.peer(daemon.node));
    topology.activate(daemon.node);
  });
  return {
    commit,
    move,
    flush: await timed(() => daemon.client('-f')),
    reread: await timed(() => daemon.client('-R')),
    bulk: await timed(() => daemon.client('-B')),
  };
}

/**
 * A dead firewall returns as the backup, in the order of the same script. Its kernel's table is
 * emptied, as that of a machine that has booted. Resolves when the resync was asked for.
 */
export async function comeBack(topology: Topology, daemon: Daemon): Promise<void> {
  topology.plugIn(daemon.node);
  if (daemon.program.name === 'C') daemon.removeLock();
  await daemon.start();
  await daemon.client('-F');
  await daemon.client('-f');
  await daemon.client('-n');
}
