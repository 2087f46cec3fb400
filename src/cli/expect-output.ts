// Expectations on standard output: lines, XML or JSON, as output.ts prints flows. Options of output
// other than xml, json and timestamp mean nothing here.

import { expectJson, expectText, expectXml } from '../report/expect.js';
import type { ExpectReader } from '../report/reader.js';
import type { FlowKernel } from './flow-kernel.js';
import { Printer, type Purpose } from './output.js';
import type { Request } from './request.js';
import type { Sink } from './sink.js';
import { OUT_JSON, OUT_TIMESTAMP, OUT_XML } from './values.js';

export class ExpectPrinter extends Printer {
  private readonly expect: ExpectReader;

  constructor(kernel: FlowKernel, sink: Sink, request: Request, purpose: Purpose) {
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
