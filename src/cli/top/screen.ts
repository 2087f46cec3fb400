// The picture of --top: a look at the table as lines of text for a terminal of given size. Pure; the
// escapes are those of ECMA-48 that every terminal of the last forty years knows.

import type { Look, Row, Sort, ViewName } from './view.js';
import { VIEWS } from './view.js';

export interface Mood {
  readonly view: ViewName;
  readonly sort: Sort;
  readonly filter: string;
  /** A filter that is being typed. */
  readonly typing: boolean;
  readonly paused: boolean;
  readonly interval: number;
}

const BOLD = '\x1b[1m';
const REVERSE = '\x1b[7m';
const PLAIN = '\x1b[0m';
const HEADS: Readonly<Record<ViewName, string>> = {
  flows: 'FLOW',
  sources: 'SOURCE',
  ports: 'PORT',
  states: 'STATE',
};
const NUMBER = 10;
const TITLE_MIN = 20;

/** Lines that are not rows. */
export const FURNITURE = 4;

/** The lines of a picture, each at most `columns` wide, at most `rows` of them. */
export function picture(
  look: Look,
  mood: Mood,
  columns: number,
  rows: number,
  color: boolean,
): string[] {
  const paint = (text: string, how: string) => (color ? `${how}${text}${PLAIN}` : text);
  const lines = [
    paint(cut(summary(look, mood), columns), BOLD),
    cut(note(look, mood), columns),
    paint(cut(row(HEADS[mood.view], heads(mood), columns), columns), REVERSE),
    ...look.rows.map((each) => cut(row(each.title, cells(each, mood), columns), columns)),
  ];
  return lines.slice(0, rows);
}

function summary(look: Look, mood: Mood): string {
  const change = `+${look.added} -${look.gone} in ${mood.interval} s`;
  const rate = look.counted ? `  ${sized(look.rate)}B/s` : '';
  return `${look.flows} flows  ${change}${rate}  by ${mood.sort}${mood.paused ? '  PAUSED' : ''}`;
}

function note(look: Look, mood: Mood): string {
  if (mood.typing) return `filter: ${mood.filter}_`;
  if (mood.filter !== '') return `filter: ${mood.filter}  (Esc clears it)`;
  if (!look.counted && look.flows > 0) {
    return 'no byte counts: sysctl net.netfilter.nf_conntrack_acct is off';
  }
  const views = VIEWS.map((name, i) => `${i + 1} ${name}`).join('  ');
  return `${views}  |  r b k n t: sort  / filter  space pause  + - interval  q quit`;
}

function heads(mood: Mood): string[] {
  const last = mood.view === 'flows' ? 'TIMEOUT' : 'FLOWS';
  return ['RATE/s', 'BYTES', 'PACKETS', last];
}

function cells(each: Row, mood: Mood): string[] {
  const last = mood.view === 'flows' ? each.timeout : each.flows;
  return [sized(each.rate), sized(each.bytes), sized(each.packets), `${last}`];
}

/** The title on the left, numbers in columns on the right: as many as leave room for the title. */
function row(title: string, numbers: readonly string[], columns: number): string {
  const fitting = Math.max(1, Math.floor((columns - TITLE_MIN) / NUMBER));
  const right = numbers
    .slice(0, fitting)
    .map((text) => text.padStart(NUMBER))
    .join('');
  const room = Math.max(8, columns - right.length);
  return cut(title, room).padEnd(room) + right;
}

function cut(text: string, columns: number): string {
  return text.length <= columns ? text : text.slice(0, columns);
}

const SIZES = ['', 'k', 'M', 'G', 'T', 'P'] as const;

/** `1.5M`: a number with three digits or so. */
export function sized(value: number): string {
  let size = 0;
  while (value >= 1000 && size < SIZES.length - 1) {
    value /= 1000;
    size++;
  }
  const digits = value >= 100 || size === 0 ? 0 : 1;
  return `${value.toFixed(digits)}${SIZES[size]}`;
}
