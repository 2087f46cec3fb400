// Words of a command line in the manner of getopt_long(3): options and operands may be mixed, short
// options cluster, values are attached or separate, long names may be shortened while they stay
// unambiguous. Operands are skipped. Pure; errors are usage errors.

import { usageError } from './complain.js';
import type { Word } from './options.js';

/** A set of options that may be given. Protocols extend it while a command line is read. */
export class Vocabulary {
  private readonly shorts = new Map<string, Word>();
  private readonly longs = new Map<string, Word>();

  constructor(words: readonly Word[], base?: Vocabulary) {
    if (base !== undefined) {
      for (const [name, word] of base.shorts) this.shorts.set(name, word);
      for (const [name, word] of base.longs) this.longs.set(name, word);
    }
    for (const word of words) {
      if (word.short !== undefined) this.shorts.set(word.short, word);
      for (const name of word.longs) this.longs.set(name, word);
    }
  }

  short(character: string): Word | undefined {
    return this.shorts.get(character);
  }

  /** The option of this name, or of the only one that begins with it. */
  long(name: string): Word | undefined {
    const exact = this.longs.get(name);
    if (exact !== undefined) return exact;
    let found: Word | undefined;
    for (const [candidate, word] of this.longs) {
      if (!candidate.startsWith(name) || word === found) continue;
      if (found !== undefined) return undefined;
      found = word;
    }
    return found;
  }
}

/** Goes through the words of one command line. */
export class Scanner {
  private at = 0;
  private cluster = '';
  /** The value of the option that `next` returned. */
  value: string | undefined;

  constructor(
    private readonly words: readonly string[],
    public vocabulary: Vocabulary,
  ) {}

  /** The next option, its value in `value`; undefined at the end. */
  next(): Word | undefined {
    this.value = undefined;
    if (this.cluster !== '') return this.clustered();
    for (;;) {
      const word = this.words[this.at];
      if (word === undefined || word === '--') return undefined;
      this.at++;
      if (word.charCodeAt(0) !== 45 || word.length === 1) continue; // an operand
      if (word.charCodeAt(1) === 45) return this.longOption(word);
      this.cluster = word.slice(1);
      return this.clustered();
    }
  }

  /** Takes the next word as an argument, unless it looks like an option or a negation. */
  argument(): string | undefined {
    const word = this.words[this.at];
    if (word === undefined || this.cluster !== '') return undefined;
    if (word.startsWith('-') || word.startsWith('!')) return undefined;
    this.at++;
    return word;
  }

  private longOption(typed: string): Word {
    const equals = typed.indexOf('=');
    const name = equals < 0 ? typed.slice(2) : typed.slice(2, equals);
    const word = this.vocabulary.long(name);
    const attached = equals < 0 ? undefined : typed.slice(equals + 1);
    if (word === undefined || (word.value === 'none' && attached !== undefined)) {
      throw unknownOption(typed);
    }
    this.takeValue(word, attached, typed);
    return word;
  }

  private clustered(): Word {
    const typed = this.words[this.at - 1]!;
    const word = this.vocabulary.short(this.cluster[0]!);
    const rest = this.cluster.slice(1);
    if (word === undefined) throw unknownOption(typed);
    this.cluster = word.value === 'none' ? rest : '';
    this.takeValue(word, rest === '' || word.value === 'none' ? undefined : rest, typed);
    return word;
  }

  private takeValue(word: Word, attached: string | undefined, typed: string): void {
    if (word.value === 'none') return;
    this.value = attached;
    if (word.value !== 'required' || attached !== undefined) return;
    const next = this.words[this.at];
    if (next === undefined) throw usageError(`option \`${typed}' requires an argument`);
    this.at++;
    this.value = next;
  }
}

function unknownOption(typed: string): Error {
  return usageError(`unknown option \`${typed}'`);
}
