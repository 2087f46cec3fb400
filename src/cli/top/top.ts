// --top: the table as a live picture, like top(1) for flows. Every interval one dump of the kernel's
// table streams through view.ts; the picture is drawn in the terminal's other screen, so that what
// was there before comes back at the end, however that comes: q, Ctrl-C, a signal, or the end of the
// connection. Without a terminal, or in a dumb one, one picture is printed and that is all.

import { usageError } from '../complain.js';
import { FlowKernel } from '../flow-kernel.js';
import { attempting } from '../kernel.js';
import { eachFlow } from '../list.js';
import type { Request } from '../request.js';
import { OUT_COLOR } from '../values.js';
import { FURNITURE, type Mood, picture } from './screen.js';
import { type Look, SORTS, type Sort, VIEWS, type ViewName, Watch } from './view.js';

const ENTER = '\x1b[?1049h\x1b[?25l'; // other screen, no cursor
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
const INTERRUPT = '\x03';
const ESCAPE = '\x1b';

const SORT_KEYS: Readonly<Record<string, Sort>> = {
  r: 'rate',
  b: 'bytes',
  k: 'packets',
  n: 'flows',
  t: 'timeout',
};
/** Words of --sort: an order, or a view. */
const VIEW_WORDS: Readonly<Record<string, ViewName>> = {
  source: 'sources',
  port: 'ports',
  state: 'states',
};

/** Shows the table until it is told to end; returns the exit status. */
export async function showTop(request: Request): Promise<number> {
  const top = new Top(request);
  const { TERM = 'dumb' } = process.env; // a terminal that cannot place its cursor gets one picture
  return process.stdout.isTTY && TERM !== 'dumb' ? top.live() : top.once();
}

class Top {
  private readonly kernel = new FlowKernel();
  private readonly watch = new Watch();
  private mood: Mood;
  private look: Look | undefined;
  private lookedAt = 0;
  private wake: () => void = () => {};
  private ended = false;

  constructor(private readonly request: Request) {
    this.mood = {
      view: VIEW_WORDS[request.sort] ?? 'flows',
      sort: sortOf(request.sort),
      filter: '',
      typing: false,
      paused: false,
      interval: request.interval,
    };
  }

  /** One picture on standard output: two looks, so that there are rates. */
  async once(): Promise<number> {
    const rows = 40;
    this.take(rows);
    await new Promise((resolve) => setTimeout(resolve, this.mood.interval * 1000));
    this.take(rows);
    const color = (this.request.output & OUT_COLOR) !== 0;
    const columns = process.stdout.columns || 120;
    const lines = picture(this.look!, this.mood, columns, rows + FURNITURE, color);
    process.stdout.write(`${lines.map((line) => line.trimEnd()).join('\n')}\n`);
    this.kernel.close();
    return 0;
  }

  async live(): Promise<number> {
    const { stdin, stdout } = process;
    const end = () => this.end();
    const draw = () => this.draw();
    const onKey = (keys: string) => {
      for (const key of keys.startsWith(ESCAPE) ? [ESCAPE] : keys) this.press(key);
    };
    if (stdin.isTTY) stdin.setRawMode(true);
    stdin.setEncoding('utf8').on('data', onKey).on('end', end);
    process.on('SIGINT', end).on('SIGTERM', end).on('SIGHUP', end);
    stdout.on('resize', draw).on('error', end);
    stdout.write(ENTER);
    try {
      while (!this.ended) {
        if (!this.mood.paused) this.take((stdout.rows || 24) - FURNITURE + 1);
        this.draw();
        await this.sleep(this.mood.interval * 1000);
      }
    } finally {
      stdout.write(LEAVE);
      if (stdin.isTTY) stdin.setRawMode(false);
      stdin.off('data', onKey).off('end', end).pause();
      process.off('SIGINT', end).off('SIGTERM', end).off('SIGHUP', end);
      stdout.off('resize', draw);
      this.kernel.close();
    }
    return 0;
  }

  private end(): void {
    this.ended = true;
    this.wake();
  }

  private sleep(time: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, time);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.ended) this.wake();
    });
  }

  /** Looks at the table. */
  private take(rows: number): void {
    const { view, sort, filter, interval } = this.mood;
    const now = performance.now();
    const seconds = this.lookedAt === 0 ? interval : (now - this.lookedAt) / 1000;
    this.lookedAt = now;
    const looking = this.watch.look(view, sort, rows, filter, Math.max(seconds, 0.001));
    const flow = this.kernel.flow();
    attempting('list', false, () => eachFlow(this.kernel, this.request, () => looking.take(flow)));
    this.look = this.watch.done(looking);
  }

  private draw(): void {
    if (this.look === undefined || this.ended) return;
    const { columns, rows } = process.stdout;
    const lines = picture(this.look, this.mood, columns || 80, (rows || 24) - 1, true);
    process.stdout.write(
      `${HOME}${lines.map((line) => `${line}${CLEAR_LINE}`).join('\r\n')}${CLEAR_BELOW}`,
    );
  }

  private press(key: string): void {
    if (key === INTERRUPT) this.end();
    else if (this.mood.typing) this.type(key);
    else if (key === 'q' || key === 'Q') this.end();
    else this.change(key);
    this.draw();
  }

  /** A key while a filter is typed. */
  private type(key: string): void {
    const { filter } = this.mood;
    if (key === '\r' || key === '\n') this.again({ typing: false });
    else if (key === ESCAPE) this.again({ typing: false, filter: '' });
    else if (key === '\x7f' || key === '\b') this.again({ filter: filter.slice(0, -1) });
    else if (key >= ' ') this.again({ filter: filter + key });
  }

  private change(key: string): void {
    const { interval, paused } = this.mood;
    const view = VIEWS[Number(key) - 1];
    const sort = SORT_KEYS[key];
    if (view !== undefined) this.again({ view });
    else if (sort !== undefined) this.again({ sort });
    else if (key === '/') this.again({ typing: true });
    else if (key === ESCAPE) this.again({ filter: '' });
    else if (key === ' ') this.again({ paused: !paused });
    else if (key === '+') this.again({ interval: Math.min(60, interval * 2) });
    else if (key === '-') this.again({ interval: Math.max(0.25, interval / 2) });
  }

  /** Changes what is shown, and shows it at once. */
  private again(change: Partial<Mood>): void {
    this.mood = { ...this.mood, ...change };
    this.wake();
  }
}

function sortOf(word: string): Sort {
  if (word === '' || word in VIEW_WORDS) return 'rate';
  const sort = SORTS.find((name) => name === word);
  if (sort !== undefined) return sort;
  const words = [...SORTS, ...Object.keys(VIEW_WORDS)].join(', ');
  throw usageError(`unknown order \`${word}' for --sort: ${words}`);
}
