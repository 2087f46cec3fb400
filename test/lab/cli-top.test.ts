// --top in a terminal, as a person drives it: a pseudo terminal of script(1), keys typed into it, the
// picture read off it, and what the terminal is like afterwards, however the end came.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Netns, Run } from '../../lab/namespace.js';
import { missingPrograms, missingRoot, ROOT } from '../../lab/require.js';
import { waitFor } from '../../lab/wait.js';

const C = '/usr/sbin/conntrack';
const missing = missingRoot() ?? missingPrograms(['ip', 'script', 'stty', C]);
const HOME = '\x1b[H';
const LEAVE = '\x1b[?25h\x1b[?1049l';

let run: Run;
let ns: Netns;
let terminal: Terminal | undefined;

beforeAll(() => {
  if (missing) return;
  run = Run.start();
  ns = run.add('top');
  const flow = (i: number, protocol: string) =>
    `-I -s 10.0.0.${i} -d 10.9.9.9 -t ${9000 - i} -p ${protocol} --sport ${4000 + i} --dport 53`;
  const lines = [1, 2, 3, 4].map((i) => flow(i, 'udp'));
  lines.push(`${flow(5, 'tcp')} --state ESTABLISHED`);
  for (const line of lines) ns.execSync(C, line.split(' '));
});

afterEach(() => terminal?.close());
afterAll(() => run?.remove());

/** A terminal in which --top runs; when that ends, its status and the state of the terminal. */
class Terminal {
  static kind = 'xterm';
  output = '';
  readonly child;
  readonly closed: Promise<unknown>;

  constructor(rows: number, columns: number, ...options: string[]) {
    const top = [`${ROOT}/bin/conntrack`, '--top', '--interval', '0.3', ...options].join(' ');
    const line = `stty rows ${rows} cols ${columns}; ${top}; echo "status=$?"; stty -a`;
    const env = { ...process.env, TERM: Terminal.kind };
    this.child = ns.spawn('script', ['-qfec', line, '/dev/null'], { stdio: 'pipe', env });
    this.child.stdout?.setEncoding('utf8').on('data', (text) => {
      this.output += text;
    });
    this.closed = new Promise((resolve) => this.child.on('close', resolve));
  }

  type(keys: string): void {
    this.child.stdin?.write(keys);
  }

  /** The lines of the last whole picture, without escapes. */
  picture(): string[] {
    const pictures = this.output.split(HOME);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what escapes begin with
    const plain = (pictures.at(-2) ?? '').replace(/\x1b\[[0-9;?]*[a-zA-Z]/g, '');
    return plain.split(/\r+\n/); // the terminal adds a carriage return of its own
  }

  /** Waits for a picture. */
  shows(what: string, test: (lines: string[]) => boolean): Promise<unknown> {
    return waitFor(() => test(this.picture()), {
      for: what,
      explain: () => this.picture().join('\n'),
    });
  }

  /** The process that shows the picture. */
  pid(): number {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const inside = readlinkSync(`/proc/${pid}/ns/net`) === this.namespace();
        if (inside && /(^|\/)node/.test(words[0] ?? '') && words.includes('--top'))
          return Number(pid);
      } catch {
        // gone meanwhile
      }
    }
    throw new Error('--top does not run');
  }

  private namespace(): string {
    return ns.execSync('readlink', ['/proc/self/ns/net']).trim();
  }

  resize(rows: number, columns: number): void {
    const device = readlinkSync(`/proc/${this.pid()}/fd/1`);
    spawnSync('stty', ['-F', device, 'rows', `${rows}`, 'cols', `${columns}`]);
  }

  /** Waits for the end; what stands behind the picture. */
  async ended(): Promise<string> {
    await waitFor(() => this.output.includes('status=') && this.output.includes('icanon'), {
      for: 'the end of --top',
      explain: () => this.output.slice(-500),
    });
    return this.output.slice(this.output.lastIndexOf(LEAVE));
  }

  close(): void {
    this.child.kill('SIGKILL');
  }
}

function start(rows: number, columns: number, ...options: string[]): Terminal {
  terminal = new Terminal(rows, columns, ...options);
  return terminal;
}

/** Other screen left, cursor back, lines edited and echoed again. */
function expectRestored(rest: string, status: number): void {
  expect(rest.startsWith(LEAVE)).toBe(true);
  expect(rest).toContain(`status=${status}`);
  expect(rest).toMatch(/ icanon/);
  expect(rest).toMatch(/ echo /);
}

describe.skipIf(missing !== undefined)('--top in a terminal', () => {
  test('shows the flows; q ends it and leaves the terminal as it was', async () => {
    const top = start(24, 100);
    await top.shows('five flows', (lines) => /^5 flows/.test(lines[0]!) && lines.length >= 8);
    expect(top.output).toContain('\x1b[?1049h\x1b[?25l');
    expect(top.picture().some((line) => line.startsWith('tcp    10.0.0.5:4005'))).toBe(true);
    top.type('q');
    expectRestored(await top.ended(), 0);
  });

  test('number keys change the view, letters the order', async () => {
    const top = start(24, 100);
    await top.shows('flows', (lines) => lines[2]?.startsWith('FLOW') ?? false);
    top.type('2');
    await top.shows('sources', (lines) => lines[2]?.startsWith('SOURCE') === true);
    top.type('3');
    await top.shows('ports', (lines) => /^udp 53 .* 4 *$/m.test(lines.join('\n')));
    top.type('4');
    await top.shows('states', (lines) => lines.some((line) => line.startsWith('tcp ESTABLISHED')));
    top.type('1');
    for (const [key, order] of Object.entries({
      b: 'bytes',
      k: 'packets',
      n: 'flows',
      t: 'timeout',
      r: 'rate',
    })) {
      top.type(key);
      await top.shows(`order by ${order}`, (lines) => lines[0]!.includes(`by ${order}`));
    }
    top.type('t');
    await top.shows('longest first', (lines) => lines[3]?.includes('10.0.0.1:4001') === true);
    top.type('\x03');
    expectRestored(await top.ended(), 0);
  });

  test('/ filters, Backspace corrects, Enter keeps, Esc clears; q is a letter meanwhile', async () => {
    const top = start(24, 100);
    await top.shows('flows', (lines) => lines.length >= 8);
    top.type('/');
    top.type('10.0.0.2:q');
    await top.shows('what is typed', (lines) => lines[1] === 'filter: 10.0.0.2:q_');
    top.type('\x7f');
    top.type('\r');
    await top.shows(
      'one flow',
      (lines) => lines.length === 4 && lines[3]!.includes('10.0.0.2:4002'),
    );
    top.type('\x1b');
    await top.shows('all flows', (lines) => lines.length === 8);
    top.type('q');
    expectRestored(await top.ended(), 0);
  });

  test('space pauses, + and - change the interval', async () => {
    const top = start(24, 100);
    await top.shows('flows', (lines) => lines.length >= 8);
    top.type(' ');
    await top.shows('the pause', (lines) => lines[0]!.includes('PAUSED'));
    top.type(' ');
    await top.shows('the end of it', (lines) => !lines[0]!.includes('PAUSED'));
    top.type('+');
    await top.shows('a longer interval', (lines) => lines[0]!.includes('in 0.6 s'));
    top.type('--');
    await top.shows('a shorter one', (lines) => lines[0]!.includes('in 0.25 s'));
    top.type('q');
    expectRestored(await top.ended(), 0);
  });

  test('fits a small terminal, and one that becomes smaller', async () => {
    const top = start(12, 60);
    await top.shows('flows', (lines) => lines.length === 8);
    expect(Math.max(...top.picture().map((line) => line.length))).toBeLessThanOrEqual(60);
    top.resize(7, 30);
    await top.shows('fewer and shorter lines', (lines) => {
      return lines.length <= 6 && lines.every((line) => line.length <= 30);
    });
    top.type('q');
    expectRestored(await top.ended(), 0);
  });

  test('a dumb terminal gets one picture without escapes', async () => {
    Terminal.kind = 'dumb';
    try {
      const top = start(24, 80);
      await waitFor(() => top.output.includes('status=0'), { for: 'the end of --top' });
      expect(top.output).toMatch(/^5 flows/);
      expect(top.output).not.toContain('\x1b');
    } finally {
      Terminal.kind = 'xterm';
    }
  });

  test.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)(
    '%s leaves the terminal as it was',
    async (signal) => {
      const top = start(24, 80);
      await top.shows('flows', (lines) => lines.length >= 8);
      process.kill(top.pid(), signal);
      expectRestored(await top.ended(), 0);
    },
  );
});
