/*
 * Grammar of the extension directives: turns the rows of extensions.ts into handlers.
 */

import {
  type Extension,
  type ExtensionSection,
  extensionsOf,
  type WrittenExtensions,
} from './extensions.js';
import type { Token } from './lexer.js';
import { type Handler, MAX_NUMBER, type Parser } from './parser.js';

function read(p: Parser, word: Token, row: Extension): number | 'auto' | boolean | string {
  switch (row.kind) {
    case 'bool':
      return p.bool(word);
    case 'path':
      return p.path(word, 4095, row.name);
    case 'word':
      return p.name(word, 'a word').text;
    case 'choice':
      return p.keyword(row.choices ?? []).text;
    case 'number|auto':
      if (p.peek().kind === 'word') return autoWord(p, word);
      return ranged(p, word, row);
    case 'number':
      return ranged(p, word, row);
  }
}

function autoWord(p: Parser, word: Token): 'auto' {
  return p.keyword(['auto'], `\`${word.text}\` takes a number or \`auto\``).text as 'auto';
}

function ranged(p: Parser, word: Token, row: Extension): number {
  const token = p.peek();
  const value = p.number(word);
  const min = row.min ?? 0;
  const max = row.max ?? MAX_NUMBER;
  if (value < min || value > max) p.error(token, `\`${row.name}' must be [${min}, ${max}]`);
  return value;
}

export function extensionBlock(
  section: ExtensionSection,
  written: WrittenExtensions,
): Record<string, Handler> {
  return Object.fromEntries(
    extensionsOf(section).map((row): [string, Handler] => [
      row.name,
      (p, word) => {
        written.set(row.field, read(p, word, row));
      },
    ]),
  );
}
