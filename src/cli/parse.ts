// A command line → what is asked for, checked: the words, their values, and whether they may stand
// together. The order of the checks decides which complaint is made, and scripts know it
// (docs/conntrack.md, "Order of complaints"). Reads the label map if labels are named; nothing else.

import { AF_INET, AF_INET6 } from '../report/names.js';
import {
  type Address,
  parsePlain,
  parsePrefixed,
  parseTranslation,
  type Translation,
} from './address.js';
import { checkRules } from './check.js';
import { failure, usageError } from './complain.js';
import { Scanner, Vocabulary } from './getopt.js';
import { LABEL_MAP, labelBits, readLabelMap } from './labels.js';
import { bits, type CommandName, O, type OptionName, TABLES, WORDS, type Word } from './options.js';
import { findProtocol, P, type Protocol, protocolWords } from './protocols.js';
import { type Ends, Request } from './request.js';
import {
  OUT_LABELS,
  OUT_WHOLE,
  parseEvents,
  parseLeading,
  parseMark,
  parseNumber,
  parseOutputs,
  parsePortNumber,
  parseStatus,
  type Warn,
} from './values.js';

const GENERAL = new Vocabulary(WORDS);
const EXTENDED = new Map<Protocol, Vocabulary>();

export interface ParseContext {
  /** Lines for standard error that do not end the command. */
  warn: Warn;
  /** Output types of earlier lines of a file: they stay in force. */
  output?: number;
}

/** Reads one command line (without the program's name). Throws CommandError. */
export function parseCommandLine(words: readonly string[], context: ParseContext): Request {
  const reading = new Reading(words, context);
  const request = reading.read();
  resolveLabels(request, reading, context.warn);
  checkRules(request);
  return request;
}

class Reading {
  readonly request = new Request();
  labels: string[] = [];
  labelsAdd: string[] = [];
  labelsDel: string[] | undefined = [];
  labelMapPath: string | undefined;
  private readonly scanner: Scanner;

  constructor(
    words: readonly string[],
    readonly context: ParseContext,
  ) {
    this.scanner = new Scanner(words, GENERAL);
    this.request.output = context.output ?? 0;
  }

  read(): Request {
    for (let word = this.scanner.next(); word !== undefined; word = this.scanner.next()) {
      if (word.option !== undefined) this.takeOption(word, word.option);
      else if (word.place !== undefined) this.takePlace(word.place, this.scanner.value!);
      else this.takeCommand(word.command!);
    }
    const { request } = this;
    if (request.table === 'expect' || request.command === 'create' || request.command === 'add') {
      request.family ||= AF_INET;
    }
    return request;
  }

  private takeCommand(command: CommandName): void {
    const { request } = this;
    if (request.command !== undefined) throw usageError('Invalid commands combination');
    request.command = command;
    const name = command === 'top' ? undefined : this.scanner.argument();
    if (name === undefined) return;
    const table = TABLES.find((candidate) => candidate.startsWith(name));
    if (table === undefined) throw usageError(`unknown type \`${name}'`);
    request.table = table;
    if (table === 'expect' && (command === 'update' || command === 'add')) {
      throw usageError(`Can't do --${command} on expectations`);
    }
    if ((table === 'dying' || table === 'unconfirmed') && command !== 'list') {
      throw usageError("Can't do that command with tables `dying' and `unconfirmed'");
    }
  }

  private takePlace(place: number, value: string): void {
    const { request } = this;
    request.places |= 1 << place;
    request.values[place] = placeValue(place, value, request.protocol!);
  }

  private takeOption(word: Word, option: OptionName | 'nat-range'): void {
    if (option === 'nat-range') {
      this.context.warn('WARNING: ignoring -a, deprecated option.');
      return;
    }
    const optional = word.value === 'optional';
    const value = this.scanner.value ?? (optional ? this.scanner.argument() : undefined);
    this.request.given |= 1 << O[option];
    SETTERS[option](this, value ?? '', value === undefined, word.short ?? '');
  }

  setLabelMap(path: string): void {
    if (this.labelMapPath !== undefined) {
      throw usageError("option `--labelmap' can only be specified once");
    }
    this.labelMapPath = path;
  }

  readonly setFamily = (family: number): void => {
    const { request } = this;
    if (request.family !== 0 && request.family !== family) {
      throw usageError('mismatched address family');
    }
    request.family = family;
  };

  plain(text: string, option: OptionName): Address {
    return parsePlain(text, option, this.setFamily);
  }

  /** An address whose prefix is a mask: the later of prefix and mask option counts. */
  prefixed(ends: Ends, end: keyof Ends, text: string): void {
    const { address, mask } = parsePrefixed(text, this.setFamily);
    ends[end] = address;
    if (mask === undefined) return;
    this.request.mask[end] = mask;
    this.request.given |= 1 << O[end === 'src' ? 'mask-src' : 'mask-dst'];
  }

  translation(text: string, option: OptionName): Translation {
    return parseTranslation(text, option, this.setFamily);
  }

  setProtocol(text: string): void {
    const choice = findProtocol(text);
    this.request.choice = choice;
    const { protocol } = choice;
    if (protocol === undefined) return;
    if (this.scanner.vocabulary !== GENERAL) {
      this.scanner.vocabulary = new Vocabulary(protocolWords(protocol), this.scanner.vocabulary);
      return;
    }
    let vocabulary = EXTENDED.get(protocol);
    if (vocabulary === undefined) {
      vocabulary = new Vocabulary(protocolWords(protocol), GENERAL);
      EXTENDED.set(protocol, vocabulary);
    }
    this.scanner.vocabulary = vocabulary;
  }
}

/** What an option's value does: its text, whether there was none, the option's letter. */
type Setter = (reading: Reading, text: string, absent: boolean, letter: string) => void;

function number(name: 'zone' | 'origZone' | 'replyZone' | 'id' | 'secmark', most: number): Setter {
  return ({ request }, text, _absent, letter) => {
    request[name] = parseNumber(text, most, letter);
  };
}

function translation(name: 'srcNat' | 'dstNat' | 'anyNat', option: OptionName): Setter {
  return (reading, text, absent) => {
    reading.request[name] = absent ? undefined : reading.translation(text, option);
  };
}

function address(ends: 'reply' | 'mask', end: keyof Ends, option: OptionName): Setter {
  return (reading, text) => {
    reading.request[ends][end] = reading.plain(text, option);
  };
}

function prefixed(ends: 'orig' | 'tuple', end: keyof Ends): Setter {
  return (reading, text) => reading.prefixed(reading.request[ends], end, text);
}

const SETTERS: Readonly<Record<OptionName, Setter>> = {
  src: prefixed('orig', 'src'),
  dst: prefixed('orig', 'dst'),
  'tuple-src': prefixed('tuple', 'src'),
  'tuple-dst': prefixed('tuple', 'dst'),
  'reply-src': address('reply', 'src', 'reply-src'),
  'reply-dst': address('reply', 'dst', 'reply-dst'),
  'mask-src': address('mask', 'src', 'mask-src'),
  'mask-dst': address('mask', 'dst', 'mask-dst'),
  'src-nat': translation('srcNat', 'src-nat'),
  'dst-nat': translation('dstNat', 'dst-nat'),
  'any-nat': translation('anyNat', 'any-nat'),
  zone: number('zone', 0xffff),
  'orig-zone': number('origZone', 0xffff),
  'reply-zone': number('replyZone', 0xffff),
  id: number('id', 0xffffffff),
  secmark: number('secmark', 0xffffffff),
  protonum: (reading, text) => reading.setProtocol(text),
  family: (reading, text) => reading.setFamily(familyOf(text)),
  timeout: ({ request }, text) => {
    request.timeout = parseLeading(text);
  },
  'buffer-size': ({ request }, text) => {
    request.bufferSize = parseLeading(text);
  },
  status: ({ request, context }, text) => parseStatus(text, context.warn, request.status),
  'event-mask': ({ request, context }, text) => {
    request.events |= parseEvents(text, context.warn);
  },
  output: ({ request, context }, text) => {
    request.output = parseOutputs(text, request.output, context.warn);
  },
  mark: ({ request }, text) => {
    request.mark = parseMark(text);
  },
  label: ({ labels }, text) => {
    labels.push(...text.split(','));
  },
  'label-add': ({ labelsAdd }, text) => {
    labelsAdd.push(...text.split(','));
  },
  'label-del': (reading, text, absent) => {
    if (absent) reading.labelsDel = undefined;
    else reading.labelsDel?.push(...text.split(','));
  },
  labelmap: (reading, text) => reading.setLabelMap(text),
  zero: () => {},
  interval: ({ request }, text) => {
    request.interval = Number(text);
    if (!(request.interval >= 0.1 && request.interval <= 3600)) {
      throw usageError(`--interval takes seconds from 0.1 to 3600, not \`${text}'`);
    }
  },
  sort: ({ request }, text) => {
    request.sort = text;
  },
};

function familyOf(text: string): number {
  if (text.startsWith('ipv4')) return AF_INET;
  if (text.startsWith('ipv6')) return AF_INET6;
  throw usageError(`\`${text}' unsupported protocol`);
}

function placeValue(place: number, text: string, protocol: Protocol): number {
  switch (place) {
    case P.state:
      return stateValue(text, protocol);
    case P.role:
      return roleValue(text);
    case P.origVtag:
    case P.replyVtag:
      return parseLeading(text);
    case P.icmpType:
    case P.icmpCode:
      return parseLeading(text) & 0xff;
    case P.icmpId:
      return parseLeading(text) & 0xffff;
    default:
      return parsePortNumber(text, protocol.anyBase);
  }
}

function stateValue(text: string, protocol: Protocol): number {
  const state = protocol.states.indexOf(text);
  if (state >= 0) return state;
  if (text === 'LISTEN' && protocol.name === 'tcp') return protocol.states.indexOf('SYN_SENT2');
  const unknown = protocol.name === 'dccp' ? 'Unknown' : 'unknown';
  throw usageError(`${unknown} ${protocol.name.toUpperCase()} state \`${text}'`);
}

function roleValue(text: string): number {
  const role = ['client', 'server'].findIndex((name) => name.startsWith(text.toLowerCase()));
  if (text === '' || role < 0) throw usageError(`Unknown DCCP role \`${text}'`);
  return role;
}

const LABELS = bits('label', 'label-add', 'label-del');

function resolveLabels(request: Request, reading: Reading, warn: Warn): void {
  const named = (request.given & LABELS) !== 0;
  if (!named && !(request.output & (OUT_LABELS | OUT_WHOLE))) return;
  const found = readLabelMap(reading.labelMapPath ?? LABEL_MAP);
  if ('map' in found) request.labelMap = found.map;
  else warn(`nfct_labelmap_new: ${found.reason}`);
  if (request.has('label-add') && request.has('label-del')) {
    throw failure('cannot use --label-add and --label-del at the same time');
  }
  if (request.has('label')) request.label = labelBits(reading.labels, request.labelMap);
  if (request.has('label-add')) request.labelAdd = labelBits(reading.labelsAdd, request.labelMap);
  if (request.has('label-del') && reading.labelsDel !== undefined) {
    request.labelDel = labelBits(reading.labelsDel, request.labelMap);
  }
}
