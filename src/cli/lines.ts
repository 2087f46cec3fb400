// The lines of a file of command lines (-R) and the words of a line: split at blanks, grouped by
// double quotes in which a backslash takes the next character as it is. Single quotes are plain
// characters. Pure functions. docs/conntrack.md, "Files".

import { usageError } from './complain.js';

const WORDS_MAX = 253;
const WORD_MAX = 1023;

const TAB = 9;
const NEWLINE = 10;
const BLANK = 32;
const QUOTE = 34;
const HASH = 35;
const BACKSLASH = 92;

/** Where the line at `at` ends: its newline, or the end of the text. */
export function lineEnd(text: Uint8Array, at: number, end: number): number {
  const newline = text.indexOf(NEWLINE, at);
  return newline < 0 || newline > end ? end : newline;
}

/** Where the words of a line begin; its end if it is empty or a comment. */
export function lineStart(text: Uint8Array, at: number, end: number): number {
  while (at < end && isBlank(text[at]!)) at++;
  return text[at] === HASH ? end : at;
}

/** A line as text, byte by byte. */
export function lineText(text: Uint8Array, start: number, end: number): string {
  return Buffer.from(text.buffer, text.byteOffset + start, end - start).toString('latin1');
}

function isBlank(character: number): boolean {
  return character === BLANK || character === TAB;
}

/** The words of a line; a leading `conntrack` is not one of them. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  const end = text.length;
  let at = 0;
  while (at < end) {
    if (isBlank(text.charCodeAt(at))) {
      at++;
      continue;
    }
    let stop = at;
    let quoted = false;
    for (; stop < end; stop++) {
      const character = text.charCodeAt(stop);
      if (character === BLANK || character === TAB) break;
      if (character === QUOTE) {
        quoted = true;
        break;
      }
    }
    let word: string;
    if (quoted) [word, stop] = quotedWord(text, at, end);
    else word = text.slice(at, stop);
    if (word.length > WORD_MAX) throw usageError('Parameter too long!');
    if (words.length >= WORDS_MAX) throw usageError('too many arguments');
    words.push(word);
    at = stop;
  }
  if (words[0] === 'conntrack') words.shift();
  return words;
}

/** A word with quotes in it, and where it ends. */
function quotedWord(text: string, at: number, end: number): [word: string, stop: number] {
  let word = '';
  let inside = false;
  for (; at < end; at++) {
    const character = text.charCodeAt(at);
    if (character === QUOTE) inside = !inside;
    else if (inside && character === BACKSLASH && at + 1 < end) word += text[++at];
    else if (!inside && isBlank(character)) break;
    else word += text[at];
  }
  return [word, at];
}
