// Waiting for something that another process will do: poll, give up after a bound, and say in the
// error what was waited for and what was last seen.

import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

export interface WaitOptions {
  /** Completes the sentence "gave up waiting for ...". */
  for: string;
  /** Milliseconds until it gives up. Default 20,000. */
  timeout?: number;
  /** Milliseconds between two looks. Default 50. */
  every?: number;
  /** Called when it gives up: what to append to the error (logs, counters). */
  explain?: () => string | Promise<string>;
}

/**
 * Calls `look` until it returns something other than undefined or false. An exception counts as
 * "not yet"; the last one is part of the final error.
 */
export async function waitFor<T>(
  look: () => T | Promise<T>,
  options: WaitOptions,
): Promise<Exclude<T, undefined | false>> {
  const end = performance.now() + (options.timeout ?? 20_000);
  let last = '';
  for (;;) {
    try {
      const seen = await look();
      if (seen !== undefined && seen !== false) return seen as Exclude<T, undefined | false>;
    } catch (error) {
      last = `\nlast error: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (performance.now() >= end) break;
    await sleep(options.every ?? 50);
  }
  const explained = options.explain ? `\n${await options.explain()}` : '';
  throw new Error(`gave up waiting for ${options.for}${last}${explained}`);
}
