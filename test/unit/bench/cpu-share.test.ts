// Where a control group can limit CPU, and what is written there.

import { describe, expect, test } from 'vitest';
import { findController, quotaFiles } from '../../../bench/lab/cpu-share.js';

const V1 = `tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
`;
const V2 = 'cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n';

describe('the cpu controller', () => {
  test('is found where version 1 mounts it, not at the version 2 tree beside it', () => {
    expect(findController(V1, () => 'hugetlb\n')).toEqual({
      version: 1,
      directory: '/sys/fs/cgroup/cpu,cpuacct',
    });
  });

  test('is found in version 2 when it is among the controllers there', () => {
    expect(findController(V2, () => 'cpuset cpu io\n')).toEqual({
      version: 2,
      directory: '/sys/fs/cgroup',
    });
    expect(findController(V2, () => 'cpuset io\n')).toBeUndefined();
  });
});

describe('a quarter of a core', () => {
  test('is a quota of a fourth of the period, in the words of each version', () => {
    expect(quotaFiles(2, 0.25)).toEqual([['cpu.max', '5000 20000']]);
    expect(quotaFiles(1, 0.25)).toEqual([
      ['cpu.cfs_period_us', '20000'],
      ['cpu.cfs_quota_us', '5000'],
    ]);
  });
});
