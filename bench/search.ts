// The highest rate that still succeeds, found with few probes, as a probe costs seconds: rising by a
// factor until one fails, then the gap between the last success and the failure is halved (in
// proportion) a few times. Nothing here knows what a probe does.

export interface SearchOptions {
  /** The first rate tried. */
  from: number;
  /** Factor between two rates while they rise, above 1. */
  factor: number;
  /** Times the gap is halved at the end. */
  halvings: number;
  /** No rate above this is tried. */
  most: number;
}

export interface Found {
  /** Highest rate that succeeded; 0 when not even the first and its halves did. */
  best: number;
  /** Lowest rate that failed; undefined when none did, so the limit lies above `best`. */
  failed: number | undefined;
}

/**
 * Searches with `probe`, which resolves to whether a rate succeeded, or to undefined when there is no
 * telling because nothing can make that rate: then the search ends with what it has.
 */
export async function searchRate(
  { from, factor, halvings, most }: SearchOptions,
  probe: (rate: number) => Promise<boolean | undefined>,
): Promise<Found> {
  if (!(factor > 1) || !(from > 0)) throw new Error('rates must rise');
  let best = 0;
  let failed: number | undefined;
  for (let rate = from; ; rate = Math.min(most, rate * factor)) {
    const succeeded = await probe(Math.round(rate));
    if (succeeded === undefined) return { best, failed };
    if (!succeeded) {
      failed = Math.round(rate);
      break;
    }
    best = Math.round(rate);
    if (rate >= most) return { best, failed };
  }
  for (let i = 0; i < halvings; i++) {
    // Below the first rate there is no success yet: the gap is as wide as a factor.
    const rate = Math.round(best > 0 ? Math.sqrt(best * failed) : failed / Math.sqrt(factor));
    if (await probe(rate)) best = rate;
    else failed = rate;
  }
  return { best, failed };
}
