/*
 * Whatever bytes stand in a configuration file: parseConfig returns, a configuration exists exactly
 * when no error was found, and every diagnostic points into the text.
 */

import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseIPv4, parseIPv6 } from '../../../src/config/address.js';
import { formatDiagnostic, parseConfig } from '../../../src/config/index.js';
import { tokenize } from '../../../src/config/lexer.js';

const FILES = (
  JSON.parse(readFileSync(new URL('../../vectors/config-cases.json', import.meta.url), 'utf8')) as {
    config: string;
    expect: string;
  }[]
).filter((c) => c.config.length < 4000);

const WORDS = [...new Set(FILES.flatMap((c) => c.config.match(/[{}]|[^\s{}]+/g) ?? []))];

function holds(text: string | Uint8Array): void {
  const { config, diagnostics } = parseConfig(text, 'c.conf');
  const failed = diagnostics.some((d) => d.severity === 'error');
  expect(config === undefined).toBe(failed);
  for (const d of diagnostics) {
    expect(d.line).toBeGreaterThan(0);
    expect(d.source.slice(d.column - 1).startsWith(d.token)).toBe(true);
    expect(formatDiagnostic(d)).toContain(`c.conf:${d.line}:${d.column}: ${d.severity}: `);
  }
}

test('arbitrary bytes', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), holds), { numRuns: 2000 });
});

test('arbitrary text', () => {
  const unit = fc.oneof(
    fc.constantFrom(...' \t\r\n{}#/:.+-"|;'),
    fc.constantFrom('\0', '\ufeff', '\u00e9', '\ud800', '\u{1f600}'),
    fc.string({ minLength: 1, maxLength: 1 }),
  );
  fc.assert(fc.property(fc.string({ unit, maxLength: 200 }), holds), { numRuns: 2000 });
});

test('the words of the language in any order', () => {
  const words = fc.array(fc.constantFrom(...WORDS, 'Workers', 'constructor', '__proto__'), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(words, fc.constantFrom(' ', '\n'), (list, blank) => holds(list.join(blank))),
    { numRuns: 3000 },
  );
});

test('mutated files', () => {
  const edit = fc.record({
    at: fc.nat(),
    remove: fc.nat({ max: 20 }),
    insert: fc.oneof(fc.constantFrom(...WORDS), fc.string({ maxLength: 3 })),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...FILES),
      fc.array(edit, { minLength: 1, maxLength: 4 }),
      ({ config }, edits) => {
        let text = config;
        for (const { at, remove, insert } of edits) {
          const start = at % (text.length + 1);
          text = text.slice(0, start) + insert + text.slice(start + remove);
        }
        holds(text);
      },
    ),
    { numRuns: 3000 },
  );
});

test('a file cut off anywhere inside a section is refused', () => {
  const whole = FILES.find((c) => c.config.includes('Scheduler') && c.expect === 'accept')!.config;
  const end = whole.lastIndexOf('}');
  for (let length = 0; length <= whole.length; length++) holds(whole.slice(0, length));
  expect(parseConfig(whole.slice(0, end), 'c.conf').config).toBeUndefined();
  expect(parseConfig(whole, 'c.conf').config).toBeDefined();
});

test('tokens and what lies between them make up the text', () => {
  fc.assert(
    fc.property(fc.constantFrom(...FILES), fc.nat(), ({ config }, seed) => {
      const text = config.slice(seed % (config.length + 1));
      let end = 0;
      for (const token of tokenize(text)) {
        expect(text.slice(token.offset, token.offset + token.text.length)).toBe(token.text);
        // A gap starts with blank space or a comment and ends with blank space, or with the text.
        expect(text.slice(end, token.offset)).toMatch(/^(\ufeff|[ \t\r\n]|#[^\n]*)*$/);
        end = token.offset + token.text.length;
      }
      expect(end).toBe(text.length);
    }),
  );
});

test('large and hostile files are read in linear time and without stack', () => {
  const directives = 'General { HashSize 1 LockFile /x } # comment\n';
  const start = performance.now();
  expect(parseConfig(directives.repeat(5_000), 'c.conf').config).toBeDefined();
  holds(`General { LockFile /x${'}'.repeat(50_000)}`);
  holds('a:'.repeat(50_000));
  holds('1'.repeat(1_000_000));
  holds('#'.repeat(1_000_000));
  holds(' '.repeat(10_000_000));
  holds('\r\n# x'.repeat(300_000));
  // Takes 2 s on a slow machine; a quadratic step would take minutes.
  expect(performance.now() - start).toBeLessThan(60_000);
}, 120_000);

test('IPv6 addresses: the same ones as the system accepts', () => {
  const group = fc.oneof(fc.constant(''), fc.constantFrom('0', '1', 'ffff', 'FD00', '12345'));
  fc.assert(
    fc.property(fc.array(group, { maxLength: 10 }), (groups) => {
      const text = groups.join(':');
      expect(parseIPv6(text) !== undefined).toBe(isIPv6(text));
    }),
    { numRuns: 5000 },
  );
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      if (!text.includes('.')) expect(parseIPv6(text)).toBeDefined();
    }),
  );
});

test('IPv4 addresses: decimal groups, octal with a leading zero', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (bytes) => {
      expect(parseIPv4(bytes.join('.'))!.bytes).toEqual(bytes);
      const octal = [...bytes].map((byte) => `0${byte.toString(8)}`).join('.');
      expect(parseIPv4(octal)!.bytes).toEqual(bytes);
    }),
  );
  for (const bad of ['256.0.0.1', '08.0.0.1', '1.2.3', '1.2.3.4.5', '1..2.3', '0400.0.0.1']) {
    expect(parseIPv4(bad)).toBeUndefined();
  }
});
