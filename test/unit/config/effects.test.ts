/*
 * Every directive of the C language has a test that shows its effect, not only that it parses. The table
 * says which; the test below holds it to that. (Extensions have their rows in extensions.ts.)
 */

import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { directory } from '../../../src/config/grammar.js';
import { EXTENSIONS } from '../../../src/config/index.js';

type Shown = readonly [file: string, title: string];

const LAB = 'test/lab/directives.test.ts';
const FILTER: Shown = ['test/unit/core/filter.test.ts', 'what a filter lets through'];
const LINKS: Shown = ['test/lab/links.test.ts', 'flows are replicated over %s'];
const FORESEEN: Shown = ['test/unit/config/cases.test.ts', 'ours foresees it where it can'];
const WARNED: Shown = ['test/unit/config/cases.test.ts', 'ours accepts, with the same warnings'];
const REMOVED: Shown = ['test/unit/config/parse.test.ts', 'directives removed in 1.4.5'];
const OBSOLETE: Shown = ['test/unit/config/parse.test.ts', 'the obsolete filters still filter'];
const NOT_RUN: Shown = [LAB, 'Helper: the daemon runs, and says of each helper that it does not'];
const COMMITTED: Shown = [LAB, 'CommitTimeout: the timeout of every committed flow'];
const PURGED: Shown = ['test/lab/daemon.test.ts', '-t flushes the kernel table after PurgeTimeout'];
const BUFFER: Shown = [LAB, 'NetlinkBufferSize: the size that the C daemon gets'];
const DOUBLED: Shown = ['test/lab/overrun.test.ts', 'is counted, logged and mended'];
const SOCKETS: Shown = [LAB, 'SndSocketBuffer and RcvSocketBuffer'];

const EFFECTS: Readonly<Record<string, Shown>> = {
  HashSize: ['test/unit/core/table.test.ts', 'splits one bucket at a time'],
  HashLimit: ['test/lab/daemon.test.ts', 'flows beyond HashLimit are refused'],
  'General.LogFile': [LAB, 'and LogFile has the same'],
  'General.Syslog': [LAB, 'Syslog local3: lines with facility'],
  LockFile: ['test/lab/daemon.test.ts', 'SIGTERM ends it in order'],
  UNIX: ['test/lab/control.test.ts', 'the C client drives our server'],
  'UNIX.Path': ['test/unit/control/server.test.ts', 'is for its owner alone'],
  'UNIX.Backlog': WARNED,
  NetlinkBufferSize: BUFFER,
  SocketBufferSize: ['test/unit/config/parse.test.ts', 'SocketBufferSize'],
  NetlinkBufferSizeMaxGrowth: DOUBLED,
  SocketBufferSizeMaxGrowth: ['test/unit/config/parse.test.ts', 'SocketBufferSizeMaxGrowth'],
  SocketBufferSizeMaxGrown: ['test/unit/config/parse.test.ts', 'SocketBufferSizeMaxGrown'],
  EventIterationLimit: ['test/unit/daemon/event-limit.test.ts', 'ends a turn when so many events'],
  PollSecs: ['test/lab/polling.test.ts', 'flows come, change and go without an event'],
  Filter: ['test/lab/socket-filter.test.ts', 'thousands of addresses are left to user space'],
  'Filter.Protocol': FILTER,
  'Filter.Address': FILTER,
  'Filter.State': ['test/unit/core/filter.test.ts', 'are never the destroy of a cached flow'],
  NetlinkOverrunResync: ['test/lab/overrun.test.ts', 'does not put the resync off'],
  NetlinkEventsReliable: ['test/lab/overrun.test.ts', 'NetlinkEventsReliable: no overrun'],
  Nice: WARNED,
  Scheduler: [LAB, 'Scheduler {\\n Type FIFO'],
  'Scheduler.Type': [LAB, 'Type rr'],
  'Scheduler.Priority': [LAB, 'Priority 20'],
  Systemd: [LAB, 'Systemd off: the service manager hears nothing'],
  RefreshTime: ['test/unit/core/alarm.test.ts', 'every flow within RefreshTime'],
  CacheTimeout: ['test/unit/core/alarm.test.ts', 'forgets what was not told for CacheTimeout'],
  CommitTimeout: COMMITTED,
  PurgeTimeout: PURGED,
  Mode: ['test/lab/interop.test.ts', 'describePairings'],
  ResendQueueSize: ['test/unit/core/sender.test.ts', 'holds no more than its limit'],
  ACKWindowSize: ['test/unit/core/receiver.test.ts', 'is acknowledged when it is full'],
  StartupResync: [LAB, 'StartupResync: a backup that starts late'],
  DisableExternalCache: ['test/lab/injection.test.ts', 'all kinds of flows are in both kernels'],
  DisableInternalCache: ['test/lab/bypass.test.ts', 'all kinds of flows are committed equal'],
  UDP: LINKS,
  TCP: LINKS,
  Multicast: LINKS,
  IPv4_address: LINKS,
  IPv6_address: LINKS,
  IPv4_Destination_Address: LINKS,
  IPv6_Destination_Address: LINKS,
  IPv4_interface: LINKS,
  IPv6_interface: WARNED,
  Group: LINKS,
  Port: LINKS,
  Interface: FORESEEN,
  SndSocketBuffer: SOCKETS,
  RcvSocketBuffer: SOCKETS,
  Checksum: [LAB, 'Checksum %s'],
  ErrorQueueLength: ['test/unit/channel/tcp.test.ts', 'newest ErrorQueueLength datagrams'],
  Options: ['test/lab/expectations.test.ts', 'only the helpers of the list are followed'],
  TCPWindowTracking: ['test/unit/ctnetlink/request.test.ts', 'window tracking: no liberal flag'],
  ExpectationSync: ['test/lab/expectations.test.ts', 'only the helpers of the list are followed'],
  'Stats.LogFile': ['test/lab/stats.test.ts', 'logs the same lines as the C daemon'],
  'Stats.Syslog': ['test/lab/directives.test.ts', 'Stats: lines of flows'],
  Setup: NOT_RUN,
  Type: NOT_RUN,
  QueueNum: NOT_RUN,
  QueueLen: NOT_RUN,
  Policy: NOT_RUN,
  ExpectMax: NOT_RUN,
  ExpectTimeout: NOT_RUN,
  // Removed in 1.4.5.
  StripNAT: REMOVED,
  ListenTo: REMOVED,
  'Sync.Checksum': REMOVED,
  CacheWriteThrough: REMOVED,
  DestroyTimeout: REMOVED,
  Replicate: OBSOLETE,
  RelaxTransitions: REMOVED,
  DelayDestroyMessages: REMOVED,
  ResendBufferSize: REMOVED,
  'Multicast.Backlog': REMOVED,
  McastSndSocketBuffer: REMOVED,
  McastRcvSocketBuffer: REMOVED,
  Family: REMOVED,
  LogFileBufferSize: REMOVED,
};

const ROOT = new URL('../../../', import.meta.url);
const extensions = new Set<string>(EXTENSIONS.map(({ name }) => name));
const directives = [...directory()].flatMap(([section, names]) =>
  names.filter((name) => !extensions.has(name)).map((name) => [section, name] as const),
);

test.each(directives)('%s / %s: a test shows its effect', (section, name) => {
  const shown = EFFECTS[`${section}.${name}`] ?? EFFECTS[name];
  expect(shown, `no test named for ${section}.${name}`).toBeDefined();
  const [file, title] = shown!;
  expect(existsSync(new URL(file, ROOT)), file).toBe(true);
  expect(readFileSync(new URL(file, ROOT), 'utf8')).toContain(title);
});

test('nothing else is named', () => {
  const known = new Set(directives.flatMap(([section, name]) => [name, `${section}.${name}`]));
  expect(Object.keys(EFFECTS).filter((name) => !known.has(name))).toEqual([]);
});
