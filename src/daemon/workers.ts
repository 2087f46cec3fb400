// How many threads the shards get.

import { availableParallelism } from 'node:os';

const MOST_AUTOMATIC = 4;

/**
 * Worker threads for `Workers auto|N`. On one or two cores one thread that does everything is the
 * cheapest; with more, workers leave main free for the kernel, and beyond four of them main is what
 * limits the rate.
 */
export function workerCount(wanted: number | 'auto', cores = availableParallelism()): number {
  if (wanted !== 'auto') return wanted;
  return cores <= 2 ? 0 : Math.min(MOST_AUTOMATIC, cores - 1);
}

/** One shard a worker; without workers main has the one shard. */
export function shardCount(workers: number): number {
  return Math.max(1, workers);
}
