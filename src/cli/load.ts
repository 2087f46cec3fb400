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
// Of a request nothing is kept but its bytes, and of a batch where it lies and with which line it
// begins: which line a refused request came from is looked up in the text.
//
//   memory, from OUTPUT on:  addresses of templates, templates │ REQUESTS: the file, requests

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import {
  MADE_LAST,
  MADE_SIZE,
  MADE_TEXT,
  REQUEST_MARGIN,
  TEXT_MARGIN,
} from '../../assembly/template-layout.js';
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
const TABLE = OUTPUT;
const MADE = TABLE + TEMPLATES * 4;
const TEMPLATE_AREA = (MADE + MADE_SIZE + 1023) & ~1023;
const TEMPLATE_STRIDE = (SIZE_MAX + 1023) & ~1023;
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

/** Encoded requests that are sent at once; a request's sequence number is its position. */
interface Batch {
  readonly kind: 'batch';
  /** Where the first and the last request lie, and where that ends. */
  readonly from: number;
  last: number;
  to: number;
  count: number;
  /** Number and address of the first request's line. */
  readonly line: number;
  readonly text: number;
}

/** A command that is carried out on its own, or many creations. */
type Step = { readonly kind: 'command'; readonly request: Request; readonly line: number } | Batch;

/** Carries out a file ("-": standard input); returns the exit status. */
export async function loadFile(file: string): Promise<number> {
  const kernel = new FlowKernel(64);
  try {
    const plan = new Plan(kernel, file, readText(kernel, file));
    for (const step of plan.steps) {
      if (step.kind === 'batch') plan.create(step);
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
  /** Where the next request goes. */
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
      if (made > 0) {
        line += made;
        at = this.kernel.view.getUint32(MADE + MADE_TEXT, true);
        continue;
      }
      const { bytes } = this.kernel;
      const stop = lineEnd(bytes, at, textEnd);
      const start = lineStart(bytes, at, stop);
      if (start < stop) this.add(lineText(bytes, start, stop), line, at);
      at = stop + 1;
      line++;
    }
  }

  /** Lines like one before, from `at` on: their requests are copied and patched. Returns how many. */
  private addByTemplates(at: number, line: number): number {
    const { kernel, templates, textEnd, end } = this;
    if (templates === 0) return 0;
    const open = this.openBatch();
    const sequence = open?.count ?? 0;
    const most = BATCH - sequence;
    kernel.reserve(end + most * MESSAGE_MAX + REQUEST_MARGIN);
    const { core } = kernel;
    const made = core.requestsOfLines(at, textEnd, TABLE, templates, end, sequence, most, MADE);
    if (made > 0) this.extend(made, kernel.view.getUint32(MADE + MADE_LAST, true), line, at);
    return made;
  }

  /** The batch that has room for another request. */
  private openBatch(): Batch | undefined {
    const last = this.steps.at(-1);
    return last?.kind === 'batch' && last.count < BATCH ? last : undefined;
  }

  /** The `count` requests at `end` join the batch that is open, or begin one. */
  private extend(count: number, last: number, line: number, text: number): void {
    const from = this.end;
    let batch = this.openBatch();
    if (batch === undefined) {
      batch = { kind: 'batch', from, last, to: from, count: 0, line, text };
      this.steps.push(batch);
    }
    batch.count += count;
    batch.last = last;
    this.end = last + this.kernel.view.getUint32(last, true);
    batch.to = this.end;
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
    const { kernel, end } = this;
    kernel.reserve(end + MESSAGE_MAX);
    const sequence = this.openBatch()?.count ?? 0;
    const length = encodeCreate(kernel.message, end, request, true, false, sequence);
    this.learn(line, kernel.bytes.slice(end, end + length));
    this.extend(1, end, number, text);
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

  /** Carries out the creations of a batch. Throws at the first that fails. */
  create({ from, last, to, count, line, text }: Batch): void {
    const { kernel } = this;
    this.setFlags(last, 0, NLM_F_ACK);
    const refused = new Map<number, number>();
    kernel.transact(from, to - from, 0, (position, error) => {
      if (error !== 0) refused.set(position, error);
    });
    if (refused.size > 0) this.settle([...this.creations(from, count, line, text)], refused);
  }

  private setFlags(at: number, clear: number, set: number): void {
    const { view } = this.kernel;
    view.setUint16(at + 6, (view.getUint16(at + 6, true) & ~clear) | set, true);
  }

  /** The requests of a batch with their lines, which are read once more: only when one failed. */
  private *creations(at: number, count: number, line: number, text: number): Generator<Creation> {
    const { kernel, textEnd } = this;
    for (let found = 0; found < count; line++) {
      const stop = lineEnd(kernel.bytes, text, textEnd);
      const start = lineStart(kernel.bytes, text, stop);
      if (start < stop) {
        const words = splitWords(lineText(kernel.bytes, start, stop));
        const length = kernel.view.getUint32(at, true);
        yield { at, length, line, request: parseCommandLine(words, { warn: () => {} }) };
        at += length;
        found++;
      }
      text = stop + 1;
    }
  }

  /** Makes updates of what existed, and of a failure the end of everything. */
  private settle(creations: readonly Creation[], refused: ReadonlyMap<number, number>): void {
    for (const [position, creation] of creations.entries()) {
      let error = refused.get(position) ?? 0;
      const { command } = creation.request;
      if (error === EEXIST && command === 'add') error = this.update(creation);
      if (error === 0) continue;
      this.takeBack(creations.filter((_, i) => i > position && !refused.has(i)));
      throw this.located(new KernelError(error).failed(command as Operation), creation.line);
    }
  }

  /** Sends a request again, allowed to update; the errno or 0. */
  private update({ at, length }: Creation): number {
    this.setFlags(at, NLM_F_EXCL, NLM_F_ACK);
    let reason = 0;
    this.kernel.transact(at, length, 0, (_, error) => {
      reason ||= error;
    });
    return reason;
  }

  /** Deletes what was created behind a failure. */
  private takeBack(creations: readonly Creation[]): void {
    const { kernel, end } = this;
    kernel.reserve(end + MESSAGE_MAX);
    for (const { request } of creations) {
      const length = encodeUndo(kernel.message, end, request, 0);
      kernel.transact(end, length, 0, () => {}); // it may have expired: gone is gone
    }
  }
}

/** A request of a batch and where it came from. */
interface Creation {
  readonly at: number;
  readonly length: number;
  readonly line: number;
  readonly request: Request;
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
