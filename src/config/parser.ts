/*
 * The parser's tools: a cursor over the tokens, typed values, blocks, and error reports.
 *
 * The language is LL(1): every directive is told by its first word, and every value by its token
 * class. A block is a table from directive names to handlers; grammar.ts holds the tables.
 *
 * Two kinds of failure. A syntax error ends the parse (`SyntaxFault`, caught in index.ts): what
 * follows cannot be understood any more. A wrong value is reported and parsing goes on, so one run
 * shows all of them. Reports come in the order of the file.
 */

import { type Family, type IpAddress, parseAddress } from './address.js';
import { type Diagnostic, nearestWord, type Severity } from './diagnostic.js';
import { isName, type Token } from './lexer.js';

/** Largest number of the language: the C daemon keeps them in a 32-bit signed int. */
export const MAX_NUMBER = 2 ** 31 - 1;

/** Thrown after a syntax error has been reported. */
export class SyntaxFault extends Error {
  override readonly name = 'SyntaxFault';
}

/** A directive that the file really contains. */
export interface Written {
  /** Sections and directive, joined by dots: `Sync.Mode FTFW.ResendQueueSize`. */
  readonly path: string;
  readonly line: number;
}

/** Reads a directive's value and stores it; `word` is the directive itself. */
export type Handler = (p: Parser, word: Token) => void;
export type Block = ReadonlyMap<string, Handler>;

export function block(handlers: Readonly<Record<string, Handler>>): Block {
  // A Map, because names from the file are looked up: `constructor` must not be found.
  return new Map(Object.entries(handlers));
}

interface Scope {
  readonly name: string;
  readonly opened: Token;
}

export class Parser {
  readonly diagnostics: Diagnostic[] = [];
  readonly written: { path: string; line: number }[] = [];
  readonly #tokens: readonly Token[];
  readonly #lines: readonly string[];
  readonly #file: string;
  /** Where a directive is at home, for hints: name to sections. */
  readonly #homes: ReadonlyMap<string, readonly string[]>;
  readonly #scopes: Scope[] = [];
  #at = 0;

  constructor(
    tokens: readonly Token[],
    text: string,
    file: string,
    homes: ReadonlyMap<string, readonly string[]>,
  ) {
    this.#tokens = tokens;
    this.#lines = text.replace(/^\ufeff/, '').split('\n');
    this.#file = file;
    this.#homes = homes;
  }

  // --- cursor ---

  peek(): Token {
    return this.#tokens[this.#at]!;
  }

  take(): Token {
    const token = this.peek();
    if (token.kind !== 'end') this.#at++;
    return token;
  }

  /** Takes the next token if it is exactly this keyword or brace. */
  accept(text: string): Token | undefined {
    return this.peek().text === text && this.peek().kind !== 'path' ? this.take() : undefined;
  }

  /** Takes one of several keywords. */
  keyword(words: readonly string[], hint?: string): Token {
    const token = this.peek();
    if (words.includes(token.text)) return this.take();
    const close = nearestWord(token.text, words);
    return this.fail(
      token,
      close === undefined ? (hint ?? `expected ${alternatives(words)} here`) : didYouMean(close),
    );
  }

  // --- reports ---

  report(severity: Severity, token: Token, message: string, hint?: string): void {
    this.diagnostics.push({
      severity,
      message,
      file: this.#file,
      line: token.line,
      column: token.column,
      token: token.text,
      source: (this.#lines[token.line - 1] ?? '').replace(/\r$/, ''),
      ...(hint === undefined ? {} : { hint }),
    });
  }

  error(token: Token, message: string, hint?: string): void {
    this.report('error', token, message, hint);
  }

  warn(token: Token, message: string, hint?: string): void {
    this.report('warning', token, message, hint);
  }

  /** Reports a syntax error at `token` and ends the parse. */
  fail(token: Token, hint?: string): never {
    const message = `parsing config file in line (${token.line}), symbol '${token.text}': syntax error`;
    this.error(token, message, this.#lexicalHint(token) ?? hint);
    throw new SyntaxFault(message);
  }

  /** Mistakes that show in the symbol itself, wherever it stands. */
  #lexicalHint(token: Token): string | undefined {
    if (token.kind === 'end') {
      const scope = this.#scopes.at(-1);
      if (scope === undefined) return undefined;
      return `the closing brace of \`${scope.name}\` (line ${scope.opened.line}) is missing`;
    }
    if (token.text === '}' && this.#scopes.length === 0) return 'a closing brace too many';
    if (token.text === '=' || token.text === ';' || token.text === ',') {
      return `directives and values are separated by blanks only, without \`${token.text}\``;
    }
    if (token.text === '"' || token.text === "'") return 'values are written without quotes';
    if (token.kind === 'other' && token.text.charCodeAt(0) > 0x7e) {
      return 'only ASCII characters are legal outside comments and paths';
    }
    const before = this.#tokens[this.#at - 1];
    if (before === undefined || before.offset + before.text.length !== token.offset)
      return undefined;
    if (before.kind === 'number') {
      return 'a number consists of decimal digits only: no fraction, no 0x, no suffix like K or M';
    }
    if (before.kind === 'ip' && before.text.includes('/')) {
      return 'a network is written with the length of its prefix, like 10.0.0.0/8';
    }
    return undefined;
  }

  // --- values ---

  #value(word: Token, wanted: string): never {
    const token = this.peek();
    const missing = token.text === '}' || token.kind === 'end' || token.kind === 'reserved';
    const takes = `\`${word.text}\` takes ${wanted}`;
    return this.fail(token, missing ? `${takes}, but none follows in line ${word.line}` : takes);
  }

  /** A number from 0 to 2^31-1. */
  number(word: Token): number {
    const token = this.peek();
    if (token.kind !== 'number') return this.#value(word, 'a number');
    this.take();
    const value = Number(token.text);
    if (value <= MAX_NUMBER) return value;
    this.error(token, `\`${word.text}' is too large: ${token.text}, maximum ${MAX_NUMBER}`);
    return 0;
  }

  /** A number in which 0 means "not set". */
  optionalNumber(word: Token): number | undefined {
    return this.number(word) || undefined;
  }

  /** A number that lands in a 16-bit field: longer ones lose their upper bits, as in C. */
  number16(word: Token, what: string): number {
    const token = this.peek();
    const value = this.number(word);
    if (value > 0xffff) {
      this.warn(
        token,
        `${what} ${value} does not fit in 16 bits, using ${value & 0xffff}`,
        'the C daemon truncates it silently in the same way',
      );
    }
    return value & 0xffff;
  }

  signed(word: Token): Token {
    const token = this.peek();
    return token.kind === 'signed' ? this.take() : this.#value(word, 'a number with a sign');
  }

  isBool(): boolean {
    return this.peek().kind === 'true' || this.peek().kind === 'false';
  }

  bool(word: Token): boolean {
    return this.isBool() ? this.take().kind === 'true' : this.#value(word, '`on` or `off`');
  }

  /** A path of at most `limit` bytes; too long a path is an error with the given name. */
  path(word: Token, limit: number, name: string, wanted = 'an absolute path'): string {
    const token = this.peek();
    if (token.kind !== 'path') return this.#value(word, wanted);
    this.take();
    if (Buffer.byteLength(token.text) > limit) {
      this.error(token, `${name} is longer than ${limit} characters`);
    }
    if (token.text.includes('\ufffd')) this.error(token, `${name} is not valid UTF-8`);
    return token.text;
  }

  name(word: Token, wanted: string): Token {
    const token = this.peek();
    return isName(token) ? this.take() : this.#value(word, wanted);
  }

  ip(word: Token): Token {
    const token = this.peek();
    return token.kind === 'ip' ? this.take() : this.#value(word, 'an IP address');
  }

  /** An address of the given family without prefix; a bad one is a warning and undefined. */
  address(word: Token, family: Family): IpAddress | undefined {
    const token = this.ip(word);
    const address = parseAddress(family, token.text);
    if (address === undefined)
      this.warn(token, `${token.text} is not a valid IPv${family} address`);
    return address;
  }

  // --- blocks ---

  /** Replaces the name of the directive being read, as in `Mode FTFW`. */
  qualify(name: string): void {
    const last = this.written.at(-1);
    if (last !== undefined) last.path = [...this.#scopes.map((s) => s.name), name].join('.');
  }

  /** `{`, whatever `body` reads until it has seen the closing brace, `}`. */
  braces(name: string, body: () => void): void {
    const opened = this.keyword(['{'], `\`${name}\` is a section: its contents stand in braces`);
    this.#scopes.push({ name, opened });
    while (this.peek().text !== '}') body();
    this.take();
    this.#scopes.pop();
  }

  /** A section in braces, made of the directives of `handlers`. */
  section(name: string, handlers: Block): void {
    this.braces(name, () => this.directive(handlers));
  }

  directive(handlers: Block): void {
    const token = this.peek();
    const handler = handlers.get(token.text);
    if (handler === undefined) this.fail(token, this.#strangerHint(token, handlers));
    this.take();
    const path = [...this.#scopes.map((scope) => scope.name), token.text].join('.');
    this.written.push({ path, line: token.line });
    handler(this, token);
  }

  /** Why a word is no directive of the section at hand. */
  #strangerHint(token: Token, handlers: Block): string | undefined {
    if (token.kind !== 'word' && token.kind !== 'reserved') return undefined;
    const homes = this.#homes.get(token.text);
    if (homes !== undefined) {
      const here = this.#scopes.at(-1)?.name;
      const where = here === undefined ? 'outside all sections' : `in \`${here}\``;
      return `\`${token.text}\` is not legal ${where}; it belongs in ${alternatives(homes)}`;
    }
    const here = nearestWord(token.text, handlers.keys());
    if (here !== undefined) return didYouMean(here);
    const elsewhere = nearestWord(token.text, this.#homes.keys());
    if (elsewhere === undefined) return undefined;
    return `${didYouMean(elsewhere)} It belongs in ${alternatives(this.#homes.get(elsewhere)!)}`;
  }
}

function didYouMean(word: string): string {
  return `did you mean \`${word}\`?`;
}

/** `a`, `b` or `c`. */
export function alternatives(words: readonly string[]): string {
  const quoted = words.map((word) => `\`${word}\``);
  const last = quoted.pop() ?? '';
  return quoted.length === 0 ? last : `${quoted.join(', ')} or ${last}`;
}
