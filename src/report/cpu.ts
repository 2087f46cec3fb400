// The kernel's own per-processor counters (`conntrack -S`): one line a processor. Pure function;
// names and their order are those of enum ctattr_stats_cpu and ctattr_expect_stats in
// linux/netfilter/nfnetlink_conntrack.h, and only counters that the kernel sent are printed.

/** enum ctattr_stats_cpu: the name of attribute i stands at place i; 0 is unused. */
export const CPU_COUNTERS = [
  '',
  'searched',
  'found',
  'new',
  'invalid',
  'ignore',
  'delete',
  'delete_list',
  'insert',
  'insert_failed',
  'drop',
  'early_drop',
  'error',
  'search_restart',
  'clash_resolve',
  'chaintoolong',
] as const;

/** enum ctattr_expect_stats, in the same way. */
export const EXPECT_CPU_COUNTERS = ['', 'expect_new', 'expect_create', 'expect_delete'] as const;

/** `cpu=0   <tab>found=1 ...`, with the blank at the end that the C tool prints; no newline. */
export function cpuText(cpu: number, counters: Iterable<readonly [string, number]>): string {
  let line = `cpu=${`${cpu}`.padEnd(4)}\t`;
  for (const [name, value] of counters) line += `${name}=${value} `;
  return line;
}
