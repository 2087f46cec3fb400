// One conntrackd, ours or Debian's, inside a firewall's namespace: its configuration file, its life
// and its client.
//
// Each daemon has a directory of its own in the run's directory with conntrackd.conf, control
// socket, lock file, log (LogFile) and console output. The daemon runs in the foreground and in a
// session of its own, so a Ctrl-C on the terminal reaches the lab first, which ends it in order.
// Restarting uses the same directory and removes nothing: what a crash leaves behind is part of
// what is tested.
//
// Control commands go through a client program (either one) or straight to the control socket.
// Source: docs/configuration.md (file), docs/wire-protocol.md (links); control socket: a request
// is one native-endian 32-bit integer, the reply is text up to the end of the stream.

import { type ChildProcess, execFile } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { endianness } from 'node:os';
import { join } from 'node:path';
import type { Run } from './namespace.js';
import { ROOT } from './require.js';
import type { Firewall } from './topology.js';
import { sleep, waitFor } from './wait.js';

/** A conntrackd program: the daemon and, with options, its own client. */
export interface Program {
  readonly name: 'ours' | 'C';
  readonly path: string;
}

export const OURS: Program = { name: 'ours', path: join(ROOT, 'bin', 'conntrackd') };
export const C: Program = { name: 'C', path: '/usr/sbin/conntrackd' };

/** Request codes of the control socket that the lab uses. */
export const REQUEST = {
  commit: 18,
  stats: 21,
  bulk: 22,
  internal: 16,
  external: 17,
  network: 28,
  runtime: 30,
} as const;

export interface DaemonOptions {
  program: Program;
  node: Firewall;
  peer: Firewall;
  /** Text of the Mode section. Default: FTFW with its defaults. */
  mode?: string;
  /** Text of one or more link sections. Default: `udpLink(node, peer)`. */
  link?: string;
  /** More lines for Sync, for example an Options section. */
  sync?: string;
  /** More lines for General. */
  general?: string;
  /** Text of the Filter section. Default: the firewalls' own addresses are ignored. */
  filter?: string;
  /** Program for `client`. Default: the daemon's own. */
  client?: Program;
  /** Environment of the daemon, on top of this process's. */
  env?: NodeJS.ProcessEnv;
}

export const SYNC_PORT = 3780;

/** A UDP link section over IPv4, or IPv6 if told. */
export function udpLink(node: Firewall, peer: Firewall, family: 4 | 6 = 4): string {
  return unicastLink('UDP', node, peer, family);
}

/** A TCP link section over IPv4, or IPv6 if told. */
export function tcpLink(node: Firewall, peer: Firewall, family: 4 | 6 = 4): string {
  return unicastLink('TCP', node, peer, family);
}

/** A multicast link section over IPv4. */
export function multicastLink(node: Firewall): string {
  return multicast(node, `IPv4_address 225.0.0.50\n    IPv4_interface ${node.sync.v4}`);
}

/** A multicast link section over IPv6. */
export function multicastV6Link(node: Firewall): string {
  return multicast(node, 'IPv6_address ff02::50');
}

function multicast(node: Firewall, address: string): string {
  return `
  Multicast {
    ${address}
    Group ${SYNC_PORT}
    Interface ${node.sync.device ?? 'sync'}
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
  }`;
}

function unicastLink(kind: string, node: Firewall, peer: Firewall, family: 4 | 6): string {
  const [own, other] = family === 4 ? [node.sync.v4, peer.sync.v4] : [node.sync.v6, peer.sync.v6];
  return `
  ${kind} {
    IPv${family}_address ${own}
    IPv${family}_Destination_Address ${other}
    Port ${SYNC_PORT}
    Interface ${node.sync.device ?? 'sync'}
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
  }`;
}

/** The text of conntrackd.conf for a node whose files lie in `directory`. */
export function renderConfig(options: DaemonOptions, directory: string): string {
  const { node, peer } = options;
  return `Sync {
  ${options.mode ?? 'Mode FTFW {\n  }'}
  ${(options.link ?? udpLink(node, peer)).trim()}
  ${options.sync ?? ''}
}
General {
  HashSize 32768
  HashLimit 262144
  LogFile ${directory}/log
  Syslog off
  LockFile ${directory}/lock
  UNIX {
    Path ${directory}/ctl
  }
  NetlinkBufferSize 8388608
  NetlinkBufferSizeMaxGrowth 33554432
  ${options.general ?? ''}
  ${options.filter ?? ownTrafficFilter(node, peer)}
}
`;
}

/** Nothing that the firewalls say to each other or to themselves. */
function ownTrafficFilter(node: Firewall, peer: Firewall): string {
  return `Filter From Userspace {
    Address Ignore {
      IPv4_address 127.0.0.1
      IPv4_address ${node.sync.v4}
      IPv4_address ${peer.sync.v4}
      IPv6_address ::1
      IPv6_address ${node.sync.v6}
      IPv6_address ${peer.sync.v6}
    }
  }`;
}

/** Entries of one cache, as `-s` shows them. */
export interface CacheCounters {
  active: number;
  created: number;
  createFailed: number;
  updated: number;
  destroyed: number;
}

export class Daemon {
  readonly directory: string;
  readonly config: string;
  readonly node: Firewall;
  readonly program: Program;
  readonly #options: DaemonOptions;
  #process: ChildProcess | undefined;
  #exit: string | undefined;

  constructor(run: Run, options: DaemonOptions) {
    this.#options = options;
    this.node = options.node;
    this.program = options.program;
    this.directory = run.path(options.node.name);
    this.config = join(this.directory, 'conntrackd.conf');
    writeFileSync(this.config, renderConfig(options, this.directory));
  }

  get label(): string {
    return `${this.node.name} (${this.program.name})`;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts the program and waits until its control socket answers. */
  async start(timeout = 30_000): Promise<void> {
    const console = openSync(join(this.directory, 'console'), 'a', 0o600);
    const child = this.node.ns.spawn(this.program.path, ['-C', this.config], {
      stdio: ['ignore', console, console],
      detached: true,
      env: { ...process.env, ...this.#options.env },
    });
    closeSync(console);
    child.unref();
    this.#process = child;
    this.#exit = undefined;
    child.once('error', (error) => {
      this.#exit = error.message;
    });
    child.once('exit', (code, signal) => {
      this.#exit = signal ?? `status ${code}`;
      if (this.#process === child) this.#process = undefined;
    });
    const end = performance.now() + timeout;
    for (;;) {
      if (this.#exit !== undefined)
        throw new Error(`${this.label}: ended with ${this.#exit}\n${this.log()}`);
      const answer = await this.request(REQUEST.runtime).catch(() => '');
      if (answer !== '') return;
      if (performance.now() > end) throw new Error(`${this.label}: not ready\n${this.log()}`);
      await sleep(20);
    }
  }

  /** Sends one request straight to the control socket; resolves with the whole reply. */
  request(code: number, timeout = 60_000): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(join(this.directory, 'ctl'));
      const word = Buffer.alloc(4);
      if (endianness() === 'LE') word.writeInt32LE(code);
      else word.writeInt32BE(code);
      const chunks: Buffer[] = [];
      socket.setTimeout(timeout, () => socket.destroy(new Error(`${this.label}: no reply`)));
      socket.once('connect', () => socket.write(word));
      socket.on('data', (chunk) => chunks.push(chunk));
      socket.once('error', reject);
      socket.once('close', () => resolve(Buffer.concat(chunks).toString()));
    });
  }

  /** Runs the client program with these options (`-s`, `-c`, ...); resolves with its stdout. */
  client(...args: string[]): Promise<string> {
    return this.clientOf(this.#options.client ?? this.program, ...args);
  }

  /** The same with a client program of choice. */
  clientOf(program: Program, ...args: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const options = { maxBuffer: 256 * 1024 * 1024, timeout: 120_000 };
      // Inside the namespace: the client checks the interfaces that the file names.
      const [ip = '', ...prefix] = this.node.ns.prefix;
      const words = [...prefix, program.path, '-C', this.config, ...args];
      execFile(ip, words, options, (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        const why = stderr || error.message;
        reject(new Error(`${this.label}: client ${args.join(' ')}: ${why}\n${this.log()}`));
      });
    });
  }

  /** Counters of the internal and the external cache. */
  async caches(): Promise<{ internal: CacheCounters; external: CacheCounters }> {
    const text = await this.request(REQUEST.stats);
    return { internal: parseCache(text, 'internal'), external: parseCache(text, 'external') };
  }

  /** Waits until both daemons have greeted each other: before that FTFW repairs no losses. */
  async greeted(timeout = 15_000): Promise<void> {
    await waitFor(
      async () => {
        const text = await this.request(REQUEST.stats);
        // HELLO, HELLO_BACK and one message after them, at one message a second each.
        return Number(/(\d+) Pckts recv/.exec(text)?.[1]) >= 3;
      },
      {
        for: `${this.label} to hear from its peer`,
        timeout,
        every: 100,
        explain: () => this.log(),
      },
    );
  }

  /** Ends it in order (SIGTERM) and waits for the end. */
  async stop(timeout = 10_000): Promise<void> {
    await this.#end('SIGTERM', timeout);
  }

  /** Ends it hard; lock file and control socket stay behind. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL', 5_000);
  }

  async #end(signal: NodeJS.Signals, timeout: number): Promise<void> {
    const child = this.#process;
    if (!child) return;
    child.kill(signal);
    await waitFor(() => child.exitCode !== null || child.signalCode !== null, {
      for: `${this.label} to end after ${signal}`,
      timeout,
      every: 5,
      explain: () => this.log(),
    });
    this.#process = undefined;
  }

  /** Removes the lock file, as fail-over scripts do before they start a C daemon that crashed. */
  removeLock(): void {
    rmSync(join(this.directory, 'lock'), { force: true });
  }

  /** The last lines of log and console, for error messages. */
  log(lines = 60): string {
    const log = readOr(join(this.directory, 'log')).split('\n').filter(Boolean);
    const logged = new Set(log);
    const console = readOr(join(this.directory, 'console')).split('\n');
    const unlogged = console.filter((line) => line !== '' && !logged.has(line));
    const part = (name: string, text: string[]) =>
      text.length > 0 ? [`--- ${this.label} ${name} ---`, ...text.slice(-lines)] : [];
    const text = [...part('log', log), ...part('console', unlogged)];
    return text.length > 0 ? text.join('\n') : `--- ${this.label}: no log ---`;
  }
}

/** Reads one cache's block out of the text of `-s`. */
export function parseCache(text: string, name: 'internal' | 'external'): CacheCounters {
  const block = new RegExp(`^cache ${name}:\\n((?:.+\\n)+)`, 'm').exec(text)?.[1];
  if (!block) throw new Error(`no cache ${name} in ${JSON.stringify(text)}`);
  const numbers = (words: string) =>
    (new RegExp(`^${words}:(.*)$`, 'm').exec(block)?.[1]?.match(/\d+/g) ?? []).map(Number);
  const [created = Number.NaN, createFailed = Number.NaN] = numbers('connections created');
  return {
    active: numbers('current active connections')[0] ?? Number.NaN,
    created,
    createFailed,
    updated: numbers('connections updated')[0] ?? Number.NaN,
    destroyed: numbers('connections destroyed')[0] ?? Number.NaN,
  };
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
