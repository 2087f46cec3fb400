// One daemon in Stats mode, ours or Debian's, in a namespace of the lab. Several may follow the same
// kernel, so what they log can be compared line by line.

import { type ChildProcess, execFile } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Program } from './daemon.js';
import type { Netns, Run } from './namespace.js';
import { waitFor } from './wait.js';

export interface CollectorOptions {
  /** More lines for General. */
  general?: string;
  /** More lines for Stats. */
  stats?: string;
  env?: NodeJS.ProcessEnv;
}

export class Collector {
  readonly directory: string;
  readonly config: string;
  #child: ChildProcess | undefined;

  constructor(
    run: Run,
    readonly ns: Netns,
    readonly program: Program,
    name: string,
    private readonly options: CollectorOptions = {},
  ) {
    this.directory = run.path(name);
    this.config = join(this.directory, 'conntrackd.conf');
    this.configure(options);
  }

  /** Writes the configuration file anew. */
  configure({ general = '', stats = '' }: CollectorOptions): void {
    writeFileSync(
      this.config,
      `General {
  HashSize 8192
  HashLimit 65536
  LogFile ${this.path('log')}
  LockFile ${this.path('lock')}
  UNIX {
    Path ${this.path('ctl')}
  }
  NetlinkBufferSize 8388608
  NetlinkBufferSizeMaxGrowth 33554432
  ${general}
}
Stats {
  LogFile ${this.path('flows')}
  ${stats}
}
`,
    );
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Starts it and waits until its client gets an answer. */
  async start(): Promise<void> {
    const console = openSync(this.path('console'), 'a', 0o600);
    this.#child = this.ns.spawn(this.program.path, ['-C', this.config], {
      stdio: ['ignore', console, console],
      detached: true,
      env: { ...process.env, ...this.options.env },
    });
    closeSync(console);
    await waitFor(async () => (await this.client('-s', 'runtime')).includes('uptime'), {
      for: `${this.program.name} in Stats mode to answer`,
      timeout: 30_000,
      explain: () => `${this.read('console')}\n${this.read('log')}`,
    });
  }

  client(...args: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const words = ['-C', this.config, ...args];
      execFile(this.program.path, words, { timeout: 60_000 }, (error, stdout, stderr) => {
        if (error) reject(new Error(`client ${args.join(' ')}: ${stderr || error.message}`));
        else resolve(stdout);
      });
    });
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  get ended(): boolean {
    return this.#child !== undefined && (this.#child.exitCode ?? this.#child.signalCode) !== null;
  }

  async stop(): Promise<void> {
    this.signal('SIGTERM');
    await waitFor(() => this.ended, { for: `${this.program.name} to end`, timeout: 20_000 });
  }

  read(file: string): string {
    try {
      return readFileSync(this.path(file), 'utf8');
    } catch {
      return '';
    }
  }

  /** Logged flows, without the time, sorted. */
  flows(): string[] {
    return this.read('flows')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.slice(line.indexOf('\t') + 1))
      .sort();
  }
}
