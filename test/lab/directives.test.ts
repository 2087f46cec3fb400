// Directives whose effect is seen from outside: on the process, on its sockets, in the syslog. Where the
// C daemon has the directive, both programs are asked and must agree.

import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  C,
  Daemon,
  type DaemonOptions,
  OURS,
  type Program,
  REQUEST,
  udpLink,
} from '../../lab/daemon.js';
import { Manager } from '../../lab/manager.js';
import { Run } from '../../lab/namespace.js';
import { withPair } from '../../lab/pair.js';
import { ROOT } from '../../lab/require.js';
import { Topology } from '../../lab/topology.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab, describePairings } from './matrix.js';

const BOTH = [OURS, C] as const;
const FLOW = ['-p', 'udp', '-s', '10.1.7.7', '-d', '10.2.0.2', '--sport', '1000', '--dport', '53'];

describeLab('what a directive does to the daemon', () => {
  let run: Run;
  let topology: Topology;
  let made: Daemon[];

  beforeEach(() => {
    run = Run.start();
    topology = new Topology(run);
    made = [];
  });
  afterEach(async () => {
    for (const daemon of made) await daemon.stop().catch(() => undefined);
    run.remove();
  });

  async function start(program: Program, options: Partial<DaemonOptions> = {}): Promise<Daemon> {
    const daemon = new Daemon(run, {
      program,
      node: topology.fw1,
      peer: topology.fw2,
      ...options,
    });
    made.push(daemon);
    await daemon.start();
    return daemon;
  }

  /** Scheduling class and real-time priority of the thread that handles the flows (proc(5)). */
  function scheduling(pid: number): { policy: number; priority: number } {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return { priority: Number(fields[37]), policy: Number(fields[38]) };
  }

  test.each([
    ['Scheduler {\n Type FIFO\n Priority 20\n }', { policy: 1, priority: 20 }],
    ['Scheduler {\n Type rr\n Priority 5\n }', { policy: 2, priority: 5 }],
  ])('%s', async (general, wanted) => {
    for (const program of BOTH) {
      const daemon = await start(program, { general });
      expect(scheduling(daemon.pid!), program.name).toEqual(wanted);
      await daemon.stop();
    }
  });

  test('without Scheduler ours stays in the class it was started in', async () => {
    const daemon = await start(OURS);
    expect(scheduling(daemon.pid!).policy).toBe(scheduling(process.pid).policy);
  });

  test('SndSocketBuffer and RcvSocketBuffer: the sizes that the file asks for', async () => {
    const received: number[] = [];
    const sent: number[] = [];
    const link = udpLink(topology.fw1, topology.fw2)
      .replace(/SndSocketBuffer \d+/, 'SndSocketBuffer 700000')
      .replace(/RcvSocketBuffer \d+/, 'RcvSocketBuffer 900000');
    for (const program of BOTH) {
      const daemon = await start(program, { link });
      const shown = await topology.fw1.ns.exec('ss', ['-uamnH']);
      const largest = (letter: string) =>
        Math.max(
          ...[...shown.matchAll(new RegExp(`${letter}b(\\d+)`, 'g'))].map((m) => Number(m[1])),
        );
      received.push(largest('r'));
      sent.push(largest('t'));
      await daemon.stop();
    }
    expect(received).toEqual([1_800_000, 1_800_000]); // the kernel doubles
    expect(sent[0]).toBe(1_400_000); // the C daemon's socket has no name, so it is not listed
  });

  test.each([
    ['off', 0],
    ['on', 1],
  ])('Checksum %s', async (word, checked) => {
    topology.fw2.ns.nft(`
table inet sums {
  counter without { }
  counter with { }
  chain arriving {
    type filter hook prerouting priority -400
    iifname "sync" udp dport 3780 udp checksum 0 counter name "without"
    iifname "sync" udp dport 3780 udp checksum != 0 counter name "with"
  }
}`);
    const packets = (name: string) =>
      Number(
        /packets (\d+)/.exec(
          topology.fw2.ns.execSync('nft', ['list', 'counter', 'inet', 'sums', name]),
        )?.[1],
      );
    const link = udpLink(topology.fw1, topology.fw2).replace('Checksum on', `Checksum ${word}`);
    await start(OURS, { link });
    const [some, none] = checked === 1 ? ['with', 'without'] : ['without', 'with'];
    await waitFor(() => packets(some!) > 0, { for: 'a datagram on the link' });
    expect(packets(none!)).toBe(0);
  });

  test('NetlinkBufferSize: the size that the C daemon gets; alone it does nothing', async () => {
    const buffers: string[] = [];
    for (const program of BOTH) {
      for (const general of ['', 'NetlinkBufferSizeMaxGrowth 0']) {
        const daemon = await start(program, { general });
        buffers.push(/buffer size .*:\s+(\d+)/.exec(await daemon.request(REQUEST.runtime))![1]!);
        await daemon.stop();
      }
    }
    const [set, system] = buffers;
    expect(set).toBe('8388608');
    expect(system).not.toBe(set);
    expect(buffers).toEqual([set, system, set, system]);
  });

  /**
   * Runs ours with a /dev of its own, in which we listen for what goes to the syslog. `heard` waits for a
   * line of it.
   */
  async function withSyslog(
    edit: (text: string) => string,
    body: (daemon: Daemon, heard: (pattern: RegExp) => Promise<unknown>) => Promise<void>,
  ): Promise<void> {
    const dev = run.path('dev');
    const script = join(dev, 'started');
    const manager = new Manager(join(dev, 'log'));
    for (const [name, minor] of Object.entries({ null: 3, zero: 5, random: 8, urandom: 9 })) {
      execFileSync('mknod', ['-m', '666', join(dev, name), 'c', '1', `${minor}`]);
    }
    const enter = `mount --bind "$0" /dev && exec "$@"`;
    const program = `exec unshare -m sh -c '${enter}' ${dev} ${OURS.path} "$@"`;
    writeFileSync(script, `#!/bin/sh\n${program}\n`);
    chmodSync(script, 0o755);
    const daemon = new Daemon(run, {
      program: { name: 'ours', path: script },
      node: topology.fw1,
      peer: topology.fw2,
    });
    writeFileSync(daemon.config, edit(readFileSync(daemon.config, 'utf8')));
    made.push(daemon);
    try {
      await daemon.start();
      await body(daemon, (pattern) =>
        waitFor(() => manager.heard().some((line) => pattern.test(line)), {
          for: `${pattern} in the syslog`,
          explain: () => JSON.stringify(manager.heard()),
        }),
      );
    } finally {
      await daemon.stop();
      manager.close();
    }
  }

  test('Syslog local3: lines with facility, name and pid, and LogFile has the same', async () => {
    await withSyslog(
      (text) => text.replace('Syslog off', 'Syslog local3'),
      async (daemon, heard) => {
        const name = `conntrack-tools\\[${daemon.pid}\\]`;
        await heard(
          new RegExp(`^<157>\\w{3} [ \\d]\\d [\\d:]{8} ${name}: initialization completed`),
        );
        const log = join(daemon.directory, 'log');
        expect(readFileSync(log, 'utf8')).toContain('[notice] initialization completed');
        expect(statSync(log).mode & 0o777).toBe(0o600);
        expect(statSync(join(daemon.directory, 'ctl')).mode & 0o777).toBe(0o600);
      },
    );
  });

  test('Stats: lines of flows go to the syslog with its own facility, at info', async () => {
    await withSyslog(
      (text) => text.replace(/^Sync [\s\S]*?^}/m, 'Stats {\n  Syslog local5\n}'),
      async (_daemon, heard) => {
        const { ns } = topology.fw1;
        await ns.exec('conntrack', ['-I', ...FLOW, '-t', '600']);
        await ns.exec('conntrack', ['-D', ...FLOW]);
        await heard(/^<174>.* conntrack-tools\[\d+\]: udp +17 src=10\.1\.7\.7 dst=10\.2\.0\.2 /);
      },
    );
  });

  test('Systemd off: the service manager hears nothing', async () => {
    const manager = new Manager(join(run.path('manager'), 'notify'));
    try {
      const daemon = await start(OURS, {
        general: 'Systemd off',
        env: { NOTIFY_SOCKET: manager.name, WATCHDOG_USEC: '100000' },
      });
      await sleep(500);
      await daemon.stop();
      expect(manager.heard()).toEqual([]);
    } finally {
      manager.close();
    }
  });

  test('Helper: the daemon runs, and says of each helper that it does not', async () => {
    const daemon = new Daemon(run, { program: OURS, node: topology.fw1, peer: topology.fw2 });
    made.push(daemon);
    const helper = `Helper {
  Setup yes
  Type rpc inet tcp {
    QueueNum 3
    Policy rpc { ExpectMax 1
      ExpectTimeout 300 }
  }
  Type tns inet tcp { QueueNum 5 }
}
`;
    writeFileSync(daemon.config, helper + readFileSync(daemon.config, 'utf8'));
    await daemon.start();
    const log = daemon.log();
    expect(log).toMatch(/\[warning\] .*:3: `Type rpc inet tcp' has no effect: /);
    expect(log).toMatch(/\[warning\] .*:8: `Type tns inet tcp' has no effect: /);
    expect(await daemon.request(REQUEST.stats)).toContain('cache internal:');
  });
});

describePairings((programs) => {
  test('CommitTimeout: the timeout of every committed flow', async () => {
    await withPair(
      programs,
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        await topology.fw1.ns.exec('conntrack', ['-I', ...FLOW, '-t', '600']);
        await waitFor(async () => (await backup.caches()).external.active === 1, {
          for: 'the flow on the backup',
        });
        await backup.client('-c');
        const shown = await topology.fw2.ns.exec('conntrack', ['-L', ...FLOW]);
        const seconds = Number(/^udp +17 (\d+) /.exec(shown)?.[1]);
        expect(seconds).toBeGreaterThan(60);
        expect(seconds).toBeLessThanOrEqual(77);
      },
      { sync: 'CommitTimeout 77' },
    );
  });

  test('StartupResync: a backup that starts late asks for what it missed', async () => {
    await withPair(
      programs,
      async ({ topology, active, backup }) => {
        await Promise.all([active.greeted(), backup.greeted()]);
        await backup.stop();
        await topology.fw1.ns.exec('conntrack', ['-I', ...FLOW, '-t', '600']);
        await waitFor(async () => (await active.caches()).internal.active === 1, {
          for: 'the flow in the internal cache',
        });
        await backup.start();
        await waitFor(async () => (await backup.caches()).external.active === 1, {
          for: 'the flow on the backup',
          explain: () => `${active.log()}${backup.log()}`,
        });
      },
      { mode: 'Mode NOTRACK {\n    StartupResync on\n  }' },
    );
  });
});

describeLab('what keeps it from starting is told in words', () => {
  let run: Run;
  let topology: Topology;
  let first: Daemon;

  beforeEach(async () => {
    run = Run.start();
    topology = new Topology(run);
    first = new Daemon(run, { program: OURS, node: topology.fw1, peer: topology.fw2 });
    await first.start();
  });
  afterEach(async () => {
    await first.stop().catch(() => undefined);
    run.remove();
  });

  /** Another daemon on the same firewall, with files of its own but for what `edit` changes. */
  function second(edit: (text: string) => string, env: NodeJS.ProcessEnv = {}): Daemon {
    const node = { ...topology.fw1, name: 'second' } as unknown as Topology['fw1'];
    const daemon = new Daemon(run, { program: OURS, node, peer: topology.fw2, env });
    writeFileSync(daemon.config, edit(readFileSync(daemon.config, 'utf8')));
    return daemon;
  }

  const line = (text: string, pattern: RegExp): string | undefined =>
    text.split('\n').find((each) => pattern.test(each));

  test.each<[string, (text: string) => string, RegExp]>([
    [
      'a busy port',
      (text) => text,
      /ERROR.*UDP 192\.168\.100\.1 port 3780 on sync.*Address already in use/,
    ],
    [
      'a missing interface',
      (text) => text.replace('Interface sync', 'Interface snyc'),
      /ERROR.*snyc.*/,
    ],
    [
      'a foreign address',
      (text) => text.replace('IPv4_address 192.168.100.1\n', 'IPv4_address 192.168.100.77\n'),
      /ERROR.*UDP 192\.168\.100\.77 port 3780 on sync.*Cannot assign requested address/,
    ],
    [
      'a log file in no directory',
      (text) => text.replace(/LogFile .*/, 'LogFile /nonexistent/log'),
      /can't open logfile `\/nonexistent\/log'/,
    ],
    [
      'a control socket in no directory',
      (text) => text.replace(/Path .*/, 'Path /nonexistent/ctl').replace('Port 3780', 'Port 3799'),
      /ERROR.*\/nonexistent\/ctl/,
    ],
  ])('%s', async (_name, edit, wanted) => {
    const daemon = second(edit);
    const failure = await daemon.start().then(
      () => 'it started',
      (error: Error) => error.message,
    );
    await daemon.stop();
    expect(line(failure, wanted), failure).toBeDefined();
    expect(failure).toContain('ended with status 1');
  });

  test('a lock that another daemon holds: its pid', async () => {
    const lock = join(first.directory, 'lock');
    const daemon = second((text) =>
      text.replace(/LockFile .*/, `LockFile ${lock}`).replace('Port 3780', 'Port 3799'),
    );
    await expect(daemon.start()).rejects.toThrow(String(first.pid));
  });

  test('a client without a daemon, and one that may not: both exit 1 with the reason', async () => {
    await expect(
      topology.fw1.ns.exec('setpriv', [
        '--reuid=65534',
        '--clear-groups',
        process.execPath,
        join(ROOT, 'dist', 'src', 'bin', 'conntrackd.js'),
        '-C',
        first.config,
        '-s',
      ]),
    ).rejects.toThrow(/can't open config file|permission/i);
    await first.stop();
    await expect(first.client('-s')).rejects.toThrow(
      "can't connect: is conntrackd running? appropriate permissions?",
    );
  });
});
