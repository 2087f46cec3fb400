// Network namespaces of one lab run: made under a unique prefix, removed whatever happens.
//
// Names are `ft<pid in hex>x<random>-<role>`: the pid says who made them, so a later run can tell
// the leftovers of a dead run (SIGKILL, power button) from a live one and removes them when it
// starts. A run also owns a directory under the system's temporary directory with the same prefix;
// a file `kept` in it tells the reaper to leave the run alone.
//
// Set-up and removal are synchronous on purpose: removal must also work inside an exit handler.
// Commands that may take long (`exec`, `spawn`) are asynchronous. Interfaces bear plain names, as
// each lives in a namespace of its own and never in the machine's.
//
// Source: ip-netns(8), network_namespaces(7).

import {
  type ChildProcess,
  execFile,
  execFileSync,
  type SpawnOptions,
  spawn,
  spawnSync,
} from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NAME = /^(ft([0-9a-f]+)x[0-9a-f]+)-[a-z0-9]+$/;
const DIRECTORY = /^flowtwin-(ft([0-9a-f]+)x[0-9a-f]+)$/;
const MAX_OUTPUT = 256 * 1024 * 1024;

/** One network namespace of a run. */
export class Netns {
  constructor(readonly name: string) {}

  /** Words that put a command line into this namespace. */
  get prefix(): string[] {
    return ['ip', 'netns', 'exec', this.name];
  }

  /** Runs `ip -batch` lines here; the first that fails throws with its text. */
  ip(...lines: string[]): void {
    run('ip', ['-n', this.name, '-batch', '-'], lines.join('\n'));
  }

  /** Sets sysctls, keys as under /proc/sys with dots. */
  sysctl(values: Record<string, string | number>): void {
    const script = Object.entries(values)
      .map(([key, value]) => `echo ${value} > /proc/sys/${key.replaceAll('.', '/')}`)
      .join(' && ');
    run('ip', ['netns', 'exec', this.name, 'sh', '-c', script]);
  }

  /** Loads an nftables script. */
  nft(script: string): void {
    run('ip', ['netns', 'exec', this.name, 'nft', '-f', '-'], script);
  }

  /** Runs a command to its end, waits for it, returns its stdout. */
  execSync(command: string, args: readonly string[], input?: string): string {
    return run('ip', ['netns', 'exec', this.name, command, ...args], input);
  }

  /** Runs a command to its end without blocking this process. Rejects on a status other than 0. */
  exec(command: string, args: readonly string[], timeout = 120_000): Promise<string> {
    return new Promise((resolve, reject) => {
      const words = ['netns', 'exec', this.name, command, ...args];
      execFile('ip', words, { maxBuffer: MAX_OUTPUT, timeout }, (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        reject(new Error(`${this.name}: ${command} ${args.join(' ')}: ${stderr || error.message}`));
      });
    });
  }

  /** Starts a long-lived process here; its pid is the command's own (ip replaces itself). */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return spawn('ip', ['netns', 'exec', this.name, command, ...args], options);
  }
}

/** Everything one lab run made. Removed at exit, on SIGINT, SIGTERM, SIGHUP, or by `remove`. */
export class Run {
  readonly prefix = `ft${process.pid.toString(16)}x${randomBytes(2).toString('hex')}`;
  readonly directory = join(tmpdir(), `flowtwin-${this.prefix}`);
  readonly namespaces: Netns[] = [];
  #gone = false;
  readonly #onExit = () => this.remove();
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this.remove();
    // The handlers are off now, so the same signal ends the process as it would have.
    process.kill(process.pid, signal);
  };

  private constructor() {
    mkdirSync(this.directory, { mode: 0o700 });
    process.on('exit', this.#onExit);
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  /** Removes what dead runs left behind, then begins a new run. */
  static start(): Run {
    reap();
    return new Run();
  }

  /** Makes a namespace with its loopback up. `role`: a few lower-case letters or digits. */
  add(role: string): Netns {
    const ns = new Netns(`${this.prefix}-${role}`);
    run('ip', ['netns', 'add', ns.name]);
    this.namespaces.push(ns);
    ns.ip('link set lo up');
    return ns;
  }

  /** A directory of this run, made if absent. */
  path(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  }

  /** Kills the processes inside, removes the namespaces and the directory. Idempotent. */
  remove(): void {
    if (this.#gone) return;
    this.#release();
    for (const ns of this.namespaces) removeNamespace(ns.name);
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Leaves everything as it is when this process ends; see `removeKept`. */
  keep(): void {
    writeFileSync(join(this.directory, 'kept'), '');
    this.#release();
  }

  #release(): void {
    this.#gone = true;
    process.off('exit', this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }
}

const SIGNALS: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Joins two namespaces by a veth pair and sets both ends up. */
export function veth(a: Netns, nameA: string, b: Netns, nameB: string): void {
  a.ip(`link add ${nameA} type veth peer name ${nameB} netns ${b.name}`, `link set ${nameA} up`);
  b.ip(`link set ${nameB} up`);
}

/** Removes namespaces and directories of runs whose process is gone and that were not kept. */
export function reap(): string[] {
  return removeRuns((prefix, pid) => !alive(pid) && !kept(prefix));
}

/** Removes the runs that were left on purpose. Returns their prefixes. */
export function removeKept(): string[] {
  return removeRuns((prefix) => kept(prefix));
}

function removeRuns(chosen: (prefix: string, pid: number) => boolean): string[] {
  const removed = new Set<string>();
  const directories = list(tmpdir());
  // Decided before anything is removed: the directory holds the mark that both questions ask for.
  for (const [entries, pattern] of [
    [list('/run/netns'), NAME],
    [directories, DIRECTORY],
  ] as const) {
    for (const entry of entries) {
      const [, prefix, pid] = pattern.exec(entry) ?? [];
      if (!prefix || !pid || !chosen(prefix, Number.parseInt(pid, 16))) continue;
      removed.add(prefix);
      if (pattern === NAME) removeNamespace(entry);
      else rmSync(join(tmpdir(), entry), { recursive: true, force: true });
    }
  }
  return [...removed];
}

function removeNamespace(name: string): void {
  const pids = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
  for (const word of pids.stdout?.split(/\s+/) ?? []) {
    if (word) kill(Number(word));
  }
  spawnSync('ip', ['netns', 'delete', name]);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended between the list and the kill.
  }
}

function alive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

function kept(prefix: string): boolean {
  return existsSync(join(tmpdir(), `flowtwin-${prefix}`, 'kept'));
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function run(command: string, args: readonly string[], input?: string): string {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      input: input ?? '',
      stdio: ['pipe', 'pipe', 'pipe'],
      maxBuffer: MAX_OUTPUT,
    });
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr?.trim();
    throw new Error(`${command} ${args.join(' ')}: ${stderr || String(error)}`);
  }
}
