// The command line of the bench.

import { describe, expect, test } from 'vitest';
import { PARTS, parseOptions, UsageError } from '../../../bench/options.js';

describe('npm run bench', () => {
  test('runs every part when none is named', () => {
    const options = parseOptions([]);
    expect([...options.parts]).toEqual([...PARTS]);
    expect(options).toMatchObject({ quick: false, json: undefined, compare: undefined });
  });

  test('--quick leaves out what takes long, unless it is named', () => {
    const { parts } = parseOptions(['--quick']);
    for (const slow of ['burst', 'limit', 'scale'] as const) expect(parts.has(slow)).toBe(false);
    expect(parts.has('active')).toBe(true);
    expect([...parseOptions(['--quick', 'burst']).parts]).toEqual(['burst']);
  });

  test('takes parts and options in any order', () => {
    const options = parseOptions(['codec', '--json', 'a.json', 'table', '--compare', 'b.json']);
    expect([...options.parts]).toEqual(['codec', 'table']);
    expect(options).toMatchObject({ json: 'a.json', compare: 'b.json' });
  });

  test('--report is of a whole run', () => {
    expect(parseOptions(['--report']).report).toBe(true);
    expect(parseOptions([]).report).toBe(false);
    expect(parseOptions(['codec', '--report', '--merge', 'a.json'])).toMatchObject({
      report: true,
      merge: 'a.json',
    });
    expect(() => parseOptions(['codec', '--report'])).toThrow(
      new UsageError('a report needs all parts: name none, or --merge the others'),
    );
  });

  test('refuses an unknown part or option', () => {
    expect(() => parseOptions(['codecs'])).toThrow(new UsageError('no such part: codecs'));
    expect(() => parseOptions(['--fast'])).toThrow(UsageError);
    expect(() => parseOptions(['--json'])).toThrow(UsageError);
  });
});
