// Flows and expectations on standard output in the form that was asked for. The plain forms are
// written by the module straight into the output (assembly/text.ts); the others are made by
// src/report. A printer serves one command; it keeps only whether the head of a document is out.

import { HAS_LABELS, SAW_TIME_EVENT } from '../../assembly/layout.js';
import { LINE_EVENT, LINE_FAMILY, LINE_ID, LINE_MAX } from '../../assembly/text-layout.js';
import { expectJson, expectText, expectXml } from '../report/expect.js';
import { flowText, labelNames } from '../report/flow.js';
import { flowJson } from '../report/json.js';
import type { EventKind, LabelMap } from '../report/names.js';
import type { ExpectReader, FlowReader } from '../report/reader.js';
import { flowSave } from '../report/save.js';
import { SECOND } from '../report/time.js';
import { flowXml } from '../report/xml.js';
import { type Decorate, decorator } from './decorate.js';
import { FLOW, type Kernel } from './kernel.js';
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
  OUT_XML,
} from './values.js';

const XML_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>';

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

abstract class Printer {
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
  private readonly labels: LabelMap | undefined;
  private readonly lineOptions: number;
  private readonly decorate: Decorate | undefined;
  private readonly direct: boolean;

  constructor(
    private readonly kernel: Kernel,
    sink: Sink,
    request: Request,
    purpose: Purpose,
    private readonly programName?: ProgramName,
  ) {
    super(sink, request.output, purpose, 'conntrack');
    const { output } = request;
    this.flow = kernel.flow();
    this.labels = purpose.labels === false ? undefined : request.labelMap;
    this.lineOptions =
      (purpose.events ? LINE_EVENT : 0) |
      (output & OUT_EXTENDED ? LINE_FAMILY : 0) |
      (output & OUT_ID ? LINE_ID : 0);
    this.decorate = decorator((output & OUT_COLOR) !== 0, (output & OUT_ALIGN) !== 0);
    const indirect = OUT_XML | OUT_SAVE | OUT_JSON | OUT_KTIMESTAMP;
    this.direct = !(output & indirect) && this.decorate === undefined;
  }

  /** Prints the flow that lies at FLOW. `now` is in seconds, `received` (ns) the time of an event. */
  print(now: number, received?: bigint): void {
    const { output } = this;
    const event = this.purpose.events ? this.flow.event : undefined;
    if (this.direct) this.printLine(now, received);
    else if (output & OUT_XML) this.printXml(event, now, received);
    else if (output & OUT_JSON) {
      const portid = event !== undefined;
      this.sink.line(flowJson(this.flow, { event, portid, labels: this.labels, now }));
    } else if (output & OUT_SAVE) {
      this.sink.line(flowSave(this.flow, event ?? this.purpose.saved) + this.origin());
    } else this.printText(event, now, received);
  }

  private printLine(now: number, received: bigint | undefined): void {
    const { kernel, sink } = this;
    sink.reserve(2 * LINE_MAX);
    const time = this.time(received);
    if (time !== undefined) sink.put(timePrefix(time));
    sink.at += kernel.core.flowLine(FLOW, sink.at, LINE_MAX, kernel.words, this.lineOptions, now);
    if (this.labels !== undefined && this.flow.has(HAS_LABELS)) sink.put(this.labelText());
    if (this.purpose.events) sink.put(this.origin());
    sink.newline();
  }

  private labelText(): string {
    const names = labelNames(this.flow, this.labels!);
    return names.length > 0 ? ` labels=${names.join(',')}` : ' labels';
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

  private printText(event: EventKind | undefined, now: number, received: bigint | undefined): void {
    const { output } = this;
    const text = flowText(this.flow, {
      event,
      layer3: (output & OUT_EXTENDED) !== 0,
      id: (output & OUT_ID) !== 0,
      ktimestamp: (output & OUT_KTIMESTAMP) !== 0,
      labels: this.labels,
      now,
    });
    const line = text + this.origin();
    const time = this.time(received);
    const shown = this.decorate === undefined ? line : this.decorate(line);
    this.sink.line(time === undefined ? shown : timePrefix(time) + shown);
  }

  private printXml(event: EventKind | undefined, now: number, received: bigint | undefined): void {
    const time = this.time(received);
    this.open();
    this.sink.line(
      flowXml(this.flow, {
        event,
        ktimestamp: (this.output & OUT_KTIMESTAMP) !== 0,
        labels: this.labels,
        when: time === undefined ? undefined : new Date(Number(time / 1_000_000n)),
        now,
      }),
    );
  }
}

/** `[seconds.microseconds]` and a tab. */
function timePrefix(time: bigint): string {
  const micros = `${(time % SECOND) / 1000n}`.padStart(6, '0');
  return `[${`${time / SECOND}`.padEnd(8)}.${micros}]\t`;
}

export class ExpectPrinter extends Printer {
  private readonly expect: ExpectReader;

  constructor(kernel: Kernel, sink: Sink, request: Request, purpose: Purpose) {
    super(sink, request.output, purpose, 'expect');
    this.expect = kernel.expect();
  }

  /** Prints the expectation that lies at EXPECT; `received` (ns) is the time of an event. */
  print(received?: bigint): void {
    const { output, expect } = this;
    const event = this.purpose.events ? expect.event : undefined;
    const time = output & OUT_TIMESTAMP ? received : undefined;
    if (output & OUT_XML) {
      this.open();
      const when = time === undefined ? undefined : new Date(Number(time / 1_000_000n));
      this.sink.line(expectXml(expect, { event, when }));
    } else if (output & OUT_JSON) {
      this.sink.line(expectJson(expect, { event }));
    } else {
      this.sink.line(expectText(expect, { event, received: time }));
    }
  }
}
