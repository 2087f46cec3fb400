// -L: the kernel's flow tables as they are, in bounded memory: a datagram of the kernel (32 KiB) is
// decoded, selected, written as lines, and forgotten. Nothing waits but standard output.

import { encodeDump } from './encode.js';
import { FLOW, type FlowKernel } from './flow-kernel.js';
import { attempting, REQUESTS } from './kernel.js';
import { FlowPrinter } from './output.js';
import type { Request } from './request.js';
import { compileSelection } from './select.js';
import { Sink } from './sink.js';

/** Goes through the flows that a request selects; the flow lies at FLOW during the call. */
export function eachFlow(
  kernel: FlowKernel,
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
export async function listFlows(kernel: FlowKernel, request: Request): Promise<number> {
  const printer = await FlowPrinter.make(kernel, new Sink(kernel), request, { document: true });
  const now = Math.trunc(Date.now() / 1000);
  let count = 0;
  try {
    attempting('list', false, () =>
      eachFlow(kernel, request, () => {
        printer.print(now);
        count++;
      }),
    );
  } finally {
    printer.close();
  }
  return count;
}
