/*
 * Lexer of conntrackd.conf: text to tokens.
 *
 * The language has no quotes, no separators and no context: a token's class depends on its text
 * alone. The longest match wins; among equally long ones the order is reserved word, boolean,
 * number, address, mode name, plain word. Newlines are white space and only count lines.
 *
 * Deliberate differences to the C lexer, all of them lenient (docs/configuration.md, Differences):
 * a byte order mark is skipped, a comment may end the file, a path ends at a tab and at a carriage
 * return too, and braces at the end of a path are braces.
 *
 * Pure; never throws; linear in the length of the text.
 */

export type TokenKind =
  | 'reserved'
  | 'true'
  | 'false'
  | 'number'
  | 'signed'
  | 'ip'
  | 'path'
  | 'alarm'
  | 'ftfw'
  | 'notrack'
  | 'word'
  | 'other'
  | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** Exactly as written; empty for `end`. */
  readonly text: string;
  /** Offset of the first character, UTF-16 units. */
  readonly offset: number;
  /** 1-based. */
  readonly line: number;
  /** 1-based, UTF-16 units. */
  readonly column: number;
}

/** Words that can never be a name (of an interface, a protocol, a connection helper). */
export const RESERVED: ReadonlySet<string> = new Set(
  `UNIX IPv4_address IPv6_address IPv4_Destination_Address IPv6_Destination_Address IPv4_interface
  IPv6_interface Interface Multicast UDP TCP HashSize RefreshTime CacheTimeout CommitTimeout
  HashLimit Path Backlog Group Port LogFile Syslog LockFile General Sync Stats SocketBufferSize
  SocketBufferSizeMaxGrown SocketBufferSizeMaxGrowth NetlinkBufferSize NetlinkBufferSizeMaxGrowth
  Mode ResendQueueSize Checksum ACKWindowSize for SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT
  LAST_ACK TIME_WAIT CLOSE CLOSED LISTEN SndSocketBuffer RcvSocketBuffer Filter Protocol Address
  State Accept Ignore PurgeTimeout From Userspace Kernelspace EventIterationLimit Default PollSecs
  NetlinkOverrunResync Nice Scheduler Type Priority NetlinkEventsReliable DisableInternalCache
  DisableExternalCache Options TCPWindowTracking ExpectationSync ErrorQueueLength Helper QueueNum
  QueueLen Policy ExpectMax ExpectTimeout Systemd StartupResync Setup`.split(/\s+/),
);

/** Words that are classes of their own, in any letter case. */
const FOLDED: ReadonlyMap<string, TokenKind> = new Map<string, TokenKind>([
  ['on', 'true'],
  ['yes', 'true'],
  ['off', 'false'],
  ['no', 'false'],
  ['alarm', 'alarm'],
  ['persistent', 'alarm'],
  ['ftfw', 'ftfw'],
  ['nack', 'ftfw'],
  ['notrack', 'notrack'],
]);

const BLANK = /[ \t\r\n]+|#[^\n]*/y;
const NUMBER = /\d+/y;
const SIGNED = /[+-]\d+/y;
const WORD = /[A-Za-z][A-Za-z0-9._-]*/y;
const IPV4 = /\d+\.\d+\.\d+\.\d+(?:\/\d+)?/y;
const HEX = '[0-9a-fA-F]';
const IPV6_FULL = new RegExp(`${HEX}{1,4}(?::${HEX}{1,4}){0,7}(?:/\\d+)?`, 'y');
// With `::` the class is wider than what can be an address: a bad one is to be reported as one.
const IPV6_SHORT = new RegExp(
  `(?:${HEX}+(?::${HEX}+){0,6})?::(?:${HEX}+(?::${HEX}+){0,6}:?)?(?:/\\d+)?`,
  'y',
);
const PATH = /\/[^ \t\r\n"]*/y;

/** An address by its class, a plain word by its looks: `fe0`, `ace`. */
const HEX_WORD = /^[A-Fa-f][0-9a-fA-F]{0,3}$/;

/** True for a token that may stand where a name is wanted. */
export function isName(token: Token): boolean {
  return token.kind === 'word' || (token.kind === 'ip' && HEX_WORD.test(token.text));
}

function match(pattern: RegExp, text: string, offset: number): string {
  pattern.lastIndex = offset;
  return pattern.exec(text)?.[0] ?? '';
}

/** Text of the path at `offset`: closing braces glued to its end do not belong to it. */
function matchPath(text: string, offset: number): string {
  const whole = match(PATH, text, offset);
  let end = whole.length;
  while (end > 1 && whole[end - 1] === '}') end--;
  return whole.slice(0, end);
}

function wordKind(word: string): TokenKind {
  if (RESERVED.has(word)) return 'reserved';
  return FOLDED.get(word.toLowerCase()) ?? 'word';
}

/** Class and text of the token at `offset`, which is not white space and not the end. */
function classify(text: string, offset: number): { kind: TokenKind; text: string } {
  const word = match(WORD, text, offset);
  const kind = wordKind(word);
  // In order of precedence: a later class wins only with a longer match.
  const candidates: { kind: TokenKind; text: string }[] = [
    { kind: 'number', text: match(NUMBER, text, offset) },
    { kind: 'signed', text: match(SIGNED, text, offset) },
    { kind: 'ip', text: match(IPV4, text, offset) },
    { kind: 'ip', text: match(IPV6_FULL, text, offset) },
    { kind: 'ip', text: match(IPV6_SHORT, text, offset) },
    { kind: 'path', text: matchPath(text, offset) },
    { kind, text: word },
  ];
  let best = candidates[0]!;
  for (const candidate of candidates) {
    if (candidate.text.length > best.text.length) best = candidate;
  }
  if (best.text !== '') return best;
  return { kind: 'other', text: String.fromCodePoint(text.codePointAt(offset)!) };
}

/** All tokens of the text; the last one is of kind `end`. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let offset = text.startsWith('\ufeff') ? 1 : 0;
  let line = 1;
  let lineStart = offset;
  for (;;) {
    // One run of blanks or one comment at a time: a loop in the pattern would need stack.
    for (let blank = match(BLANK, text, offset); blank !== ''; ) {
      for (let at = blank.indexOf('\n'); at !== -1; at = blank.indexOf('\n', at + 1)) {
        line++;
        lineStart = offset + at + 1;
      }
      offset += blank.length;
      blank = match(BLANK, text, offset);
    }
    const place = { offset, line, column: offset - lineStart + 1 };
    if (offset >= text.length) {
      tokens.push({ kind: 'end', text: '', ...place });
      return tokens;
    }
    const token = classify(text, offset);
    tokens.push({ ...token, ...place });
    offset += token.text.length;
  }
}
