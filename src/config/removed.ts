/*
 * Directives that conntrackd accepted up to 1.4.4 and dropped in 1.4.5.
 *
 * Files of old firewalls still contain them, so they are read, with a warning: the obsolete filters
 * still filter, the rest has no effect. (Those of multicast links stand in links.ts.)
 */

import type { Draft } from './draft.js';
import {
  addProtocol,
  addressEntry,
  addressSet,
  protocolEntry,
  protocolSet,
  stateList,
  stateSet,
} from './filter.js';
import type { Token } from './lexer.js';
import type { Handler, Parser } from './parser.js';

/** Reads and forgets a directive; `value` consumes what follows the word. */
function ignored(value?: (p: Parser, word: Token) => unknown): Handler {
  return (p, word) => {
    value?.(p, word);
    p.warn(word, `\`${word.text}' was removed in 1.4.5, ignoring`, 'delete the line');
  };
}

function replaced(p: Parser, word: Token, by: string): void {
  p.warn(word, `\`${word.text}' was removed in 1.4.5`, `write \`${by}\` in section \`General\``);
}

export function removedAtTop(draft: Draft): Record<string, Handler> {
  const { general } = draft;
  return {
    StripNAT: ignored(),
    IgnoreTrafficFor: (p, word) => {
      replaced(p, word, 'Filter { Address Ignore { ... } }');
      addressSet(general, 'Ignore');
      p.braces('IgnoreTrafficFor', () => addressEntry(p, general, 'Ignore'));
    },
    IgnoreProtocol: (p, word) => {
      replaced(p, word, 'Filter { Protocol Ignore { ... } }');
      const { numbers } = protocolSet(general, 'Ignore');
      p.braces('IgnoreProtocol', () =>
        addProtocol(numbers, p.peek().kind === 'number' ? p.number(word) : protocolEntry(p)),
      );
    },
  };
}

export function removedInGeneral(): Record<string, Handler> {
  return { Family: ignored((p, word) => p.name(word, 'the name of a family')) };
}

export function removedInStats(): Record<string, Handler> {
  return { LogFileBufferSize: ignored((p, word) => p.number(word)) };
}

export function removedInFtfw(): Record<string, Handler> {
  return { ResendBufferSize: ignored((p, word) => p.number(word)) };
}

/** Legal in `Sync` and in `Mode ALARM`. */
export function removedInAlarm(): Record<string, Handler> {
  return { RelaxTransitions: ignored(), DelayDestroyMessages: ignored() };
}

export function removedInSync(draft: Draft): Record<string, Handler> {
  const { general, sync } = draft;
  return {
    StripNAT: ignored(),
    ListenTo: ignored((p, word) => p.ip(word)),
    Checksum: (p, word) => {
      p.warn(
        word,
        "`Checksum' directly in `Sync' was removed in 1.4.5, using it for the first link",
        'move it into the `Multicast` or `UDP` section',
      );
      sync.firstLinkChecksum = p.bool(word);
    },
    CacheWriteThrough: ignored((p, word) => p.bool(word)),
    DestroyTimeout: ignored((p, word) => p.number(word)),
    Replicate: (p, word) => {
      replaced(p, word, 'Filter { State Accept { ... } }');
      stateList(p, stateSet(general, 'Accept').states);
    },
    ...removedInAlarm(),
  };
}
