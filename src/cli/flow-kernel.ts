// The kernel (kernel.ts) with the module's decoder and line writer on the same memory: for commands
// that read flows. Those that only ask (-C, -I, -F) do without and start faster.

import { type Core, compileModule, instantiate } from '../cache/wasm.js';
import { ExpectReader, FlowReader } from '../report/reader.js';
import { Kernel } from './kernel.js';
import { writeWords } from './words.js';

/** Where the wide forms lie, in the scratch area of kernel.ts. */
export const FLOW = 1024;
export const EXPECT = 2048;
const WORDS = 4096;

/** What the module has for this program: assembly/text.ts, save.ts and template.ts. */
export interface TextCore extends Core {
  flowLine(
    flow: number,
    out: number,
    room: number,
    words: number,
    options: number,
    now: number,
  ): number;
  flowSaved(flow: number, out: number, room: number, words: number, command: number): number;
  requestsOfLines(
    at: number,
    end: number,
    templates: number,
    count: number,
    out: number,
    sequence: number,
    most: number,
    made: number,
  ): number;
}

export class FlowKernel extends Kernel {
  readonly core: TextCore;
  /** Address of the words of the line writer. */
  readonly words = WORDS;

  constructor(pages?: number) {
    super(pages);
    this.core = instantiate(compileModule(), this.memory) as TextCore;
    writeWords(this.bytes, WORDS);
  }

  /** A window on the flow at FLOW. */
  flow(): FlowReader {
    return new FlowReader(this.view, FLOW);
  }

  /** A window on the expectation at EXPECT. */
  expect(): ExpectReader {
    return new ExpectReader(this.view, EXPECT);
  }
}
