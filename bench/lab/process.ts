// A process of the bench in a namespace of the lab that is spoken to by JSON lines: one line in, one
// line out, in order. It ends with its standard input, or with the namespace.

import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Netns } from '../../lab/namespace.js';
import { ROOT } from '../../lab/require.js';

export class LineProcess {
  readonly #child: ChildProcess;
  readonly #waiting: ((line: string | undefined) => void)[] = [];
  #lines: string[] = [];
  #ended = false;
  #stderr = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdin!.on('error', () => {});
    child.stderr!.on('data', (chunk) => {
      this.#stderr += String(chunk);
    });
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const give = this.#waiting.shift();
      if (give) give(line);
      else this.#lines.push(line);
    });
    child.once('exit', () => {
      this.#ended = true;
      for (const give of this.#waiting.splice(0)) give(undefined);
    });
  }

  /** Starts dist/bench/`script` in the namespace; resolves when it has said that it is ready. */
  static async start(ns: Netns, script: string, ...args: string[]): Promise<LineProcess> {
    const path = join(ROOT, 'dist', 'bench', script);
    const child = ns.spawn(process.execPath, [path, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    const started = new LineProcess(child);
    await started.#answer();
    return started;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** One command, one answer. Rejects with the process's own words when it failed. */
  ask<Answer>(command: object): Promise<Answer> {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
    return this.#answer() as Promise<Answer>;
  }

  /** Ends it and waits until it is gone. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    const gone = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.stdin!.end();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 2000);
    await gone;
    clearTimeout(late);
  }

  async #answer(): Promise<unknown> {
    const line =
      this.#lines.shift() ??
      (this.#ended
        ? undefined
        : await new Promise<string | undefined>((resolve) => this.#waiting.push(resolve)));
    if (line === undefined) throw new Error(`a process of the bench ended: ${this.#stderr}`);
    const answer = JSON.parse(line) as { error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }
}
