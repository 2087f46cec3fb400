// Part `cli`: the `conntrack` command beside Debian's, in one namespace, taking turns.
//
// Short commands tell what a start costs; `node -e 0` is the floor under ours. Lists and command files
// are timed as a whole, start included, their output going to a file. `-E` follows a stream of new flows
// into a file: how many of them it did not print, and the processor time of one; once as it is, and once
// with the system's buffer for both, since 1.4.7 sets the buffer of another socket with `-b`.

import { closeSync, copyFileSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Netns, Run } from '../../lab/namespace.js';
import { ROOT, requirePrograms } from '../../lab/require.js';
import { waitFor } from '../../lab/wait.js';
import type { TimedCommand, TimedOutcome } from '../command.js';
import type { LoadCommand, LoadReport } from '../load.js';
import { cpuTime } from '../measure.js';
import type { Part } from '../part.js';
import { withKernelLimit } from './limit.js';
import { LineProcess } from './process.js';
import type { Measured } from './trial.js';

type Who = 'ours' | 'rival';

const PROGRAMS: Record<Who, string> = {
  ours: join(ROOT, 'bin', 'conntrack'),
  rival: '/usr/sbin/conntrack',
};
const TURNS = 2;
const SIZES = { starts: 10, flows: 100_000, lines: 100_000, events: 30_000 };
const QUICK_SIZES = { starts: 3, flows: 50_000, lines: 50_000, events: 30_000 };
const FORMS = [[], ['-o', 'save'], ['-o', 'xml']];
const QUICK_FORMS = FORMS.slice(0, 2);
/** New flows a second that -E follows, and how many in one system call. */
const EVENT_RATE = 60_000;
const EVENT_BURST = 8;
/** Nanoseconds of CPU between two looks below which a follower has read all it will read. */
const QUIET = 1e6;

const COMMON = { part: 'cli', schedulingClass: 'OTHER' } as const;
const TIME = { ...COMMON, unit: 'ms', better: 'lower' } as const;

export const cli: Part = ({ quick, collector, progress }) => {
  requirePrograms([PROGRAMS.rival]);
  const sizes = quick ? QUICK_SIZES : SIZES;
  const add = (who: Who, figure: Measured, value: number): void =>
    collector.add(who, { ...figure, rivalName: 'C' }, value);
  return withKernelLimit(SIZES.flows + 50_000, async () => {
    const stage = await Stage.open();
    try {
      for (let turn = 0; turn < (quick ? 1 : TURNS); turn++) {
        progress(`turn ${turn + 1}, cli: starts`);
        await starts(stage, sizes.starts, add);
        progress(`turn ${turn + 1}, cli: lists and files`);
        await lists(stage, sizes.flows, quick ? QUICK_FORMS : FORMS, add);
        await files(stage, sizes.lines, add);
        progress(`turn ${turn + 1}, cli: events`);
        await events(stage, sizes.events, EVENT_RATE, add);
      }
    } finally {
      await stage.close();
    }
  });
};

type Add = (who: Who, figure: Measured, value: number) => void;

/** The namespace, a process that times commands in it, and one that makes flows. */
class Stage {
  private constructor(
    private readonly run: Run,
    readonly ns: Netns,
    private readonly timer: LineProcess,
    private readonly generator: LineProcess,
  ) {}

  static async open(): Promise<Stage> {
    const run = Run.start();
    const ns = run.add('cli');
    // Connection tracking, and with it its counters, begins with a rule that asks for it.
    ns.nft(
      'table inet cli { chain c { type filter hook input priority 0; ct state new accept; }\n}',
    );
    const timer = await LineProcess.start(ns, 'command.js');
    return new Stage(run, ns, timer, await LineProcess.start(ns, 'load.js'));
  }

  async close(): Promise<void> {
    await this.timer.stop();
    await this.generator.stop();
    this.run.remove();
  }

  file(name: string): string {
    return join(this.run.path('cli'), name);
  }

  /** Runs a command of one of the two; throws unless it ends well. */
  command(who: Who, args: string[], output = '/dev/null'): Promise<TimedOutcome> {
    return this.time({ program: PROGRAMS[who], args, output });
  }

  async time(command: TimedCommand): Promise<TimedOutcome> {
    const outcome = await this.timer.ask<TimedOutcome>(command);
    if (outcome.status !== 0) {
      throw new Error(`${command.program} ${command.args.join(' ')}: ${outcome.stderr}`);
    }
    return outcome;
  }

  /** Makes flows 0 … count - 1; throws if the kernel refuses one. */
  async create(count: number, rate: number, burst: number): Promise<void> {
    const command: LoadCommand = { do: 'create', from: 0, count, rate, burst };
    const { failed, reason } = await this.generator.ask<LoadReport>(command);
    if (failed > 0) throw new Error(`${failed} flows could not be created: ${reason}`);
  }

  async empty(): Promise<void> {
    await this.command('rival', ['-F']);
  }
}

async function starts(stage: Stage, count: number, add: Add): Promise<void> {
  await stage.empty();
  await stage.create(1, 0, 1);
  for (let i = 0; i < count; i++) {
    const node = { program: process.execPath, args: ['-e', '0'], output: '/dev/null' };
    add('ours', { ...TIME, name: 'node -e 0, the floor' }, (await stage.time(node)).ms);
    for (const args of [['-V'], ['-C'], ['-L']]) {
      const name = args[0] === '-L' ? '-L of one flow' : args[0]!;
      for (const who of ['ours', 'rival'] as const) {
        add(who, { ...TIME, name }, (await stage.command(who, args)).ms);
      }
    }
  }
}

async function lists(stage: Stage, flows: number, forms: string[][], add: Add): Promise<void> {
  await stage.empty();
  await stage.create(flows, 0, 128);
  const output = stage.file('list');
  for (const form of forms) {
    for (const who of ['ours', 'rival'] as const) {
      const { ms, stderr } = await stage.command(who, ['-L', ...form], output);
      expectCount(stderr, flows, 'flow entries have been shown');
      const name = `${['-L', ...form].join(' ')} of ${flows / 1000} k flows`;
      add(who, { ...TIME, name }, ms);
    }
  }
}

/** Loads the saved list of a table into an empty one. */
async function files(stage: Stage, lines: number, add: Add): Promise<void> {
  const file = stage.file('saved');
  await stage.empty();
  await stage.create(lines, 0, 128);
  const output = stage.file('list');
  await stage.command('rival', ['-L', '-o', 'save'], output);
  copyFileSync(output, file);
  for (const who of ['ours', 'rival'] as const) {
    await stage.empty();
    const { ms } = await stage.command(who, ['-R', file]);
    await stage.command('rival', ['-C'], output);
    const made = Number(readFileSync(output, 'utf8'));
    if (made !== lines) throw new Error(`-R made ${made} of ${lines} flows`);
    add(who, { ...TIME, name: `-R of ${lines / 1000} k saved lines` }, ms);
  }
}

async function events(stage: Stage, count: number, rate: number, add: Add): Promise<void> {
  const report = (who: Who, name: string, { lost, cpu }: Followed): void => {
    const low = { ...COMMON, better: 'lower' } as const;
    add(who, { ...low, name: `${name}, not printed`, unit: '% of the events' }, lost);
    add(who, { ...low, name: `${name}, CPU an event`, unit: 'µs CPU' }, cpu);
  };
  const name = `-E at ${rate / 1000} k/s`;
  const same = `${name}, the same buffer`;
  report('ours', name, await follow(stage, PROGRAMS.ours, ['-E'], count, rate));
  const buffer = `${systemBuffer() / 2}`; // the kernel doubles it
  const args = ['-E', '-b', buffer];
  report('ours', same, await follow(stage, PROGRAMS.ours, args, count, rate));
  const theirs = await follow(stage, PROGRAMS.rival, ['-E'], count, rate);
  for (const each of [name, same]) report('rival', each, theirs);
}

/** Bytes of a socket's receive buffer when nobody sets it. */
function systemBuffer(): number {
  return Number(readFileSync('/proc/sys/net/core/rmem_default', 'utf8'));
}

interface Followed {
  /** Percent of the events. */
  lost: number;
  /** Microseconds of CPU an event that was printed. */
  cpu: number;
}

/** Lets a command follow `count` new flows into a file. */
async function follow(
  stage: Stage,
  program: string,
  args: string[],
  count: number,
  rate: number,
): Promise<Followed> {
  await stage.empty();
  const output = openSync(stage.file('events'), 'w');
  const child = stage.ns.spawn(program, args, { stdio: ['ignore', output, 'pipe'] });
  try {
    let stderr = '';
    child.stderr!.on('data', (chunk) => {
      stderr += chunk;
    });
    const pid = child.pid!;
    const ended = new Promise((resolve) => child.once('close', resolve));
    await waitFor(() => follows(pid), { for: `${program} -E to listen` });
    const before = await atRest(pid);
    await stage.create(count, rate, EVENT_BURST);
    const after = await atRest(pid);
    child.kill('SIGINT');
    await ended;
    const shown = Number(/(\d+) flow events have been shown/.exec(stderr)?.[1]);
    return { lost: (1 - shown / count) * 100, cpu: (after - before) / shown / 1000 };
  } finally {
    child.kill('SIGKILL');
    closeSync(output);
  }
}

/** Waits until a process computes no more; its CPU time then. */
async function atRest(pid: number): Promise<number> {
  let seen = Number.NEGATIVE_INFINITY;
  await waitFor(
    () => {
      const now = cpuTime(pid);
      const resting = now - seen < QUIET;
      seen = now;
      return resting;
    },
    { for: 'the follower to rest', every: 100 },
  );
  return seen;
}

/** Whether a netlink socket of flow events is open in the namespace of the process. */
function follows(pid: number): boolean {
  const [, ...rows] = readFileSync(`/proc/${pid}/net/netlink`, 'utf8').trim().split('\n');
  return rows.some((row) => {
    const [, protocol, , groups = '0'] = row.trim().split(/\s+/);
    return protocol === '12' && Number.parseInt(groups, 16) !== 0;
  });
}

function expectCount(text: string, wanted: number, what: string): void {
  if (!text.includes(`: ${wanted} ${what}`)) throw new Error(`not ${wanted} ${what}: ${text}`);
}
