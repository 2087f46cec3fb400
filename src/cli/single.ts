// Commands that are one request: create, add, get, flush, count, per-processor statistics. Each
// returns what it counted; errors are thrown with the words for them.

import { readFileSync } from 'node:fs';
import { CPU_COUNTERS, cpuText, EXPECT_CPU_COUNTERS } from '../report/cpu.js';
import {
  CT_GET_STATS,
  CT_GET_STATS_CPU,
  CTA_STATS_GLOBAL_ENTRIES,
  EXP_GET_STATS_CPU,
} from './attributes.js';
import type { Operation } from './complain.js';
import { encodeBare, encodeCreate, encodeExpectCreate, encodeFlush, encodeGet } from './encode.js';
import type { FlowKernel } from './flow-kernel.js';
import { attempting, type Kernel, REQUESTS } from './kernel.js';
import type { MessageWriter } from './message.js';
import type { Request } from './request.js';

type Encode = (message: MessageWriter, at: number, request: Request, sequence: number) => number;

export function ask(
  kernel: Kernel,
  operation: Operation,
  request: Request,
  encode: Encode,
  data?: (at: number, size: number) => void,
): void {
  attempting(operation, request.table === 'expect', () => {
    const sequence = kernel.takeSequence();
    const length = encode(kernel.message, REQUESTS, request, sequence);
    kernel.ask(REQUESTS, length, sequence, data);
  });
}

/** -I and -A, -I expect. */
export function create(kernel: Kernel, request: Request): void {
  const exclusive = request.command === 'create';
  const encode: Encode =
    request.table === 'expect'
      ? encodeExpectCreate
      : (message, at, asked, sequence) =>
          encodeCreate(message, at, asked, exclusive, true, sequence);
  ask(kernel, exclusive ? 'create' : 'add', request, encode);
}

/** -G; returns 0 if the flow is there but not what the other criteria say. */
export async function getFlow(kernel: FlowKernel, request: Request): Promise<number> {
  const { FLOW } = await import('./flow-kernel.js');
  const { FlowPrinter } = await import('./output.js');
  const { Sink } = await import('./sink.js');
  const { compileSelection } = await import('./select.js');
  const { core } = kernel;
  const selected = compileSelection(request, kernel.bytes, kernel.view, FLOW);
  const printer = await FlowPrinter.make(kernel, new Sink(kernel), request, { document: true });
  let count = 0;
  ask(kernel, 'get', request, encodeGet, (at, size) => {
    if (core.decodeFlow(at, size, FLOW) !== 0) return;
    if (selected !== undefined && !selected()) return;
    printer.print(Math.trunc(Date.now() / 1000));
    count++;
  });
  printer.close();
  return count;
}

/** -F on either table. */
export function flush(kernel: Kernel, request: Request): void {
  ask(kernel, 'flush', request, encodeFlush);
}

/** -C: the kernel's own count. */
export function countFlows(kernel: Kernel, request: Request): number {
  let count = 0;
  ask(
    kernel,
    'count',
    request,
    (message, at, _, sequence) => encodeBare(message, at, CT_GET_STATS, false, 0, sequence),
    (at, size) => {
      for (const [type, value] of words(kernel, at, size)) {
        if (type === CTA_STATS_GLOBAL_ENTRIES) count = value;
      }
    },
  );
  return count;
}

/** The count by the sysctl, for a process that may not ask over netlink. */
export function countBySysctl(): string | undefined {
  try {
    return readFileSync('/proc/sys/net/netfilter/nf_conntrack_count', 'latin1').trim();
  } catch {
    return undefined;
  }
}

/** -S: one line a processor. */
export function statistics(kernel: Kernel, request: Request): string[] {
  const expect = request.table === 'expect';
  const names: readonly string[] = expect ? EXPECT_CPU_COUNTERS : CPU_COUNTERS;
  const lines: string[] = [];
  attempting('stats', expect, () => {
    const sequence = kernel.takeSequence();
    const type = expect ? EXP_GET_STATS_CPU : CT_GET_STATS_CPU;
    const length = encodeBare(kernel.message, REQUESTS, type, true, 0, sequence);
    kernel.dump(REQUESTS, length, (at, size) => {
      const cpu = kernel.view.getUint16(at + 18);
      const counters = words(kernel, at, size).map(([number, value]): [string, number] => [
        counterName(names, number),
        value,
      ]);
      lines.push(cpuText(cpu, counters));
    });
  });
  return lines;
}

function counterName(names: readonly string[], number: number): string {
  return names[number] ?? `unknown${number - names.length + 1}`;
}

/** The same from the kernel's file, for a process that may not ask over netlink. */
export function statisticsByFile(expect: boolean): string[] {
  let text: string;
  try {
    text = readFileSync('/proc/net/stat/nf_conntrack', 'latin1');
  } catch {
    return [];
  }
  const [head = '', ...rows] = text.trim().split('\n');
  const names = head.trim().split(/\s+/);
  return rows.map((row, cpu) => {
    const values = row.trim().split(/\s+/);
    const counters = names.map((name, i): [string, number] => [
      name,
      Number.parseInt(values[i] ?? '0', 16),
    ]);
    return cpuText(
      cpu,
      counters.filter(([name]) => !expect || name.startsWith('expect_')),
    );
  });
}

/** The 32-bit attributes of a message, in order. */
function words(kernel: Kernel, at: number, size: number): [type: number, value: number][] {
  const { view } = kernel;
  const found: [number, number][] = [];
  const end = at + size;
  let place = at + 20;
  while (place + 8 <= end) {
    const length = view.getUint16(place, true);
    if (length < 8 || place + length > end) break;
    found.push([view.getUint16(place + 2, true) & 0x3fff, view.getUint32(place + 4)]);
    place += (length + 3) & ~3;
  }
  return found;
}
