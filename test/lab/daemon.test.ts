// The daemon as an operator meets it: how it starts, refuses to, answers, and ends.

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { C, Daemon, OURS, REQUEST } from '../../lab/daemon.js';
import { Run } from '../../lab/namespace.js';
import { dumpTable } from '../../lab/table.js';
import { Topology } from '../../lab/topology.js';
import { loadFlows } from '../../lab/traffic.js';
import { sleep, waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

/** A process that has ended and waits for its parent to notice does not run any more. */
function isRunning(pid: string): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describeLab('the daemon', () => {
  let run: Run;
  let topology: Topology;
  let daemon: Daemon;

  beforeAll(() => {
    run = Run.start();
    topology = new Topology(run);
    daemon = new Daemon(run, {
      program: OURS,
      node: topology.fw1,
      peer: topology.fw2,
      general: 'HashLimit 1000',
      sync: 'PurgeTimeout 1',
    });
  });

  afterAll(() => run.remove());

  /** Runs a program in the first firewall; never rejects. */
  function command(path: string, args: string[], cwd = '/', env = process.env): Promise<Result> {
    const [ip = '', ...prefix] = topology.fw1.ns.prefix;
    return new Promise((resolve) => {
      execFile(ip, [...prefix, path, ...args], { cwd, env, timeout: 60_000 }, (error, out, err) => {
        const code = typeof error?.code === 'number' ? error.code : error ? 1 : 0;
        resolve({ code, stdout: out, stderr: err });
      });
    });
  }

  const ours = (...args: string[]) => command(OURS.path, ['-C', daemon.config, ...args]);
  const statistic = async (request: number, pattern: RegExp): Promise<number> =>
    Number(pattern.exec(await daemon.request(request))?.[1]);

  test('-d returns when the daemon answers, and -k when it has let go of everything', async () => {
    const started = await ours('-d');
    expect(started).toMatchObject({ code: 0 });
    const answer = await ours('-s');
    expect(answer.stdout).toContain('cache internal:');
    expect(answer.code).toBe(0);
    const second = await ours('-d');
    expect(second.code).toBe(1);
    const pid = readFileSync(join(daemon.directory, 'lock'), 'utf8').trim();
    expect(second.stderr).toContain('perhaps conntrackd already running?');
    expect(second.stderr).toContain(`pid ${pid}`);
    expect((await ours('-k')).code).toBe(0);
    expect(existsSync(join(daemon.directory, 'lock'))).toBe(false);
    expect(existsSync(join(daemon.directory, 'ctl'))).toBe(false);
    // The kernel takes the process down a moment after it has closed its last socket.
    await waitFor(() => !isRunning(pid), { for: `process ${pid} to be gone` });
    const silent = await ours('-s');
    expect(silent.code).toBe(1);
    expect(silent.stderr).toContain("can't connect: is conntrackd running?");
  });

  test('an error in the file ends the start with its place, also with -d', async () => {
    const file = join(daemon.directory, 'broken.conf');
    writeFileSync(file, 'Sync {\n  Mode FTFW {\n    ResendQueueSiz 5\n  }\n}\n');
    for (const args of [[], ['-d']]) {
      const refused = await command(OURS.path, ['-C', file, ...args]);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain(`${file}:3:5: error:`);
      expect(refused.stderr).toContain('ResendQueueSize');
    }
  });

  test('a failure after the file was read is told on the terminal of -d', async () => {
    const file = join(daemon.directory, 'nowhere.conf');
    const text = readFileSync(daemon.config, 'utf8');
    writeFileSync(file, text.replace(/(\n\s+IPv4_address) [\d.]+/, '$1 203.0.113.9'));
    const refused = await command(OURS.path, ['-C', file, '-d']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('Cannot assign requested address');
    expect(refused.stderr).toContain('conntrackd cannot start');
  });

  test('without CAP_NET_ADMIN it says what is missing', async () => {
    const words = ['--bounding-set=-net_admin', '--inh-caps=-net_admin', '--no-new-privs'];
    const refused = await command('setpriv', [...words, OURS.path, '-C', daemon.config]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('CAP_NET_ADMIN');
  });

  test('it runs through a symlink from any directory', async () => {
    const place = join(daemon.directory, 'elsewhere');
    mkdirSync(place, { recursive: true });
    symlinkSync(OURS.path, join(place, 'conntrackd'));
    const version = await command(join(place, 'conntrackd'), ['-v'], place);
    expect(version).toMatchObject({ code: 0, stderr: '' });
    expect(version.stdout).toContain('Connection tracking userspace daemon');
  });

  test('after kill -9 it starts on what it left behind', async () => {
    await daemon.start();
    await daemon.kill();
    expect(existsSync(join(daemon.directory, 'lock'))).toBe(true);
    await daemon.start();
  });

  test('the C client drives it', async () => {
    expect(await daemon.clientOf(C, '-s')).toContain('cache external:');
    expect(await daemon.clientOf(C, '-s', 'network')).toContain('network statistics:');
    await daemon.clientOf(C, '-n');
    expect(daemon.log()).toContain('resync requested');
  });

  test('malformed datagrams are counted, logged at most once a second, and change nothing', async () => {
    const malformed = /Malformed messages:\t +(\d+)/;
    const before = await statistic(REQUEST.network, malformed);
    const caches = await daemon.caches();
    const logged = daemon.log(10_000).split('malformed sync messages').length;
    // From the peer's namespace: the lab's own process is outside.
    const script = `
      const socket = require('node:dgram').createSocket('udp4');
      const hostile = ['00', '1000', '100000ff00000001', '2000000800000001', '1000000000000001',
        '100000100000000100ff0001', '10000014000000010024000c00000000000000ff', '1f000008ffffffff'];
      let left = 3000;
      const next = () => {
        if (left-- === 0) return socket.close();
        socket.send(Buffer.from(hostile[left % hostile.length], 'hex'), 3780,
          '${topology.fw1.sync.v4}', next);
      };
      next();`;
    await topology.fw2.ns.exec(process.execPath, ['-e', script]);
    await waitFor(async () => (await statistic(REQUEST.network, malformed)) >= before + 2000, {
      for: 'the malformed messages to be counted',
    });
    await sleep(1500);
    const after = await daemon.caches();
    expect(after.external).toEqual(caches.external);
    expect(after.internal).toEqual(caches.internal);
    const lines = daemon.log(10_000).split('malformed sync messages').length - logged;
    expect(lines).toBeGreaterThanOrEqual(1);
    expect(lines).toBeLessThanOrEqual(4);
  });

  test('flows beyond HashLimit are refused, counted and named in the log', async () => {
    const file = join(daemon.directory, 'many');
    const line = (n: number): string =>
      `-A -p udp -s 10.1.${8 + (n >> 8)}.${n & 255} -d 10.2.0.2 --sport 1000 --dport 53 -t 300`;
    writeFileSync(file, `${Array.from({ length: 1200 }, (_, n) => line(n)).join('\n')}\n`);
    await loadFlows(topology.fw1.ns, file);
    await waitFor(async () => (await daemon.caches()).internal.createFailed >= 200, {
      for: 'refusals to be counted',
    });
    const { internal } = await daemon.caches();
    expect(internal.active).toBe(1000);
    await waitFor(() => /flows refused: a cache holds its HashLimit of 1000/.test(daemon.log()), {
      for: 'the refusals to be logged',
    });
  });

  test('-t flushes the kernel table after PurgeTimeout, -F at once, both only by the filter', async () => {
    const { ns } = topology.fw1;
    expect((await dumpTable(run, ns)).size).toBeGreaterThanOrEqual(1200);
    await ours('-t');
    expect(daemon.log()).toContain('flushing conntrack table in 1 secs');
    await waitFor(async () => (await dumpTable(run, ns)).size === 0, {
      for: 'the purge',
      timeout: 30_000,
    });
    expect((await daemon.caches()).internal.active).toBe(0);
    const kept = `-A -p udp -s 127.0.0.1 -d 10.2.0.2 --sport 1000 --dport 53 -t 300`;
    const gone = `-A -p udp -s 10.1.0.9 -d 10.2.0.2 --sport 1000 --dport 53 -t 300`;
    const file = join(daemon.directory, 'two');
    writeFileSync(file, `${kept}\n${gone}\n`);
    await loadFlows(ns, file);
    expect((await ours('-F')).code).toBe(0);
    // The loopback flow is in the Ignore list of the lab's configuration.
    expect([...(await dumpTable(run, ns)).keys()].join()).toContain('127.0.0.1');
    expect((await dumpTable(run, ns)).size).toBe(1);
  });

  test('SIGTERM ends it in order', async () => {
    await daemon.stop();
    expect(daemon.log()).toContain('---- shutdown received ----');
    expect(existsSync(join(daemon.directory, 'lock'))).toBe(false);
  });
});
