// -R: the command lines of a file, all read and checked before the first is carried out. Then in
// order, until one fails; what was done before stays done.
//
// Consecutive -I and -A are many requests in one send (the kernel takes them four times as fast as
// one by one). Stopping at the first failure still holds: every request of a batch may only create.
// An -A whose flow exists is refused then, and made an update on its own; what was created behind
// the first real failure is deleted again.
//
//   batch:  create  create  exists(-A)  create  REFUSED  create  create
//             ok      ok     → update     ok     error    └── taken back

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { CommandError, type Operation, PREFIX, usageError } from './complain.js';
import { encodeCreate, encodeUndo } from './encode.js';
import { Kernel, KernelError, REQUESTS } from './kernel.js';
import { eachLine, lineText, splitWords } from './lines.js';
import { MESSAGE_MAX, MessageWriter, NLM_F_ACK, NLM_F_EXCL } from './message.js';
import type { CommandName } from './options.js';
import { parseCommandLine } from './parse.js';
import type { Request } from './request.js';
import { makeTemplate, type Template } from './template.js';
import { toStderr } from './write.js';

const { EEXIST } = constants.errno;
/** Requests of one send. Their errors fit the receive buffer many times over. */
const BATCH = 256;
/** Templates kept, and lines that may be tried for one. */
const TEMPLATES = 16;
const TEMPLATE_ATTEMPTS = 256;

const LETTERS: Partial<Record<CommandName, string>> = {
  list: '-L',
  get: '-G',
  delete: '-D',
  create: '-I',
  update: '-U',
  event: '-E',
  flush: '-F',
  count: '-C',
  stats: '-S',
  version: '-V',
  help: '-h',
  top: '--top',
};
const ALLOWED: readonly (CommandName | undefined)[] = [
  'create',
  'add',
  'update',
  'delete',
  'flush',
];

/** A command that is carried out on its own, or a run of encoded requests. */
type Step =
  | { readonly kind: 'command'; readonly request: Request; readonly line: number }
  | { readonly kind: 'creations'; readonly from: number; to: number };

/** Carries out a file ("-": standard input); returns the exit status. */
export async function loadFile(file: string): Promise<number> {
  const kernel = new Kernel(64);
  try {
    const plan = new Plan(kernel, file, readText(file));
    for (const step of plan.steps) {
      if (step.kind === 'creations') plan.create(step.from, step.to);
      else await runAlone(plan, step.request, step.line);
    }
    return 0;
  } finally {
    kernel.close();
  }
}

function readText(file: string): Uint8Array {
  try {
    return readFileSync(file === '-' ? 0 : file);
  } catch {
    throw usageError(`Failed to open file ${file} for reading`);
  }
}

async function runAlone(plan: Plan, request: Request, line: number): Promise<void> {
  if (request.command === 'flush') {
    toStderr(`${PREFIX}connection tracking table has been emptied.\n`);
    const { flush } = await import('./single.js');
    plan.attempt(line, (kernel) => flush(kernel, request));
    return;
  }
  const { FlowKernel } = await import('./flow-kernel.js');
  const { deleteFlows, updateFlows } = await import('./modify.js');
  const kernel = new FlowKernel();
  try {
    await (request.command === 'delete' ? deleteFlows : updateFlows)(kernel, request);
  } catch (error) {
    throw plan.located(error, line);
  } finally {
    kernel.close();
  }
}

class Plan {
  readonly steps: Step[] = [];
  /** Address and line of each encoded request. */
  private readonly places: number[] = [];
  private readonly lines: number[] = [];
  private end = REQUESTS;
  private output = 0;
  /** Templates of lines, the one that fitted last first. */
  private readonly templates: Template[] = [];
  private attempts = 0;

  constructor(
    private readonly kernel: Kernel,
    private readonly file: string,
    private readonly text: Uint8Array,
  ) {
    eachLine(text, (start, end, line) => {
      try {
        if (!this.addByTemplate(start, end, line)) this.add(lineText(text, start, end), line);
      } catch (error) {
        throw this.located(error, line);
      }
    });
    this.places.push(this.end);
  }

  /** A line like one before: its request is copied and patched. */
  private addByTemplate(start: number, end: number, line: number): boolean {
    const { templates, kernel } = this;
    for (let i = 0; i < templates.length; i++) {
      const template = templates[i]!;
      if (!template.fits(this.text, start, end)) continue;
      if (i > 0) {
        templates.splice(i, 1);
        templates.unshift(template);
      }
      kernel.reserve(this.end + MESSAGE_MAX);
      template.write(kernel.bytes, this.end);
      this.addRequest(template.length, line);
      return true;
    }
    return false;
  }

  /** The error with the line that it is about. */
  located(error: unknown, line: number): unknown {
    return error instanceof CommandError ? error.at(`${this.file}, line ${line}`) : error;
  }

  /** Does something for a line; an error bears its number. */
  attempt(line: number, body: (kernel: Kernel) => void): void {
    const kernel = new Kernel(); // requests fill the other one
    try {
      body(kernel);
    } catch (error) {
      throw this.located(error, line);
    } finally {
      kernel.close();
    }
  }

  private add(line: string, number: number): void {
    const warn = (text: string) => {
      toStderr(`${text}\n`);
    };
    const request = parseCommandLine(splitWords(line), { warn, output: this.output });
    this.output = request.output;
    const { command, table } = request;
    if (!ALLOWED.includes(command) || table === 'expect') {
      const name = command === undefined ? 'unknown' : (LETTERS[command] ?? '-A');
      const where = table === 'expect' ? ' expect' : '';
      throw usageError(`Cannot use command \`${name}${where}' with --load-file`);
    }
    if (command !== 'create' && command !== 'add') {
      this.steps.push({ kind: 'command', request, line: number });
      return;
    }
    const { kernel } = this;
    kernel.reserve(this.end + MESSAGE_MAX);
    const length = encodeCreate(kernel.message, this.end, request, true, false, 0);
    this.learn(line, kernel.bytes.slice(this.end, this.end + length));
    this.addRequest(length, number);
  }

  private addRequest(length: number, line: number): void {
    const index = this.places.length;
    this.places.push(this.end);
    this.lines.push(line);
    this.end += length;
    const last = this.steps.at(-1);
    if (last?.kind === 'creations') last.to = index + 1;
    else this.steps.push({ kind: 'creations', from: index, to: index + 1 });
  }

  /** Makes a template of a line that none fits, as long as that is worth the trying. */
  private learn(line: string, request: Uint8Array): void {
    if (this.attempts++ >= TEMPLATE_ATTEMPTS) return;
    const template = makeTemplate(line, request, encodeLine);
    if (template === undefined) return;
    this.templates.unshift(template);
    if (this.templates.length > TEMPLATES) this.templates.pop();
  }

  /** Carries out the creations of these indices. Throws at the first that fails. */
  create(from: number, to: number): void {
    for (let at = from; at < to; at += BATCH) this.createBatch(at, Math.min(to, at + BATCH));
  }

  private createBatch(from: number, to: number): void {
    const { kernel, places } = this;
    for (let i = from; i < to; i++) kernel.view.setUint32(places[i]! + 8, i - from, true);
    this.setFlag(to - 1, NLM_F_ACK);
    const refused = new Map<number, number>();
    kernel.transact(places[from]!, places[to]! - places[from]!, 0, (position, error) => {
      if (error !== 0) refused.set(from + position, error);
    });
    if (refused.size > 0) this.settle(from, to, refused);
  }

  private setFlag(index: number, flag: number): void {
    const at = this.places[index]! + 6;
    this.kernel.view.setUint16(at, this.kernel.view.getUint16(at, true) | flag, true);
  }

  /** Makes updates of what existed, and of a failure the end of everything. */
  private settle(from: number, to: number, refused: ReadonlyMap<number, number>): void {
    for (let i = from; i < to; i++) {
      let error = refused.get(i) ?? 0;
      if (error === EEXIST && this.request(i).command === 'add') error = this.update(i);
      if (error === 0) continue;
      this.takeBack(i + 1, to, refused);
      const operation = this.request(i).command as Operation;
      throw this.located(new KernelError(error).failed(operation), this.lines[i]!);
    }
  }

  /** Sends request `i` again, allowed to update; the errno or 0. */
  private update(i: number): number {
    const { kernel, places } = this;
    const at = places[i]!;
    const flags = (kernel.view.getUint16(at + 6, true) & ~NLM_F_EXCL) | NLM_F_ACK;
    kernel.view.setUint16(at + 6, flags, true);
    let reason = 0;
    kernel.transact(at, places[i + 1]! - at, 0, (_, error) => {
      reason ||= error;
    });
    return reason;
  }

  /** Deletes what was created behind a failure. */
  private takeBack(from: number, to: number, refused: ReadonlyMap<number, number>): void {
    const { kernel } = this;
    const free = this.places.at(-1)!;
    kernel.reserve(free + MESSAGE_MAX);
    for (let i = from; i < to; i++) {
      if (refused.has(i)) continue;
      const length = encodeUndo(kernel.message, free, this.request(i), 0);
      kernel.transact(free, length, 0, () => {}); // it may have expired: gone is gone
    }
  }

  /** The command line of request `i`, read once more: needed only when something failed. */
  private request(i: number): Request {
    let found: Request | undefined;
    eachLine(this.text, (start, end, line) => {
      if (line === this.lines[i]) {
        const words = splitWords(lineText(this.text, start, end));
        found = parseCommandLine(words, { warn: () => {} });
      }
    });
    return found!;
  }
}

const scratch = new Uint8Array(MESSAGE_MAX);
const scratchWriter = new MessageWriter(scratch, new DataView(scratch.buffer));

/** The request of one line by itself. */
function encodeLine(line: string): Uint8Array | undefined {
  try {
    const request = parseCommandLine(splitWords(line), { warn: () => {} });
    return scratch.slice(0, encodeCreate(scratchWriter, 0, request, true, false, 0));
  } catch {
    return undefined; // a probe that the parser refuses: no template
  }
}
