// The words of the command line: commands, tables, options, and which option may stand with which
// command. Tables only. An option is a bit: what a command needs or allows is then a word, and the
// order of the bits is the order in which complaints are made. docs/conntrack.md, "Options".

export type CommandName =
  | 'list'
  | 'get'
  | 'delete'
  | 'create'
  | 'add'
  | 'update'
  | 'event'
  | 'flush'
  | 'count'
  | 'stats'
  | 'version'
  | 'help'
  | 'top';

export type Table = 'conntrack' | 'expect' | 'dying' | 'unconfirmed';

/** In the order in which a prefix is matched against them. */
export const TABLES: readonly Table[] = ['expect', 'conntrack', 'dying', 'unconfirmed'];

/** An option of the general part; the number of its bit. */
export const O = {
  src: 0,
  dst: 1,
  'reply-src': 2,
  'reply-dst': 3,
  protonum: 4,
  timeout: 5,
  status: 6,
  zero: 7,
  'event-mask': 8,
  'tuple-src': 9,
  'tuple-dst': 10,
  'mask-src': 11,
  'mask-dst': 12,
  mark: 13,
  id: 14,
  family: 15,
  'src-nat': 16,
  'dst-nat': 17,
  output: 18,
  secmark: 19,
  'buffer-size': 20,
  'any-nat': 21,
  zone: 22,
  label: 23,
  'label-add': 24,
  'label-del': 25,
  'orig-zone': 26,
  'reply-zone': 27,
  labelmap: 28,
  // ours
  interval: 29,
  sort: 30,
} as const;

export type OptionName = keyof typeof O;

/** The names that messages use, by bit. */
export const OPTION_NAMES = Object.keys(O) as OptionName[];

/** The bits of these options. */
export function bits(...names: OptionName[]): number {
  return names.reduce((sum, name) => sum | (1 << O[name]), 0);
}

/** One option as it is written. `command`, `option` or `place` tells what it is. */
export interface Word {
  readonly short?: string;
  readonly longs: readonly string[];
  /** 'optional' of a command: something attached to it, which has no meaning. */
  readonly value: 'none' | 'required' | 'optional';
  readonly command?: CommandName;
  readonly option?: OptionName | 'nat-range';
  /** Bit of a protocol's option (protocols.ts). */
  readonly place?: number;
}

function command(
  short: string,
  long: string,
  name: CommandName,
  value: Word['value'] = 'optional',
): Word {
  return { short, longs: [long], value, command: name };
}

function option(
  short: string | undefined,
  longs: readonly string[],
  value: Word['value'] = 'required',
): Word {
  const name = longs[0] as OptionName | 'nat-range';
  return { ...(short === undefined ? {} : { short }), longs, value, option: name };
}

export const WORDS: readonly Word[] = [
  command('L', 'dump', 'list'),
  command('G', 'get', 'get'),
  command('D', 'delete', 'delete'),
  command('I', 'create', 'create'),
  command('A', 'add', 'add'),
  command('U', 'update', 'update'),
  command('E', 'event', 'event'),
  command('F', 'flush', 'flush'),
  command('C', 'counter', 'count'),
  command('S', 'stats', 'stats'),
  command('V', 'version', 'version', 'none'),
  command('h', 'help', 'help', 'none'),
  { longs: ['top'], value: 'none', command: 'top' },
  option('s', ['src', 'orig-src']),
  option('d', ['dst', 'orig-dst']),
  option('r', ['reply-src']),
  option('q', ['reply-dst']),
  option('p', ['protonum']),
  option('f', ['family']),
  option('t', ['timeout']),
  option('u', ['status']),
  option('m', ['mark']),
  option('w', ['zone']),
  option('(', ['orig-zone']),
  option(')', ['reply-zone']),
  option('n', ['src-nat'], 'optional'),
  option('g', ['dst-nat'], 'optional'),
  option('j', ['any-nat'], 'optional'),
  option('c', ['secmark']),
  option('i', ['id']),
  option('l', ['label']),
  option('<', ['label-add']),
  option('>', ['label-del'], 'optional'),
  option(undefined, ['labelmap']),
  option('z', ['zero'], 'none'),
  option('e', ['event-mask']),
  option('o', ['output']),
  option('b', ['buffer-size']),
  option('[', ['tuple-src']),
  option(']', ['tuple-dst']),
  option('{', ['mask-src']),
  option('}', ['mask-dst']),
  option('a', ['nat-range']),
  option(undefined, ['interval']),
  option(undefined, ['sort']),
];

/** What a command asks of the options. `pair`: -s and -d, or -r and -q, must stand together. */
export interface Rules {
  readonly needs: number;
  readonly allows: number;
  readonly pair: boolean;
}

const ADDRESSES = bits('src', 'dst', 'reply-src', 'reply-dst');
const NARROWING = ADDRESSES | bits('protonum', 'mask-src', 'mask-dst', 'mark', 'family');
const ZONES = bits('zone', 'orig-zone', 'reply-zone');
const NAT = bits('src-nat', 'dst-nat');
const LISTING =
  NARROWING | NAT | ZONES | bits('status', 'output', 'secmark', 'any-nat', 'label', 'labelmap');

function rules(needs: number, allows = 0, pair = false): Rules {
  return { needs, allows: needs | allows, pair };
}

const CREATING = rules(
  bits('protonum', 'timeout'),
  ADDRESSES | NAT | ZONES | bits('status', 'mark', 'label-add'),
  true,
);
const NOTHING = rules(0);

const CONNTRACK: Readonly<Record<CommandName, Rules>> = {
  list: rules(0, LISTING | bits('zero')),
  event: rules(0, LISTING | bits('event-mask', 'buffer-size')),
  create: CREATING,
  add: CREATING,
  update: rules(
    0,
    NARROWING |
      NAT |
      bits('timeout', 'status', 'id', 'output', 'label', 'label-add', 'label-del', 'labelmap'),
  ),
  delete: rules(
    0,
    NARROWING | NAT | ZONES | bits('timeout', 'status', 'id', 'output', 'label', 'labelmap'),
  ),
  get: rules(bits('protonum'), ADDRESSES | bits('id', 'family', 'output', 'label'), true),
  flush: rules(0, bits('family')),
  count: NOTHING,
  stats: NOTHING,
  version: NOTHING,
  help: rules(0, bits('protonum')),
  top: rules(0, LISTING | bits('interval', 'sort')),
};

const ONE_EXPECTATION = rules(bits('src', 'dst', 'protonum'), bits('reply-src', 'reply-dst'));
const EXPECT: Partial<Readonly<Record<CommandName, Rules>>> = {
  list: rules(0, bits('family', 'output')),
  event: rules(0, bits('output')),
  create: rules(
    bits('src', 'dst', 'protonum', 'timeout', 'tuple-src', 'tuple-dst', 'mask-src', 'mask-dst'),
    bits('reply-src', 'reply-dst', 'status'),
  ),
  delete: ONE_EXPECTATION,
  get: ONE_EXPECTATION,
};

/** The rules of a command on a table. */
export function rulesOf(name: CommandName, table: Table): Rules {
  if (table !== 'expect') return CONNTRACK[name];
  return EXPECT[name] ?? (name === 'help' ? CONNTRACK.help : NOTHING);
}
