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
const NUMBER = 9;

/** The numbers of a row, in their order on the screen. */
const COLUMNS = ['rate', 'bytes', 'packets', 'last'] as const;
type Column = (typeof COLUMNS)[number];
/** In a narrow terminal those that come first here are shown, after the one that is sorted by. */
const PRIORITY: readonly Column[] = ['rate', 'last', 'bytes', 'packets'];

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
  const shown = columnsFor(look, mood, columns);
  const line = (title: string, cells: Readonly<Record<Column, string>>) => {
    const right = shown.map((column) => cells[column].padStart(NUMBER)).join('');
    const room = Math.max(0, columns - right.length);
    return cut(cut(title, room).padEnd(room) + right, columns);
  };
  const lines = [
    paint(cut(summary(look, mood), columns), BOLD),
    cut(note(mood, columns), columns),
    paint(line(HEADS[mood.view], heads(mood)), REVERSE),
    ...look.rows.map((each) => line(`${each.title} ${each.detail}`.trimEnd(), cells(each, mood))),
  ];
  return lines.slice(0, rows);
}

/** As many numbers as leave room for the titles, at least one. */
function columnsFor(look: Look, mood: Mood, columns: number): Column[] {
  const widest = Math.max(...look.rows.map(({ title }) => title.length), HEADS[mood.view].length);
  const fitting = Math.max(1, Math.floor((columns - widest) / NUMBER));
  const { sort } = mood;
  const first: Column = sort === 'flows' || sort === 'timeout' ? 'last' : sort;
  const chosen = [...new Set([first, ...PRIORITY])].slice(0, fitting);
  return COLUMNS.filter((column) => chosen.includes(column));
}

function summary(look: Look, mood: Mood): string {
  const change = `+${look.added} -${look.gone} in ${mood.interval} s`;
  const rate = look.counted ? `  ${sized(look.rate)}B/s` : '';
  const uncounted =
    look.counted || look.flows === 0 ? '' : '  (no bytes: nf_conntrack_acct is off)';
  const paused = mood.paused ? '  PAUSED' : '';
  return `${look.flows} flows  ${change}${rate}  by ${mood.sort}${paused}${uncounted}`;
}

/** What the keys do: the long form where it fits. What ends it stands where it is never cut. */
function note(mood: Mood, columns: number): string {
  if (mood.typing) return `filter: ${mood.filter}_`;
  if (mood.filter !== '') return `filter: ${mood.filter}  (Esc clears it)`;
  const views = VIEWS.map((name, i) => `${i + 1} ${name}`).join(' ');
  const sorts = 'r)ate b)ytes pac(k)ets n)umber t)ime';
  const long = `q quit  ${views}  ${sorts}  / filter  space pause  +- interval`;
  return long.length <= columns ? long : `q quit  ${views}  rbknt sort  / filter  space pause +-`;
}

function heads(mood: Mood): Record<Column, string> {
  const last = mood.view === 'flows' ? 'TIMEOUT' : 'FLOWS';
  return { rate: 'BYTES/s', bytes: 'BYTES', packets: 'PACKETS', last };
}

function cells(each: Row, mood: Mood): Record<Column, string> {
  const last = `${mood.view === 'flows' ? each.timeout : each.flows}`;
  return { rate: sized(each.rate), bytes: sized(each.bytes), packets: sized(each.packets), last };
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
