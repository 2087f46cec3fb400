// The demo's output: lines, one status line that changes in place, and a table.
//
// On a terminal the status line is rewritten; elsewhere (a log, a pipe) it becomes at most one line
// a second. Colours only on a terminal, and never when NO_COLOR is set (no-color.org).

import type { WriteStream } from 'node:tty';

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Colour = keyof typeof CODES;

const LABEL_WIDTH = 14;
/** Milliseconds between two status lines where they cannot be rewritten. */
const PLAIN_STATUS_MS = 1000;

export class Screen {
  readonly live: boolean;
  readonly #colour: boolean;
  readonly #out: WriteStream;
  #status = false;
  #lastPlain = Number.NEGATIVE_INFINITY;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    this.live = out.isTTY === true;
    this.#colour = this.live && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  }

  paint(colour: Colour, text: string): string {
    return this.#colour ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text;
  }

  line(text = ''): void {
    this.#clear();
    this.#out.write(`${text}\n`);
  }

  /** `  label     text` */
  step(label: string, text: string): void {
    this.line(`  ${this.paint('cyan', label.padEnd(LABEL_WIDTH))} ${text}`);
  }

  /** Shows what is going on right now; replaced by the next output. */
  status(label: string, text: string): void {
    if (this.live) {
      const line = `  ${label.padEnd(LABEL_WIDTH)} ${text}`;
      this.#out.write(`\r\x1b[K${this.paint('dim', line.slice(0, (this.#out.columns || 80) - 1))}`);
      this.#status = true;
      return;
    }
    const now = performance.now();
    if (now - this.#lastPlain < PLAIN_STATUS_MS) return;
    this.#lastPlain = now;
    this.line(`  ${label.padEnd(LABEL_WIDTH)} ${text}`);
  }

  /** Rows of two columns under a title. */
  table(title: string, rows: readonly (readonly [string, string])[]): void {
    const width = Math.max(...rows.map(([name]) => name.length));
    this.line();
    this.line(`  ${this.paint('bold', title)}`);
    for (const [name, value] of rows) this.line(`  ${name.padEnd(width)}   ${value}`);
  }

  #clear(): void {
    if (this.#status) this.#out.write('\r\x1b[K');
    this.#status = false;
  }
}
