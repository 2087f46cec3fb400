/*
 * Grammar of `Filter`: which flows are followed at all.
 *
 * Three kinds of sets: Protocol, Address, State. Sets of one kind merge, however many sections
 * wrote them, and the last `Accept` or `Ignore` holds for all their entries; `From` works alike.
 * A set without entries is still in force (an empty `Accept` lets nothing through).
 */

import { type Family, networkBytes, parseAddress } from './address.js';
import { nearestWord } from './diagnostic.js';
import type { FilterDraft, GeneralDraft, Policy } from './draft.js';
import { isName, type Token } from './lexer.js';
import { type Block, block, type Parser } from './parser.js';
import { protocolNames, protocolNumber } from './protocols.js';

/** Kernel's numbers (uapi linux/netfilter/nf_conntrack_tcp.h); LISTEN is its SYN_SENT2. */
export const TCP_STATES: ReadonlyMap<string, number> = new Map([
  ['SYN_SENT', 1],
  ['SYN_RECV', 2],
  ['ESTABLISHED', 3],
  ['FIN_WAIT', 4],
  ['CLOSE_WAIT', 5],
  ['LAST_ACK', 6],
  ['TIME_WAIT', 7],
  ['CLOSE', 8],
  ['CLOSED', 8],
  ['LISTEN', 9],
]);

function filterOf(general: GeneralDraft): FilterDraft {
  general.filter ??= {};
  return general.filter;
}

function mixedPolicy(p: Parser, at: Token, kind: string, before: Policy | undefined, now: Policy) {
  if (before === undefined || before === now) return;
  p.warn(
    at,
    `\`${kind} ${now}' also turns the entries of the earlier \`${kind} ${before}' into ${now}`,
    'all sets of one kind have one policy, the last one written',
  );
}

function policy(p: Parser): Policy {
  return p.keyword(['Accept', 'Ignore']).text as Policy;
}

// --- Protocol ---

export function addProtocol(numbers: number[], number: number | undefined): void {
  if (number !== undefined && !numbers.includes(number)) numbers.push(number);
}

/** The set, with its policy now `rule`. */
export function protocolSet(general: GeneralDraft, rule: Policy) {
  const filter = filterOf(general);
  filter.protocol ??= { policy: rule, numbers: [] };
  filter.protocol.policy = rule;
  return filter.protocol;
}

/** Number of the protocol that the next token names; undefined after a warning. */
export function protocolEntry(p: Parser): number | undefined {
  const token = p.peek();
  if (token.text === 'TCP' || token.text === 'UDP' || isName(token)) {
    p.take();
    const number = protocolNumber(token.text);
    if (number !== undefined) return number;
    const close = nearestWord(token.text, protocolNames());
    p.warn(
      token,
      `getprotobyname() cannot find protocol \`${token.text}' in /etc/protocols`,
      close === undefined ? undefined : `did you mean \`${close}\`?`,
    );
    return undefined;
  }
  return p.fail(token, '`Protocol` lists names of protocols, like TCP, SCTP or ICMP');
}

function protocol(p: Parser, word: Token, general: GeneralDraft): void {
  const rule = policy(p);
  mixedPolicy(p, word, 'Protocol', general.filter?.protocol?.policy, rule);
  const { numbers } = protocolSet(general, rule);
  p.braces('Protocol', () => addProtocol(numbers, protocolEntry(p)));
}

// --- Address ---

export function addressSet(general: GeneralDraft, rule: Policy) {
  const filter = filterOf(general);
  filter.address ??= { policy: rule, entries: [], seen: new Set() };
  filter.address.policy = rule;
  return filter.address;
}

/** Reads one `IPv4_address IP` or `IPv6_address IP` into the set. */
export function addressEntry(p: Parser, general: GeneralDraft, rule: Policy): void {
  const word = p.keyword(['IPv4_address', 'IPv6_address']);
  const family: Family = word.text === 'IPv4_address' ? 4 : 6;
  const width = family === 4 ? 32 : 128;
  const token = p.ip(word);
  const [text = '', length] = token.text.split('/');
  const prefix = length === undefined ? width : Number(length);
  if (prefix > width) {
    p.warn(
      token,
      `${token.text} is not a valid network, ignoring`,
      `an IPv${family} prefix has at most ${width} bits`,
    );
    return;
  }
  const address = parseAddress(family, text);
  if (address === undefined) {
    p.warn(token, `${text} is not a valid IPv${family}, ignoring`);
    return;
  }
  const bytes = networkBytes(address, prefix);
  const { entries, seen } = addressSet(general, rule);
  const key = `${bytes}/${prefix}`;
  const known = seen.has(key);
  seen.add(key);
  if (!known) entries.push({ family, bytes, prefix });
  else if (prefix < width) p.warn(token, `netmask ${text} is repeated in the ignore pool`);
}

function address(p: Parser, word: Token, general: GeneralDraft): void {
  const rule = policy(p);
  mixedPolicy(p, word, 'Address', general.filter?.address?.policy, rule);
  addressSet(general, rule);
  p.braces('Address', () => addressEntry(p, general, rule));
}

// --- State ---

export function stateSet(general: GeneralDraft, rule: Policy) {
  const filter = filterOf(general);
  filter.state ??= { policy: rule, states: [] };
  filter.state.policy = rule;
  return filter.state;
}

/** Reads `STATE... for TCP`; the list may be empty. */
export function stateList(p: Parser, states: number[]): void {
  for (let token = p.peek(); token.text !== 'for'; token = p.peek()) {
    const word = p.keyword([...TCP_STATES.keys(), 'for'], 'a list of states ends with `for TCP`');
    const state = TCP_STATES.get(word.text)!;
    if (!states.includes(state)) states.push(state);
  }
  p.take();
  p.keyword(['TCP'], 'states can be filtered for TCP only');
}

function state(p: Parser, word: Token, general: GeneralDraft): void {
  const rule = policy(p);
  mixedPolicy(p, word, 'State', general.filter?.state?.policy, rule);
  const { states } = stateSet(general, rule);
  p.braces('State', () => stateList(p, states));
}

// --- Filter ---

export function filterBlock(general: GeneralDraft): Block {
  return block({
    Protocol: (p, word) => protocol(p, word, general),
    Address: (p, word) => address(p, word, general),
    State: (p, word) => state(p, word, general),
  });
}

export function filter(p: Parser, word: Token, general: GeneralDraft): void {
  const from =
    p.accept('From') === undefined
      ? 'Userspace'
      : (p.keyword(['Userspace', 'Kernelspace']).text as 'Userspace' | 'Kernelspace');
  const draft = filterOf(general);
  if (draft.from !== undefined && draft.from !== from) {
    p.warn(word, `this \`Filter' changes the earlier one from ${draft.from} to ${from}`);
  }
  draft.from = from;
  p.section('Filter', filterBlock(general));
}
