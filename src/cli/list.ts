// -L: the kernel's tables as they are, in bounded memory: a datagram of the kernel (32 KiB) is
// decoded, selected, written as lines, and forgotten. Nothing waits but standard output.

import { EXP_GET } from './attributes.js';
import { encodeBare, encodeDump } from './encode.js';
import { attempting, EXPECT, FLOW, type Kernel, REQUESTS } from './kernel.js';
import { ExpectPrinter, FlowPrinter } from './output.js';
import type { Request } from './request.js';
import { compileSelection } from './select.js';
import { Sink } from './sink.js';

/** Goes through the flows that a request selects; the flow lies at FLOW during the call. */
export function eachFlow(
  kernel: Kernel,
  request: Request,
  visit: (message: number, size: number) => void,
  datagram?: () => void,
): void {
  const { core, message } = kernel;
  const selected = compileSelection(request, kernel.bytes, kernel.view, FLOW);
  const sequence = kernel.takeSequence();
  const length = encodeDump(message, REQUESTS, request, true, sequence);
  kernel.dump(
    REQUESTS,
    length,
    (at, size) => {
      if (core.decodeFlow(at, size, FLOW) !== 0) return;
      if (selected === undefined || selected()) visit(at, size);
    },
    datagram,
  );
}

/** -L on flow tables; returns the number of flows. */
export function listFlows(kernel: Kernel, request: Request): number {
  return attempting('list', false, () => {
    const printer = new FlowPrinter(kernel, new Sink(kernel), request, { document: true });
    const now = Math.trunc(Date.now() / 1000);
    let count = 0;
    try {
      eachFlow(kernel, request, () => {
        printer.print(now);
        count++;
      });
    } finally {
      printer.close();
    }
    return count;
  });
}

/** Goes through the expectations of a family (0: all). */
export function eachExpect(kernel: Kernel, family: number, visit: () => void): void {
  const { core, message } = kernel;
  const sequence = kernel.takeSequence();
  const length = encodeBare(message, REQUESTS, EXP_GET, true, family, sequence);
  kernel.dump(REQUESTS, length, (at, size) => {
    if (core.decodeExpect(at, size, EXPECT) === 0) visit();
  });
}

/** -L expect; returns the number of expectations. */
export function listExpects(kernel: Kernel, request: Request): number {
  return attempting('list', true, () => {
    const printer = new ExpectPrinter(kernel, new Sink(kernel), request, { document: true });
    let count = 0;
    try {
      eachExpect(kernel, request.family, () => {
        printer.print();
        count++;
      });
    } finally {
      printer.close();
    }
    return count;
  });
}
