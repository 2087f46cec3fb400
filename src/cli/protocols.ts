// The options of each protocol (`-p tcp --sport ...`): names, values, and which command needs or
// allows them. Tables, as in options.ts. One bit means the same thing in every protocol, under the
// protocol's own name: a source port, a GRE key. docs/conntrack.md, "Protocol options".

import { readFileSync } from 'node:fs';
import {
  DCCP_STATES,
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  SCTP_STATES,
  TCP_STATES,
} from '../report/names.js';
import { usageError } from './complain.js';
import type { CommandName, Table, Word } from './options.js';

/** Number of the bit of each protocol option, in the order of complaints. */
export const P = {
  sport: 0,
  dport: 1,
  replySport: 2,
  replyDport: 3,
  maskSport: 4,
  maskDport: 5,
  tupleSport: 6,
  tupleDport: 7,
  state: 8,
  origVtag: 9,
  replyVtag: 10,
  role: 11,
  icmpType: 12,
  icmpCode: 13,
  icmpId: 14,
} as const;

export type Place = keyof typeof P;

export const PLACES = Object.keys(P) as Place[];

function set(...places: Place[]): number {
  return places.reduce((sum, place) => sum | (1 << P[place]), 0);
}

const PORTS = set('sport', 'dport', 'replySport', 'replyDport');
const ANNOUNCED = set('maskSport', 'maskDport', 'tupleSport', 'tupleDport');
const VTAGS = set('origVtag', 'replyVtag');
const ICMP_KIND = set('icmpType', 'icmpCode');

export interface ProtocolOption {
  readonly place: Place;
  /** The first is the one that help lists, the last the one that messages use. */
  readonly longs: readonly string[];
  readonly help: string;
}

export interface Protocol {
  readonly number: number;
  readonly name: string;
  readonly options: readonly ProtocolOption[];
  /** Names for the complaint about half a pair: of the original and of the reply direction. */
  readonly halves: readonly [string, string];
  /** Base of numbers: ports are decimal, GRE keys as in C. */
  readonly anyBase: boolean;
  readonly states: readonly string[];
  /** Needed and allowed by a command on a table; `pair` as in options.ts. */
  readonly rules: (
    command: CommandName,
    table: Table,
  ) => { needs: number; allows: number; pair: boolean };
}

const NAMES: readonly [string, string] = [
  "`--sport' and `--dport'",
  // These option names do not exist; scripts know the text.
  "`--reply-src-port' and `--reply-dst-port'",
];

function portOptions(what: 'port' | 'key'): ProtocolOption[] {
  const [src, dst] = what === 'port' ? ['sport', 'dport'] : ['srckey', 'dstkey'];
  const one = (place: Place, longs: string[], help: string) => ({ place, longs, help });
  return [
    one('sport', [`orig-${what}-src`, src!], `original source ${what}`),
    one('dport', [`orig-${what}-dst`, dst!], `original destination ${what}`),
    one('replySport', [`reply-${what}-src`], `reply source ${what}`),
    one('replyDport', [`reply-${what}-dst`], `reply destination ${what}`),
    one('maskSport', [`mask-${what}-src`], `mask source ${what}`),
    one('maskDport', [`mask-${what}-dst`], `mask destination ${what}`),
    one('tupleSport', [`tuple-${what}-src`], `expectation tuple src ${what}`),
    one('tupleDport', [`tuple-${what}-dst`], `expectation tuple dst ${what}`),
  ];
}

/**
 * The rules of a protocol with ports. `made` is what only -I and -A need (and -I expect needs of
 * it), `seen` what they need and a list may select by.
 */
function portRules(seen: number, made: number, madeExpect: number, changed: number) {
  return (command: CommandName, table: Table) => {
    if (table === 'expect') {
      const needs = command === 'create' ? set('sport', 'dport') | ANNOUNCED | madeExpect : PORTS;
      return { needs, allows: needs, pair: false };
    }
    if (command === 'create' || command === 'add') {
      const needs = seen | made;
      return { needs, allows: needs | PORTS, pair: true };
    }
    if (command === 'get') return { needs: 0, allows: PORTS | seen | changed, pair: true };
    const allows = PORTS | seen | (command === 'update' ? changed : 0);
    return { needs: 0, allows, pair: false };
  };
}

function icmpRules(command: CommandName, table: Table) {
  if (table === 'expect') return { needs: 0, allows: 0, pair: false };
  const needs = command === 'create' || command === 'add' || command === 'get' ? ICMP_KIND : 0;
  return { needs, allows: ICMP_KIND | set('icmpId'), pair: false };
}

function stateOption(name: string, example: string): ProtocolOption {
  return { place: 'state', longs: ['state'], help: `${name} state, fe. ${example}` };
}

function icmpOptions(name: string): ProtocolOption[] {
  return [
    { place: 'icmpType', longs: [`${name}-type`], help: `${name} type` },
    { place: 'icmpCode', longs: [`${name}-code`], help: `${name} code` },
    { place: 'icmpId', longs: [`${name}-id`], help: `${name} id` },
  ];
}

function protocol(
  number: number,
  name: string,
  parts: Partial<Protocol> & Pick<Protocol, 'options' | 'rules'>,
): Protocol {
  return { number, name, halves: NAMES, anyBase: false, states: [], ...parts };
}

export const PROTOCOLS: readonly Protocol[] = [
  protocol(IPPROTO_TCP, 'tcp', {
    options: [...portOptions('port'), stateOption('TCP', 'ESTABLISHED')],
    states: TCP_STATES,
    rules: portRules(set('state'), 0, 0, 0),
  }),
  protocol(IPPROTO_UDP, 'udp', { options: portOptions('port'), rules: portRules(0, 0, 0, 0) }),
  protocol(IPPROTO_UDPLITE, 'udplite', {
    options: portOptions('port'),
    rules: portRules(0, 0, 0, 0),
  }),
  protocol(IPPROTO_SCTP, 'sctp', {
    options: [
      ...portOptions('port'),
      stateOption('SCTP', 'ESTABLISHED'),
      { place: 'origVtag', longs: ['orig-vtag'], help: 'original verification tag' },
      { place: 'replyVtag', longs: ['reply-vtag'], help: 'reply verification tag' },
    ],
    states: SCTP_STATES.slice(0, 9), // HEARTBEAT_ACKED is refused by the kernel
    rules: portRules(set('state'), VTAGS, VTAGS, VTAGS),
  }),
  protocol(IPPROTO_DCCP, 'dccp', {
    options: [
      ...portOptions('port'),
      stateOption('DCCP', 'RESPOND'),
      { place: 'role', longs: ['role'], help: 'client or server' },
    ],
    halves: [NAMES[0], "`--reply-port-src' and `--report-port-dst'"],
    states: DCCP_STATES,
    rules: portRules(set('state'), set('role'), set('role'), 0),
  }),
  protocol(IPPROTO_ICMP, 'icmp', { options: icmpOptions('icmp'), rules: icmpRules }),
  protocol(IPPROTO_ICMPV6, 'icmpv6', { options: icmpOptions('icmpv6'), rules: icmpRules }),
  protocol(IPPROTO_GRE, 'gre', {
    options: portOptions('key'),
    halves: ["`--srckey' and `--dstkey'", "`--reply-src-key' and `--reply-dst-key'"],
    anyBase: true,
    rules: portRules(0, 0, set('replySport', 'replyDport'), 0),
  }),
];

const BY_NAME = new Map(PROTOCOLS.map((protocol) => [protocol.name, protocol]));
const BY_NUMBER = new Map(PROTOCOLS.map((protocol) => [protocol.number, protocol]));

/** The words that `-p` of this protocol adds to the command line. */
export function protocolWords(protocol: Protocol): Word[] {
  return protocol.options.map(({ longs, place }) => ({
    longs,
    value: 'required',
    place: P[place],
  }));
}

/** What messages call an option of this protocol. */
export function protocolOptionName(protocol: Protocol, place: number): string {
  return protocol.options.find((option) => P[option.place] === place)?.longs.at(-1) ?? '';
}

export interface ProtocolChoice {
  readonly number: number;
  /** Undefined for a protocol without options. */
  readonly protocol: Protocol | undefined;
}

/** The protocol that a word names: ours, then the system's list, then a number. */
export function findProtocol(word: string): ProtocolChoice {
  const known = BY_NAME.get(word) ?? BY_NAME.get(word.toLowerCase());
  if (known !== undefined) return { number: known.number, protocol: known };
  const listed = systemProtocols().find(({ names }) => names.includes(word));
  // A name of the system's list gets no options, even where the number has some.
  if (listed !== undefined) return { number: listed.number, protocol: undefined };
  const number = protocolNumber(word);
  if (number === undefined) throw usageError(`\`${word}' unsupported protocol`);
  return { number, protocol: BY_NUMBER.get(number) };
}

function protocolNumber(word: string): number | undefined {
  const match = /^\s*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)$/.exec(word)?.[1];
  if (match === undefined) return undefined;
  const number = /^0\d/.test(match) ? Number.parseInt(match, 8) : Number(match);
  return number <= 255 ? number : undefined;
}

/** The name for a protocol of the help text. */
export function protocolTitle(choice: ProtocolChoice): string {
  if (choice.protocol !== undefined) return choice.protocol.name;
  const listed = systemProtocols().find(({ number }) => number === choice.number);
  return listed?.names[0] ?? 'unknown';
}

interface SystemProtocol {
  readonly number: number;
  readonly names: readonly string[];
}

let system: SystemProtocol[] | undefined;

/** protocols(5). An unreadable file is an empty list. */
function systemProtocols(): SystemProtocol[] {
  system ??= readSystemProtocols();
  return system;
}

function readSystemProtocols(): SystemProtocol[] {
  let text: string;
  try {
    text = readFileSync('/etc/protocols', 'latin1');
  } catch {
    return [];
  }
  const entries: SystemProtocol[] = [];
  for (const line of text.split('\n')) {
    const [name, number, ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (!name || !number || !/^\d+$/.test(number)) continue;
    entries.push({ number: Number(number), names: [name, ...aliases] });
  }
  return entries;
}
