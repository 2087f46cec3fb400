/*
 * Grammar of section `Helper`: connection tracking helpers that run in user space.
 *
 * Known are the helpers of the C daemon, with their transports and the policy that holds when the
 * file gives none. A `Policy` block replaces both values of the built-in policy: a value that it
 * does not name becomes 0.
 */

import { nearestWord } from './diagnostic.js';
import type { HelperDraft, HelperPolicy, HelperTypeDraft } from './draft.js';
import type { Token } from './lexer.js';
import { type Block, block, type Handler, type Parser } from './parser.js';

export interface BuiltInHelper {
  readonly l4: readonly ('tcp' | 'udp')[];
  readonly policy: HelperPolicy;
}

const TCP = ['tcp'] as const;
const UDP = ['udp'] as const;

function builtIn(l4: BuiltInHelper['l4'], expectMax: number, expectTimeout: number): BuiltInHelper {
  return { l4, policy: { expectMax, expectTimeout } };
}

export const HELPERS: ReadonlyMap<string, BuiltInHelper> = new Map([
  ['amanda', builtIn(UDP, 3, 180)],
  ['dhcpv6', builtIn(UDP, 1, 300)],
  ['ftp', builtIn(TCP, 1, 300)],
  ['mdns', builtIn(UDP, 8, 30)],
  ['rpc', builtIn(['tcp', 'udp'], 1, 300)],
  ['sane', builtIn(TCP, 1, 300)],
  ['slp', builtIn(UDP, 8, 16)],
  ['ssdp', builtIn(['udp', 'tcp'], 8, 300)],
  ['tftp', builtIn(UDP, 1, 300)],
  ['tns', builtIn(TCP, 1, 300)],
]);

const MAX_POLICY_NAME = 16;

/** What a `Type` block may contain; collected until its closing brace. */
interface Pending {
  queueNum: number;
  queueLen: number;
  policies: { name: Token; policy: HelperPolicy }[];
}

function emptyPending(): Pending {
  return { queueNum: 0, queueLen: 0, policies: [] };
}

function policyValues(values: { expectMax?: number; expectTimeout?: number }): Block {
  return block({
    ExpectMax: (p, word) => {
      values.expectMax = p.number(word);
    },
    ExpectTimeout: (p, word) => {
      values.expectTimeout = p.number(word);
    },
  });
}

function readPolicy(p: Parser, word: Token, pending: Pending): void {
  const name = p.name(word, 'the name of a policy');
  p.qualify(`Policy ${name.text}`);
  const values: { expectMax?: number; expectTimeout?: number } = {};
  p.section(`Policy ${name.text}`, policyValues(values));
  if (Object.keys(values).length === 0) {
    p.error(word, 'Helper policy configuration empty, fix your configuration file, please');
  }
  if (name.text.length > MAX_POLICY_NAME) {
    p.error(name, `Helper Policy is longer than ${MAX_POLICY_NAME} characters`);
  }
  const { expectMax = 0, expectTimeout = 0 } = values;
  pending.policies.push({ name, policy: { expectMax, expectTimeout } });
}

function typeHandlers(pending: Pending): Record<string, Handler> {
  return {
    QueueNum: (p, word) => {
      pending.queueNum = p.number16(word, 'queue number');
    },
    QueueLen: (p, word) => {
      pending.queueLen = p.number(word);
    },
    Policy: (p, word) => readPolicy(p, word, pending),
  };
}

export function typeBlock(pending: Pending = emptyPending()): Block {
  return block(typeHandlers(pending));
}

export function policyBlock(): Block {
  return policyValues({});
}

interface Fault {
  readonly at: Token;
  readonly message: string;
  readonly hint: string;
}

/** What is wrong with the three words of a `Type`, in the order of the C daemon's checks. */
function typeFault(name: Token, l3: Token, l4: Token): Fault | undefined {
  if (l3.text !== 'inet' && l3.text !== 'inet6') {
    return { at: l3, message: 'unknown layer 3 protocol', hint: 'it is `inet` or `inet6`' };
  }
  if (l4.text !== 'tcp' && l4.text !== 'udp') {
    return { at: l4, message: 'unknown layer 4 protocol', hint: 'it is `tcp` or `udp`' };
  }
  if (HELPERS.get(name.text)?.l4.includes(l4.text)) return undefined;
  const hint = unknownHelperHint(name.text, l4.text);
  return { at: name, message: `Unknown \`${name.text}' helper`, hint };
}

/** Checks a finished `Type` and files it. */
function fileType(p: Parser, helper: HelperDraft, words: [Token, Token, Token], mine: Pending) {
  const fault = typeFault(...words);
  if (fault !== undefined) {
    p.error(fault.at, fault.message, fault.hint);
    return;
  }
  const [name, l3, l4] = words.map((token) => token.text) as [
    string,
    HelperTypeDraft['l3'],
    HelperTypeDraft['l4'],
  ];
  for (const { name: policyName, policy } of mine.policies) {
    if (policyName.text === name) helper.policies.set(`${name}/${l4}`, policy);
    else {
      p.error(
        policyName,
        `Unknown policy \`${policyName.text}' in helper configuration`,
        `the policy of this helper is called \`${name}\``,
      );
    }
  }
  const { queueNum, queueLen } = mine;
  helper.types.push({ line: words[0].line, name, l3, l4, queueNum, queueLen });
}

function unknownHelperHint(name: string, l4: string): string {
  const known = HELPERS.get(name);
  if (known !== undefined) return `this helper exists for ${known.l4.join(' and ')}, not for ${l4}`;
  const close = nearestWord(name, HELPERS.keys());
  if (close !== undefined) return `did you mean \`${close}\`?`;
  return `known helpers: ${[...HELPERS.keys()].join(' ')}`;
}

export function helperBlock(helper: HelperDraft): Block {
  // Lines of a `Type` that stand directly in `Helper` go into the next `Type`, as in C.
  let pending = emptyPending();
  const stray = (name: string): Handler => {
    return (p, word) => {
      p.warn(word, `\`${name}' belongs into a \`Type' block; it is used for the next one`);
      typeHandlers(pending)[name]!(p, word);
    };
  };
  return block({
    Setup: (p, word) => {
      helper.setup = p.bool(word);
    },
    Type: (p, word) => {
      const wanted = 'a helper name, `inet` or `inet6`, and `tcp` or `udp`';
      const three = [p.name(word, wanted), p.name(word, wanted), p.name(word, wanted)];
      const words = three as [Token, Token, Token];
      const name = `Type ${words.map((token) => token.text).join(' ')}`;
      p.qualify(name);
      const mine = pending;
      pending = emptyPending();
      p.section(name, typeBlock(mine));
      fileType(p, helper, words, mine);
    },
    QueueNum: stray('QueueNum'),
    QueueLen: stray('QueueLen'),
    Policy: stray('Policy'),
  });
}
