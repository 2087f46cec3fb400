// The daemon as a service: what systemd hears, what SIGHUP changes and what it leaves alone.

import { execFile } from 'node:child_process';
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Daemon, OURS } from '../../lab/daemon.js';
import { Manager } from '../../lab/manager.js';
import { Run } from '../../lab/namespace.js';
import { Topology } from '../../lab/topology.js';
import { waitFor } from '../../lab/wait.js';
import { describeLab } from './matrix.js';

describeLab('the service', () => {
  let run: Run;
  let topology: Topology;
  let manager: Manager;
  let daemon: Daemon;

  beforeEach(() => {
    run = Run.start();
    topology = new Topology(run);
    manager = new Manager(join(run.path('manager'), 'notify'));
    daemon = new Daemon(run, {
      program: OURS,
      node: topology.fw1,
      peer: topology.fw2,
      env: { NOTIFY_SOCKET: manager.name, WATCHDOG_USEC: '400000' },
    });
  });

  afterEach(() => {
    manager.close();
    run.remove();
  });

  const log = (): string => readFileSync(join(daemon.directory, 'log'), 'utf8');
  const logged = (text: string): Promise<true> =>
    waitFor(() => log().includes(text) || undefined, {
      for: `the log to say ${text}`,
      explain: () => daemon.log(),
    });
  const edit = (from: string, to: string): void => {
    const text = readFileSync(daemon.config, 'utf8');
    expect(text).toContain(from);
    writeFileSync(daemon.config, text.replace(from, to));
  };
  const flow = (...words: string[]): Promise<string> =>
    topology.fw1.ns.exec('conntrack', [
      '-I',
      '-s',
      '1.2.3.4',
      '-d',
      '5.6.7.8',
      '-t',
      '90',
      ...words,
    ]);
  const reload = (): void => {
    process.kill(daemon.pid!, 'SIGHUP');
  };

  function command(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const [ip = '', ...prefix] = topology.fw1.ns.prefix;
    const words = [...prefix, OURS.path, '-C', daemon.config, ...args];
    const env = { ...process.env, NOTIFY_SOCKET: manager.name };
    return new Promise((resolve) => {
      execFile(ip, words, { env, timeout: 60_000 }, (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
      });
    });
  }

  test('systemd hears of readiness, of life, of reloads and of the end', async () => {
    await daemon.start();
    await waitFor(() => manager.count('WATCHDOG=1') >= 3, { for: 'pings of the watchdog' });
    expect(manager.heard()[0]).toMatch(/^READY=1\nSTATUS=FTFW: \d+ flows of this firewall/);
    reload();
    await waitFor(() => manager.count('READY=1') === 2, { for: 'the end of the reload' });
    const reloading = manager.heard().find((text) => text.startsWith('RELOADING=1'));
    expect(reloading).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    await daemon.stop();
    expect(manager.heard().at(-1)).toBe('STOPPING=1');
  });

  test('no ping comes from a daemon that stands still', async () => {
    await daemon.start();
    await waitFor(() => manager.count('WATCHDOG=1') >= 2, { for: 'pings of the watchdog' });
    process.kill(daemon.pid!, 'SIGSTOP');
    const before = manager.count('WATCHDOG=1');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(manager.count('WATCHDOG=1')).toBe(before);
    process.kill(daemon.pid!, 'SIGCONT');
    await waitFor(() => manager.count('WATCHDOG=1') > before, { for: 'pings to go on' });
    await daemon.stop();
  });

  test('-d names the daemon before it is ready', async () => {
    expect(await command('-d')).toMatchObject({ code: 0 });
    await waitFor(() => manager.count('READY=1') === 1, { for: 'READY=1' });
    const pid = readFileSync(join(daemon.directory, 'lock'), 'utf8').trim();
    const heard = manager.heard();
    const named = heard.indexOf(`MAINPID=${pid}`);
    expect(named).toBeGreaterThanOrEqual(0);
    expect(named).toBeLessThan(heard.findIndex((text) => text.startsWith('READY=1')));
    expect((await command('-k')).code).toBe(0);
  });

  test('SIGHUP: a new filter and new timers take effect, the caches stay', async () => {
    await daemon.start();
    await flow('-p', 'udp', '--sport', '1', '--dport', '2');
    await flow('-p', 'tcp', '--sport', '3', '--dport', '4', '--state', 'ESTABLISHED');
    const cached = async (): Promise<string> => daemon.client('-i');
    await waitFor(async () => (await cached()).trim().split('\n').length === 2, {
      for: 'two flows',
    });
    const since = (await daemon.caches()).internal.created;
    edit('Address Ignore {', 'Protocol Accept { TCP }\n    Address Ignore {');
    edit('HashLimit 262144', 'HashLimit 1000');
    appendFileSync(daemon.config, 'General { CoalesceTime 500 }\n');
    renameSync(join(daemon.directory, 'log'), join(daemon.directory, 'log.1'));
    reload();
    await logged('configuration reloaded: General CoalesceTime, General Filter');
    expect(log()).toContain('[warning] General HashLimit has changed in');
    await waitFor(async () => !(await cached()).includes('udp'), { for: 'the UDP flow to leave' });
    expect(await cached()).toContain('tcp');
    await flow('-p', 'udp', '--sport', '5', '--dport', '6');
    await flow('-p', 'tcp', '--sport', '7', '--dport', '8', '--state', 'ESTABLISHED');
    await waitFor(async () => (await cached()).includes('dport=8'), { for: 'the new TCP flow' });
    expect(await cached()).not.toContain('udp');
    expect((await daemon.caches()).internal.created).toBe(since + 1);
    // And without any filter: what the kernel holds comes in.
    edit('Protocol Accept { TCP }\n', '');
    reload();
    await waitFor(async () => (await cached()).includes('udp'), { for: 'the UDP flows' });
    await daemon.stop();
  });

  test('SIGHUP with a broken file: the log says why, everything stays as it was', async () => {
    await daemon.start();
    await flow('-p', 'udp', '--sport', '1', '--dport', '2');
    edit('HashLimit 262144', 'HashLimt 1000');
    reload();
    await logged("symbol 'HashLimt': syntax error");
    await logged('the configuration stays as it is');
    expect(
      await waitFor(async () => (await daemon.caches()).internal.active === 1, {
        for: 'the flow',
      }),
    ).toBe(true);
    await daemon.stop();
  });

  test('SIGUSR1 and SIGUSR2 mean nothing', async () => {
    await daemon.start();
    const { pid } = daemon;
    process.kill(pid!, 'SIGUSR1');
    process.kill(pid!, 'SIGUSR2');
    expect(await daemon.client('-s', 'runtime')).toContain('daemon uptime');
    expect(daemon.pid).toBe(pid);
    await daemon.stop();
  });

  test('--check says what would run, and what keeps it from running', async () => {
    const well = await command('--check');
    expect(well.stdout).toContain('mode: Sync, FTFW');
    expect(well.stdout).toContain('192.168.100.1 to 192.168.100.2 port 3780 on sync (RUNNING, MTU');
    expect(well).toMatchObject({ code: 0, stderr: '' });
    edit('IPv4_address 192.168.100.1', 'IPv4_address 192.168.99.1');
    edit('Interface sync', 'Interface snyc');
    const ill = await command('--check');
    expect(ill.code).toBe(1);
    expect(ill.stderr).toContain('no interface of this machine has the address 192.168.99.1');
    expect(ill.stderr).toContain('No such device (snyc)');
    edit('Sync {', 'Snyc {');
    const broken = await command('--check');
    expect(broken).toMatchObject({ code: 1, stdout: '' });
    expect(broken.stderr).toContain('did you mean `Sync`?');
  });
});
