// What a part of the bench is given, and what it is.

import type { Collector } from './figures.js';

export interface PartContext {
  /** Fewer sizes and repetitions: the whole bench in about 2 minutes. */
  quick: boolean;
  collector: Collector;
  /** A line about what happens now. */
  progress: (text: string) => void;
  /** A measurement could not be made; the others go on. */
  fail: (what: string, error: unknown) => void;
  /** A part, or a turn of those that share nodes, has come to its end. */
  done: () => void;
}

export type Part = (context: PartContext) => void | Promise<void>;
