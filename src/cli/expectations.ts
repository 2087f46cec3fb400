// Commands on the expectation table: list, count, and one by one. As for flows, nothing waits; errors
// are thrown with the words for them.

import { EXP_GET } from './attributes.js';
import { encodeBare, encodeExpectOne } from './encode.js';
import { ExpectPrinter } from './expect-output.js';
import { EXPECT, type FlowKernel } from './flow-kernel.js';
import { attempting, REQUESTS } from './kernel.js';
import type { Request } from './request.js';
import { ask } from './single.js';
import { Sink } from './sink.js';

/** Goes through the expectations of a family (0: all). */
export function eachExpect(kernel: FlowKernel, family: number, visit: () => void): void {
  const { core, message } = kernel;
  const sequence = kernel.takeSequence();
  const length = encodeBare(message, REQUESTS, EXP_GET, true, family, sequence);
  kernel.dump(REQUESTS, length, (at, size) => {
    if (core.decodeExpect(at, size, EXPECT) === 0) visit();
  });
}

/** -L expect; returns the number of expectations. */
export function listExpects(kernel: FlowKernel, request: Request): number {
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

/** -C expect. */
export function countExpects(kernel: FlowKernel, request: Request): number {
  return attempting('count', true, () => {
    let count = 0;
    eachExpect(kernel, request.family, () => count++);
    return count;
  });
}

/** -D expect. */
export function deleteExpect(kernel: FlowKernel, request: Request): void {
  ask(kernel, 'delete', request, encodeExpectOne);
}

/** -G expect. */
export function getExpect(kernel: FlowKernel, request: Request): void {
  const { core } = kernel;
  const printer = new ExpectPrinter(kernel, new Sink(kernel), request, {});
  ask(kernel, 'get', request, encodeExpectOne, (at, size) => {
    if (core.decodeExpect(at, size, EXPECT) === 0) printer.print();
  });
  printer.close();
}
