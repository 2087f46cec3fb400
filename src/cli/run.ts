// One command line from end to end: what it asks for is done, counted and summed up. Loads only what
// the command needs: the system calls are not loaded to print help. docs/conntrack.md.

import { CommandError, PREFIX, VERSION } from './complain.js';
import type { FlowKernel } from './flow-kernel.js';
import type { Kernel } from './kernel.js';
import type { CommandName } from './options.js';
import { parseCommandLine } from './parse.js';
import type { Request } from './request.js';
import { toStderr, toStdout } from './write.js';

const complain = (line: string): void => {
  toStderr(`${line}\n`);
};

const summary = (text: string): void => complain(PREFIX + text);

/** Runs the command line `argv` (without the program); returns the exit status. */
export async function runCommand(argv: readonly string[], program: string): Promise<number> {
  try {
    return await run(argv, program);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    toStderr(error.text);
    return error.exit;
  }
}

async function run(argv: readonly string[], program: string): Promise<number> {
  const [first, file] = argv;
  if ((first === '-R' || first === '--load-file') && file !== undefined) {
    const { loadFile } = await import('./load.js');
    return loadFile(file);
  }
  const request = parseCommandLine(argv, { warn: complain });
  switch (request.command) {
    case undefined:
    case 'help': {
      const { helpText } = await import('./help.js');
      toStdout(helpText(program, request.choice));
      return 0;
    }
    case 'version':
      toStdout(`conntrack v${VERSION} (conntrack-tools)\n`);
      return 0;
    case 'top': {
      const { showTop } = await import('./top/top.js');
      return showTop(request);
    }
    case 'event': {
      const { EVENT_PAGES, followEvents } = await import('./events.js');
      const { FlowKernel } = await import('./flow-kernel.js');
      return followEvents(new FlowKernel(EVENT_PAGES), request);
    }
    default:
      return runOnKernel(request);
  }
}

/** Commands that only ask: they read no flow. */
const ASKING: readonly (CommandName | undefined)[] = ['create', 'add', 'flush', 'count', 'stats'];

async function runOnKernel(request: Request): Promise<number> {
  const { command, table } = request;
  if (ASKING.includes(command) && !(table === 'expect' && command === 'count')) {
    const { Kernel } = await import('./kernel.js');
    return closing(new Kernel(), (kernel) => runAsking(kernel, request));
  }
  const { FlowKernel } = await import('./flow-kernel.js');
  const run = table === 'expect' ? runExpect : runFlows;
  return closing(new FlowKernel(), (kernel) => run(kernel, request));
}

async function closing<K extends Kernel>(
  kernel: K,
  body: (kernel: K) => Promise<number>,
): Promise<number> {
  try {
    return await body(kernel);
  } finally {
    kernel.close();
  }
}

async function runFlows(kernel: FlowKernel, request: Request): Promise<number> {
  switch (request.command) {
    case 'list': {
      const { listFlows } = await import('./list.js');
      summary(`${await listFlows(kernel, request)} flow entries have been shown.`);
      return 0;
    }
    case 'delete': {
      const { deleteFlows } = await import('./modify.js');
      return counted(await deleteFlows(kernel, request), 'deleted');
    }
    case 'update': {
      const { updateFlows } = await import('./modify.js');
      return counted(await updateFlows(kernel, request), 'updated');
    }
    default: {
      const { getFlow } = await import('./single.js');
      return counted(await getFlow(kernel, request), 'shown');
    }
  }
}

async function runAsking(kernel: Kernel, request: Request): Promise<number> {
  const single = await import('./single.js');
  const expect = request.table === 'expect';
  switch (request.command) {
    case 'create':
      single.create(kernel, request);
      return expect ? 0 : counted(1, 'created');
    case 'add':
      single.create(kernel, request);
      return counted(1, 'added');
    case 'flush':
      summary(`${expect ? 'expectation' : 'connection tracking'} table has been emptied.`);
      single.flush(kernel, request);
      return 0;
    case 'count':
      return withFallback(
        () => [`${single.countFlows(kernel, request)}`],
        () => [single.countBySysctl() ?? '0'],
      );
    default:
      return withFallback(
        () => single.statistics(kernel, request),
        () => single.statisticsByFile(expect),
      );
  }
}

async function runExpect(kernel: FlowKernel, request: Request): Promise<number> {
  const table = await import('./expectations.js');
  switch (request.command) {
    case 'list':
      summary(`${table.listExpects(kernel, request)} expectations have been shown.`);
      return 0;
    case 'delete':
      table.deleteExpect(kernel, request);
      summary('1 expectations have been shown.');
      return 0;
    case 'get':
      table.getExpect(kernel, request);
      return 0;
    default:
      toStdout(`${table.countExpects(kernel, request)}\n`);
      return 0;
  }
}

/** The summary line of a command that must have matched something. */
function counted(count: number, what: string): number {
  summary(`${count} flow entries have been ${what}.`);
  return count === 0 ? 1 : 0;
}

/** Prints what the kernel says over netlink; if it does not, its files, and then the reason. */
function withFallback(ask: () => string[], read: () => string[]): number {
  let lines: string[];
  try {
    lines = ask();
  } catch (error) {
    for (const line of read()) toStdout(`${line}\n`);
    throw error;
  }
  toStdout(lines.map((line) => `${line}\n`).join(''));
  return 0;
}
