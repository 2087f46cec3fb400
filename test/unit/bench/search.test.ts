// The search for the highest rate without loss.

import { describe, expect, test } from 'vitest';
import { searchRate } from '../../../bench/search.js';

const OPTIONS = { from: 1000, factor: 2, halvings: 4, most: 100_000 };

async function search(limit: number, options = OPTIONS) {
  const tried: number[] = [];
  const found = await searchRate(options, async (rate) => {
    tried.push(rate);
    return rate <= limit;
  });
  return { ...found, tried };
}

describe('the search for a rate', () => {
  test('closes in on the limit from both sides', async () => {
    const { best, failed } = await search(11_000);
    expect(best).toBeLessThanOrEqual(11_000);
    expect(failed).toBeGreaterThan(11_000);
    // Four halvings of a gap of 2: a sixteenth of it, 4.4 %.
    expect(failed! / best).toBeLessThan(1.05);
  });

  test('rises first, and tries no rate twice', async () => {
    const { tried } = await search(5000);
    expect(tried.slice(0, 4)).toEqual([1000, 2000, 4000, 8000]);
    expect(new Set(tried).size).toBe(tried.length);
    expect(tried).toHaveLength(4 + OPTIONS.halvings);
  });

  test('says that it found no limit when the highest rate succeeds', async () => {
    const { best, failed, tried } = await search(1e9, { ...OPTIONS, most: 5000 });
    expect({ best, failed }).toEqual({ best: 5000, failed: undefined });
    expect(tried).toEqual([1000, 2000, 4000, 5000]);
  });

  test('looks below the first rate when that fails', async () => {
    const { best, failed } = await search(600);
    expect(best).toBeGreaterThan(0);
    expect(best).toBeLessThanOrEqual(600);
    expect(failed).toBeGreaterThan(600);
    expect((await search(0)).best).toBe(0);
  });

  test('ends with what it has when a rate cannot be made', async () => {
    const found = await searchRate(OPTIONS, async (rate) => (rate > 3000 ? undefined : true));
    expect(found).toEqual({ best: 2000, failed: undefined });
  });

  test('refuses rates that do not rise', async () => {
    await expect(search(1, { ...OPTIONS, factor: 1 })).rejects.toThrow('rates must rise');
  });
});
