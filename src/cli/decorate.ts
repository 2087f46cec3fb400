// Lines for human eyes (`-o color`, `-o align`): fields of a finished line in columns and in colours.
// Pure functions from a line to a line. What a colour means: green and yellow how far a flow has
// come, cyan its addresses, magenta what an operator has put on it.

export type Decorate = (line: string) => string;

const RESET = '\x1b[0m';
const BOLD = '\x1b[1m';
const DIM = '\x1b[2m';
const RED = '\x1b[31m';
const GREEN = '\x1b[32m';
const YELLOW = '\x1b[33m';
const CYAN = '\x1b[36m';
const MAGENTA = '\x1b[35m';

/** Widths of fields by their name: IPv4 in full, IPv6 as long as it is mostly met. */
const WIDTHS: Readonly<Record<string, number>> = {
  src: 19,
  dst: 19,
  sport: 11,
  dport: 11,
  type: 8,
  code: 8,
  id: 13,
  packets: 16,
  bytes: 20,
  mark: 15,
  srckey: 13,
  dstkey: 13,
};
const STATE_WIDTH = 11;
const TIMEOUT_WIDTH = 7;
const NUMBER_WIDTH = 3;
const STANDING_WIDTH = 11;

const COLORS: Readonly<Record<string, string>> = {
  src: CYAN,
  dst: CYAN,
  sport: CYAN,
  dport: CYAN,
  srckey: CYAN,
  dstkey: CYAN,
  mark: MAGENTA,
  labels: MAGENTA,
  zone: MAGENTA,
  helper: MAGENTA,
};
const TAGS: Readonly<Record<string, string>> = {
  '[NEW]': GREEN,
  '[UPDATE]': YELLOW,
  '[DESTROY]': RED,
  '[ASSURED]': GREEN,
  '[UNREPLIED]': YELLOW,
  '[OFFLOAD]': GREEN,
  '[HW_OFFLOAD]': GREEN,
};

/** What to do with a line; undefined if nothing. */
export function decorator(color: boolean, align: boolean): Decorate | undefined {
  if (!color && !align) return undefined;
  return (line) => decorate(line, color, align);
}

function decorate(line: string, color: boolean, align: boolean): string {
  // Blanks within a field's own column (protocol, tag) stay with the word before them.
  const fields = line.match(/ *\S+(?: {2,}(?=\S))?/g) ?? [];
  let shown = '';
  for (const [place, field] of fields.entries()) {
    const text = field.trim();
    const width = align ? widthOf(text, place) : 0;
    const lead = field.slice(0, field.length - field.trimStart().length);
    const tail = field.slice(field.trimEnd().length);
    const paint = color ? colorOf(text, place) : '';
    const painted = paint === '' ? text : `${paint}${text}${RESET}`;
    shown += lead + painted + ' '.repeat(Math.max(0, width - text.length)) + tail;
  }
  return shown.trimEnd();
}

function widthOf(text: string, place: number): number {
  const name = text.slice(0, Math.max(0, text.indexOf('=')));
  if (name !== '') return WIDTHS[name] ?? 0;
  if (text.startsWith('[')) return place === 0 ? 0 : STANDING_WIDTH;
  if (/^\d+$/.test(text)) return place === 1 ? NUMBER_WIDTH : TIMEOUT_WIDTH;
  return /^[A-Z_0-9]+$/.test(text) ? STATE_WIDTH : 0;
}

function colorOf(text: string, place: number): string {
  const name = text.slice(0, Math.max(0, text.indexOf('=')));
  if (name !== '') return COLORS[name] ?? DIM;
  if (text.startsWith('[')) return TAGS[text] ?? DIM;
  if (/^\d+$/.test(text)) return DIM;
  if (/^[A-Z_]+$/.test(text)) return text === 'ESTABLISHED' ? GREEN : YELLOW;
  return place <= 2 ? BOLD : '';
}
