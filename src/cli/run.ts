// One command line from end to end: what it asks for is done, counted and summed up. Loads only what
// the command needs: the system calls are not loaded to print help. docs/conntrack.md.

import { CommandError, failure, PREFIX, VERSION } from './complain.js';
import type { Kernel } from './kernel.js';
import { parseCommandLine } from './parse.js';
import type { Request } from './request.js';

const complain = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

const summary = (text: string): void => complain(PREFIX + text);

/** Runs the command line `argv` (without the program); returns the exit status. */
export async function runCommand(argv: readonly string[], program: string): Promise<number> {
  try {
    return await run(argv, program);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    process.stderr.write(error.text);
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
      process.stdout.write(helpText(program, request.choice));
      return 0;
    }
    case 'version':
      process.stdout.write(`conntrack v${VERSION} (conntrack-tools)\n`);
      return 0;
    case 'top': {
      const { showTop } = await import('./top/top.js');
      return showTop(request);
    }
    case 'event': {
      const { EVENT_PAGES, followEvents } = await import('./events.js');
      const { Kernel } = await import('./kernel.js');
      return followEvents(new Kernel(EVENT_PAGES), request);
    }
    default:
      return runOnKernel(request);
  }
}

async function runOnKernel(request: Request): Promise<number> {
  const { Kernel } = await import('./kernel.js');
  const kernel = new Kernel();
  try {
    return await (request.table === 'expect'
      ? runExpect(kernel, request)
      : runFlows(kernel, request));
  } finally {
    kernel.close();
  }
}

async function runFlows(kernel: Kernel, request: Request): Promise<number> {
  switch (request.command) {
    case 'list': {
      const { listFlows } = await import('./list.js');
      summary(`${listFlows(kernel, request)} flow entries have been shown.`);
      return 0;
    }
    case 'delete': {
      const { deleteFlows } = await import('./modify.js');
      return counted(deleteFlows(kernel, request), 'deleted');
    }
    case 'update': {
      const { updateFlows } = await import('./modify.js');
      return counted(updateFlows(kernel, request), 'updated');
    }
    default:
      return runSingle(kernel, request);
  }
}

async function runSingle(kernel: Kernel, request: Request): Promise<number> {
  const single = await import('./single.js');
  switch (request.command) {
    case 'create':
      single.createFlow(kernel, request);
      return counted(1, 'created');
    case 'add':
      single.createFlow(kernel, request);
      return counted(1, 'added');
    case 'get':
      return counted(single.getFlow(kernel, request), 'shown');
    case 'flush':
      summary('connection tracking table has been emptied.');
      single.flush(kernel, request);
      return 0;
    case 'count':
      return withFallback(
        () => [`${single.countFlows(kernel, request)}`],
        () => [single.countBySysctl() ?? '0'],
      );
    case 'stats':
      return withFallback(
        () => single.statistics(kernel, request),
        () => single.statisticsByFile(false),
      );
    default:
      throw failure(`no such command: ${request.command}`);
  }
}

async function runExpect(kernel: Kernel, request: Request): Promise<number> {
  const single = await import('./single.js');
  switch (request.command) {
    case 'list': {
      const { listExpects } = await import('./list.js');
      summary(`${listExpects(kernel, request)} expectations have been shown.`);
      return 0;
    }
    case 'create':
      single.createExpect(kernel, request);
      return 0;
    case 'delete':
      single.deleteExpect(kernel, request);
      summary('1 expectations have been shown.');
      return 0;
    case 'get':
      single.getExpect(kernel, request);
      return 0;
    case 'flush':
      summary('expectation table has been emptied.');
      single.flush(kernel, request);
      return 0;
    case 'count':
      process.stdout.write(`${single.countExpects(kernel, request)}\n`);
      return 0;
    case 'stats':
      return withFallback(
        () => single.statistics(kernel, request),
        () => single.statisticsByFile(true),
      );
    default:
      throw failure(`no such command: ${request.command}`);
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
    for (const line of read()) process.stdout.write(`${line}\n`);
    throw error;
  }
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
  return 0;
}
