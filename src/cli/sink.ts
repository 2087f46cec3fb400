// Standard output as a stream of lines: collected in the kernel's memory (kernel.ts) and written when
// the area is full. Blocks while the reader is slow, so memory stays bounded whatever the table
// holds.

import { LINE_MAX } from '../../assembly/text-layout.js';
import { type Kernel, OUTPUT, OUTPUT_SIZE } from './kernel.js';
import { STDOUT, writeFully } from './write.js';

const NEWLINE = 10;

export class Sink {
  /** Where the next byte goes. */
  at = OUTPUT;
  private readonly buffer: Buffer;

  constructor(kernel: Kernel) {
    const { buffer } = kernel.bytes;
    this.buffer = Buffer.from(buffer as unknown as ArrayBuffer, 0, OUTPUT + OUTPUT_SIZE);
  }

  /** Makes sure that a line of `bytes` fits. */
  reserve(bytes: number = LINE_MAX): void {
    if (this.at + bytes > OUTPUT + OUTPUT_SIZE) this.flush();
  }

  /** Ends a line that was written in place. */
  newline(): void {
    this.buffer[this.at++] = NEWLINE;
  }

  /** Text without its end of line. */
  put(text: string): void {
    this.reserve(text.length * 3 + 1);
    this.at += this.buffer.write(text, this.at);
  }

  line(text: string): void {
    this.put(text);
    this.newline();
  }

  flush(): void {
    if (this.at > OUTPUT) writeFully(STDOUT, this.buffer.subarray(OUTPUT, this.at));
    this.at = OUTPUT;
  }
}
