// -R: the command lines of a file, all read and checked before the first is carried out. Then in
// order, until one fails; what was done before stays done.
//
// Consecutive -I and -A are many requests in one send (the kernel takes them four times as fast as
// one by one). Stopping at the first failure still holds: every request of a batch may only create.
// An -A whose flow exists is refused then, and made an update on its own; what was created behind
// the first real failure is deleted again.
//
// The file is read into the kernel's memory (kernel.ts), where the module makes requests of all lines
// that are like one before (template.ts); only the others are words and objects here.
//
//   batch:  create  create  exists(-A)  create  REFUSED  create  create
//             ok      ok     → update     ok     error    └── taken back
//
//   memory, from OUTPUT on:  addresses of templates, templates, places │ REQUESTS: the file, requests

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { TEXT_MARGIN } from '../../assembly/template-layout.js';
import { CommandError, type Operation, PREFIX, usageError } from './complain.js';
import { encodeCreate, encodeUndo } from './encode.js';
import { FlowKernel } from './flow-kernel.js';
import { Kernel, KernelError, OUTPUT, REQUESTS } from './kernel.js';
import { lineEnd, lineStart, lineText, splitWords } from './lines.js';
import { MESSAGE_MAX, MessageWriter, NLM_F_ACK, NLM_F_EXCL } from './message.js';
import type { CommandName } from './options.js';
import { parseCommandLine } from './parse.js';
import type { Request } from './request.js';
import { makeTemplate, SIZE_MAX } from './template.js';
import { toStderr } from './write.js';

const { EEXIST } = constants.errno;
/** Requests of one send. Their errors fit the receive buffer many times over. */
const BATCH = 256;
/** Templates kept, and lines that may be tried for one. */
const TEMPLATES = 16;
const TEMPLATE_ATTEMPTS = 256;
/** Lines of one call of the module. */
const MOST = 4096;
const TABLE = OUTPUT;
const TEMPLATE_AREA = OUTPUT + 1024;
const TEMPLATE_STRIDE = (SIZE_MAX + 1023) & ~1023;
const PLACES = TEMPLATE_AREA + TEMPLATES * TEMPLATE_STRIDE;
/** Bytes read at least at a time. */
const CHUNK = 2 ** 20;

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
  const kernel = new FlowKernel(64);
  try {
    const plan = new Plan(kernel, file, readText(kernel, file));
    for (const step of plan.steps) {
      if (step.kind === 'creations') plan.create(step.from, step.to);
      else await runAlone(plan, step.request, step.line);
    }
    return 0;
  } finally {
    kernel.close();
  }
}

/** Reads the file to REQUESTS; returns where it ends. */
function readText(kernel: Kernel, file: string): number {
  let end = REQUESTS;
  try {
    const fd = file === '-' ? 0 : openSync(file, 'r');
    kernel.reserve(end + fstatSync(fd).size + CHUNK);
    for (;;) {
      kernel.reserve(end + CHUNK);
      const room = kernel.bytes.length - TEXT_MARGIN - end;
      const count = readSync(fd, kernel.bytes, end, room, null);
      if (count === 0) break;
      end += count;
    }
    if (fd !== 0) closeSync(fd);
  } catch {
    throw usageError(`Failed to open file ${file} for reading`);
  }
  return end;
}

async function runAlone(plan: Plan, request: Request, line: number): Promise<void> {
  if (request.command === 'flush') {
    toStderr(`${PREFIX}connection tracking table has been emptied.\n`);
    const { flush } = await import('./single.js');
    plan.attempt(line, (kernel) => flush(kernel, request));
    return;
  }
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
  /** Address of each request, and behind the last; number and address of its line. */
  private readonly places: number[] = [];
  private readonly lines: number[] = [];
  private readonly texts: number[] = [];
  private end: number;
  private output = 0;
  private templates = 0;
  private attempts = 0;

  /** Reads the text from REQUESTS to `textEnd`; requests come behind it. */
  constructor(
    private readonly kernel: FlowKernel,
    private readonly file: string,
    private readonly textEnd: number,
  ) {
    this.end = (textEnd + TEXT_MARGIN + 63) & ~63;
    let line = 1;
    for (let at = REQUESTS; at < textEnd; ) {
      const made = this.addByTemplates(at, line);
      line += made;
      if (made > 0) {
        at = this.kernel.view.getUint32(PLACES + made * 8 - 4, true);
        continue;
      }
      const { bytes } = this.kernel;
      const stop = lineEnd(bytes, at, textEnd);
      const start = lineStart(bytes, at, stop);
      if (start < stop) this.add(lineText(bytes, start, stop), line, start);
      at = stop + 1;
      line++;
    }
    this.places.push(this.end);
  }

  /** Lines like one before, from `at` on: their requests are copied and patched. Returns how many. */
  private addByTemplates(at: number, line: number): number {
    const { kernel, templates, textEnd } = this;
    if (templates === 0) return 0;
    kernel.reserve(this.end + MOST * MESSAGE_MAX);
    const first = this.end;
    const made = kernel.core.requestsOfLines(at, textEnd, TABLE, templates, first, PLACES, MOST);
    if (made === 0) return 0;
    const found = new Uint32Array(kernel.bytes.buffer, PLACES, made * 2);
    for (let i = 0; i < made; i++) {
      this.places.push(found[i * 2]!);
      this.lines.push(line + i);
      this.texts.push(i === 0 ? at : found[i * 2 - 1]!);
    }
    const last = found[made * 2 - 2]!;
    this.end = last + kernel.view.getUint32(last, true);
    this.extend(made);
    return made;
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

  /** A line by itself, the long way. */
  private add(line: string, number: number, text: number): void {
    try {
      this.parse(line, number, text);
    } catch (error) {
      throw this.located(error, number);
    }
  }

  private parse(line: string, number: number, text: number): void {
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
    this.places.push(this.end);
    this.lines.push(number);
    this.texts.push(text);
    this.end += length;
    this.extend(1);
  }

  /** The last `count` requests belong to the run of creations that is open, or begin one. */
  private extend(count: number): void {
    const to = this.places.length;
    const last = this.steps.at(-1);
    if (last?.kind === 'creations') last.to = to;
    else this.steps.push({ kind: 'creations', from: to - count, to });
  }

  /** Makes a template of a line that none fits, as long as that is worth the trying. */
  private learn(line: string, request: Uint8Array): void {
    if (this.attempts >= TEMPLATE_ATTEMPTS) return;
    const template = makeTemplate(line, request, encodeLine);
    const index = this.attempts++ % TEMPLATES;
    if (template === undefined) return;
    const { bytes, view } = this.kernel;
    const slot = this.templates < TEMPLATES ? this.templates++ : index;
    const at = TEMPLATE_AREA + slot * TEMPLATE_STRIDE;
    template.place(bytes, view, at);
    view.setUint32(TABLE + slot * 4, at, true);
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
    const { bytes } = this.kernel;
    const start = this.texts[i]!;
    const line = lineText(bytes, start, lineEnd(bytes, start, this.textEnd));
    return parseCommandLine(splitWords(line), { warn: () => {} });
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
