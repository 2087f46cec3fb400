// Flows on standard output in the form that was asked for. The plain forms are written by the module
// straight into the output (assembly/text.ts, assembly/save.ts); the others are made by src/report
// (forms.ts), which is loaded only then. A printer serves one command; it keeps only whether a document
// was begun.

import { HAS_LABELS, SAW_TIME_EVENT } from '../../assembly/layout.js';
import {
  LINE_EVENT,
  LINE_FAMILY,
  LINE_ID,
  LINE_MAX,
  WORD_SAVE_DESTROY,
  WORD_SAVE_NEW,
  WORD_SAVE_UPDATE,
} from '../../assembly/text-layout.js';
import type { EventKind } from '../report/names.js';
import type { FlowReader } from '../report/reader.js';
import { FLOW, type FlowKernel } from './flow-kernel.js';
import type { Form, labelField } from './forms.js';
import type { Request } from './request.js';
import type { Sink } from './sink.js';
import {
  OUT_ALIGN,
  OUT_COLOR,
  OUT_EXTENDED,
  OUT_ID,
  OUT_JSON,
  OUT_KTIMESTAMP,
  OUT_SAVE,
  OUT_TIMESTAMP,
  OUT_WHOLE,
  OUT_XML,
} from './values.js';

const XML_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>';
/** Forms that the module does not write, but for OUT_SAVE by itself. */
const INDIRECT = OUT_XML | OUT_SAVE | OUT_JSON | OUT_KTIMESTAMP | OUT_COLOR | OUT_ALIGN | OUT_WHOLE;
const SAVE_WORDS: Readonly<Record<EventKind, number>> = {
  new: WORD_SAVE_NEW,
  update: WORD_SAVE_UPDATE,
  destroy: WORD_SAVE_DESTROY,
};
const MICROSECOND = 1000n;
const SECOND = 1_000_000_000n;

/** What a printer is made for. */
export interface Purpose {
  /** Lines of events: tag, time, and who caused them. */
  readonly events?: boolean;
  /** Whether an XML document is begun and ended around the entries. */
  readonly document?: boolean;
  /** Whether labels may be shown. */
  readonly labels?: boolean;
  /** What `-o save` makes of a flow that is no event. */
  readonly saved?: EventKind;
}

/** The program behind the port of a netlink socket, if it can be found. */
export type ProgramName = (port: number) => string | undefined;

export abstract class Printer {
  private opened = false;

  constructor(
    protected readonly sink: Sink,
    protected readonly output: number,
    protected readonly purpose: Purpose,
    private readonly root: string,
  ) {}

  /** Begins the document before its first entry. */
  protected open(): void {
    if (this.opened || !(this.output & OUT_XML) || !this.purpose.document) return;
    this.opened = true;
    this.sink.line(XML_DECLARATION);
    this.sink.line(`<${this.root}>`);
  }

  /** Ends the document, if one was begun, and writes everything out. */
  close(): void {
    if (this.opened) this.sink.line(`</${this.root}>`);
    this.sink.flush();
  }
}

export class FlowPrinter extends Printer {
  private readonly flow: FlowReader;
  private readonly lineOptions: number;

  private constructor(
    private readonly kernel: FlowKernel,
    sink: Sink,
    output: number,
    purpose: Purpose,
    private readonly form: Form | undefined,
    private readonly labels: ReturnType<typeof labelField> | undefined,
    private readonly programName: ProgramName | undefined,
  ) {
    super(sink, output, purpose, 'conntrack');
    this.flow = kernel.flow();
    this.lineOptions =
      (purpose.events ? LINE_EVENT : 0) |
      (output & OUT_EXTENDED ? LINE_FAMILY : 0) |
      (output & OUT_ID ? LINE_ID : 0);
  }

  /** A printer of the flow that lies at FLOW, with what it needs loaded. */
  static async make(
    kernel: FlowKernel,
    sink: Sink,
    request: Request,
    purpose: Purpose,
    programName?: ProgramName,
  ): Promise<FlowPrinter> {
    const { output } = request;
    const saves = (output & INDIRECT) === OUT_SAVE;
    const indirect = !saves && (output & INDIRECT) !== 0;
    const map = purpose.labels === false || saves ? undefined : request.labelMap;
    const forms = indirect || map !== undefined ? await import('./forms.js') : undefined;
    const form = indirect ? forms?.formOf(output, map, purpose.saved) : undefined;
    const labels = map === undefined ? undefined : forms?.labelField(map);
    return new FlowPrinter(kernel, sink, output, purpose, form, labels, programName);
  }

  /** Prints the flow. `now` is in seconds, `received` (ns) the time of an event. */
  print(now: number, received?: bigint): void {
    const { output, form, sink } = this;
    if (form === undefined) {
      this.printLine(now, received);
      return;
    }
    const event = this.purpose.events ? this.flow.event : undefined;
    const time = this.time(received);
    this.open();
    const whole = (output & (OUT_XML | OUT_JSON)) !== 0;
    if (time !== undefined && !whole && !(output & OUT_SAVE)) sink.put(timePrefix(time));
    sink.put(form(this.flow, event, now, time));
    if (!whole) sink.put(this.origin());
    sink.newline();
  }

  private printLine(now: number, received: bigint | undefined): void {
    const { kernel, sink, output } = this;
    const { core, words } = kernel;
    sink.reserve(2 * LINE_MAX);
    const time = this.time(received);
    if (time !== undefined) sink.put(timePrefix(time));
    if (output & OUT_SAVE) {
      sink.at += core.flowSaved(FLOW, sink.at, LINE_MAX, words, SAVE_WORDS[this.saved]);
    } else {
      sink.at += core.flowLine(FLOW, sink.at, LINE_MAX, words, this.lineOptions, now);
    }
    if (this.labels !== undefined && this.flow.has(HAS_LABELS)) sink.put(this.labels(this.flow));
    if (this.purpose.events) sink.put(this.origin());
    sink.newline();
  }

  /** What a saved line tells of the flow. */
  private get saved(): EventKind {
    const { events, saved } = this.purpose;
    return (events ? this.flow.event : saved) ?? 'new';
  }

  /** When an event happened, if that is to be shown: by the kernel's clock if it tells. */
  private time(received: bigint | undefined): bigint | undefined {
    if (received === undefined || !(this.output & OUT_TIMESTAMP)) return undefined;
    return this.flow.saw(SAW_TIME_EVENT) ? this.flow.timeEvent : received;
  }

  /** Who caused the event, with a blank before it. */
  private origin(): string {
    const port = this.purpose.events ? this.flow.portid : 0;
    if (port === 0) return '';
    const name = this.programName?.(port);
    return ` [USERSPACE] portid=${port}${name === undefined ? '' : ` progname=${name}`}`;
  }
}

/** `[seconds.microseconds]` and a tab. */
function timePrefix(time: bigint): string {
  const micros = `${(time % SECOND) / MICROSECOND}`.padStart(6, '0');
  return `[${`${time / SECOND}`.padEnd(8)}.${micros}]\t`;
}
