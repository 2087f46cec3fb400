// The kernel's own limit of flows, nf_conntrack_max: one value for the whole machine, in Linux 6
// settable from its first network namespace only. Parts with many flows raise it for their time and
// put it back; where that is not allowed they measure what fits.

import { readFileSync, writeFileSync } from 'node:fs';

const ENDS = ['exit', 'SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const FILE = '/proc/sys/net/netfilter/nf_conntrack_max';

/** Runs `body` with room for `wanted` flows if possible; it is told how many there is room for. */
export async function withKernelLimit<T>(
  wanted: number,
  body: (limit: number) => Promise<T>,
): Promise<T> {
  const before = read();
  if (before >= wanted) return body(before);
  const restore = (): void => write(before);
  // The lab's own handlers end the process on a signal, without an exit event. Once: a handler that
  // stayed would keep the signal from ending it.
  for (const event of ENDS) process.once(event, restore);
  try {
    write(wanted);
    return await body(read());
  } finally {
    for (const event of ENDS) process.off(event, restore);
    restore();
  }
}

/** The limit now; without the module loaded there is none to hit yet. */
function read(): number {
  try {
    return Number(readFileSync(FILE, 'utf8'));
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

function write(value: number): void {
  try {
    writeFileSync(FILE, `${value}\n`);
  } catch {
    // A container may forbid it: the parts make do with what there is.
  }
}
