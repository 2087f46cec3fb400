/*
 * Extension directives: accepted in their section, checked, defaulted, documented, not reserved.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { directory } from '../../../src/config/grammar.js';
import { EXTENSIONS, parseConfig } from '../../../src/config/index.js';

const DOCS = readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8');

function general(text: string) {
  const { config, diagnostics } = parseConfig(`General {\n${text}\n}`, 'c.conf');
  expect(diagnostics).toEqual([]);
  return config!.general;
}

function errorOf(text: string): string {
  const { config, diagnostics } = parseConfig(`General {\n${text}\n}`, 'c.conf');
  expect(config).toBeUndefined();
  return diagnostics[0]!.message;
}

test.each([
  ['', 'auto', 1000],
  ['Workers auto', 'auto', 1000],
  ['Workers 0 CoalesceTime 0', 0, 0],
  ['Workers 64 CoalesceTime 1000000', 64, 1_000_000],
  ['Workers 3 Workers 4', 4, 1000],
  ['Workers 3 Workers auto', 'auto', 1000],
] as const)('%s', (text, workers, coalesceTime) => {
  expect(general(text)).toMatchObject({ workers, coalesceTime });
});

test.each([
  ['Workers 65', "`Workers' must be [0, 64]"],
  ['CoalesceTime 1000001', "`CoalesceTime' must be [0, 1000000]"],
  ['Workers on', "parsing config file in line (2), symbol 'on': syntax error"],
  ['Workers all', "parsing config file in line (2), symbol 'all': syntax error"],
  ['CoalesceTime auto', "parsing config file in line (2), symbol 'auto': syntax error"],
])('%s is refused', (text, message) => {
  expect(errorOf(text)).toBe(message);
});

test('extension words stay usable as names', () => {
  const { config } = parseConfig('Sync { Mode FTFW { } UDP { Interface Workers } }', 'c.conf');
  expect(config!.sync!.links[0]!.interface).toBe('Workers');
});

test('extensions stand in their own section only', () => {
  const { diagnostics } = parseConfig('Sync { Workers 1 }', 'c.conf');
  expect(diagnostics[0]!.hint).toContain('it belongs in `General`');
});

describe('docs/configuration.md is complete', () => {
  test.each(EXTENSIONS.map((row) => [row.name, row] as const))('extension %s', (name, row) => {
    const line = DOCS.split('\n').find((text) => text.startsWith(`| \`${name}\` `));
    expect(line).toContain(row.doc);
    expect(line).toContain(String(row.default));
    if ('min' in row) expect(line).toContain(`${row.min}..${row.max}`);
  });

  test.each([...directory()])('section %s', (_section, directives) => {
    expect(directives.filter((name) => !DOCS.includes(`\`${name}`))).toEqual([]);
  });
});
