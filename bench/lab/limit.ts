// The kernel's own limit of flows, nf_conntrack_max: one value for the whole machine, in Linux 6
// settable from its first network namespace only. Parts with many flows raise it for their time and
// put it back; where that is not allowed they measure what fits.
//
// The kernel's hash table grows along: it is the machine's too, holds two entries a flow and node, and
// refuses a flow (ENOSPC) whose chain has become long.

import { readFileSync, writeFileSync } from 'node:fs';

const ENDS = ['exit', 'SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const FILE = '/proc/sys/net/netfilter/nf_conntrack_max';
const BUCKETS = '/sys/module/nf_conntrack/parameters/hashsize';
/** Flows of one node for each bucket of the hash table, at most. */
const FLOWS_A_BUCKET = 4;

/** Runs `body` with room for `wanted` flows if possible; it is told how many there is room for. */
export async function withKernelLimit<T>(
  wanted: number,
  body: (limit: number) => Promise<T>,
): Promise<T> {
  const before = read(FILE);
  const buckets = read(BUCKETS);
  const neededBuckets = 2 ** Math.ceil(Math.log2(wanted / FLOWS_A_BUCKET));
  if (before >= wanted && buckets >= neededBuckets) return body(before);
  const restore = (): void => {
    if (before < wanted) write(FILE, before);
    if (buckets < neededBuckets) write(BUCKETS, buckets);
  };
  // The lab's own handlers end the process on a signal, without an exit event. Once: a handler that
  // stayed would keep the signal from ending it.
  for (const event of ENDS) process.once(event, restore);
  try {
    // The hash table first: setting it also sets the limit on some kernels.
    if (buckets < neededBuckets) write(BUCKETS, neededBuckets);
    if (before < wanted) write(FILE, wanted);
    return await body(read(FILE));
  } finally {
    for (const event of ENDS) process.off(event, restore);
    restore();
  }
}

/** The limit now; without the module loaded there is none to hit yet. */
function read(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

function write(file: string, value: number): void {
  try {
    writeFileSync(file, `${value}\n`);
  } catch {
    // A container may forbid it: the parts make do with what there is.
  }
}
