// A figure: one line of the bench's result, ours beside its rival. What the terminal shows, what the
// JSON file holds and what the report is made of.

import {
  advantage,
  type Better,
  formatNumber,
  formatSummary,
  type Summary,
  summarize,
} from './statistics.js';

export interface Figure {
  /** Part of the bench: codec, table, active … */
  part: string;
  /** What was measured, unique within its part. */
  name: string;
  unit: string;
  better: Better;
  ours?: Summary;
  /** The rival's figure of the same run. */
  rival?: Summary;
  rivalName: 'C' | 'plain JS' | 'none';
  /** Scheduling class both ran under. */
  schedulingClass?: string;
  note?: string;
}

/** Collects the repetitions of figures while the contestants take turns. */
export class Collector {
  readonly #lines = new Map<
    string,
    { figure: Omit<Figure, 'ours' | 'rival'>; ours: number[]; rival: number[] }
  >();

  /** Adds one repetition of one side. */
  add(side: 'ours' | 'rival', figure: Omit<Figure, 'ours' | 'rival'>, value: number): void {
    const key = `${figure.part}\0${figure.name}\0${figure.schedulingClass ?? ''}`;
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = { figure, ours: [], rival: [] };
      this.#lines.set(key, line);
    }
    line[side].push(value);
  }

  figures(): Figure[] {
    return [...this.#lines.values()].map(({ figure, ours, rival }) => ({
      ...figure,
      ...(ours.length > 0 ? { ours: summarize(ours) } : {}),
      ...(rival.length > 0 ? { rival: summarize(rival) } : {}),
    }));
  }
}

/** How many times better ours is; undefined without both sides. */
export function ratioOf({ ours, rival, better }: Figure): number | undefined {
  if (ours === undefined || rival === undefined) return undefined;
  // Both may be 0 (losses): then neither is better.
  const ratio = advantage(ours.median, rival.median, better);
  return Number.isFinite(ratio) ? ratio : undefined;
}

function cells(figure: Figure): string[] {
  const { name, unit, ours, rival, rivalName, schedulingClass, note } = figure;
  const ratio = ratioOf(figure);
  return [
    name,
    unit,
    ours ? formatSummary(ours) : '–',
    rival ? formatSummary(rival) : '–',
    rival ? rivalName : '',
    ratio === undefined ? '' : `${formatNumber(ratio)}×`,
    schedulingClass ?? '',
    note ?? '',
  ];
}

const HEADS = ['', 'unit', 'ours', 'rival', '', 'ours is better', 'class', ''];

/** Aligned text, a block for each part. */
export function renderTable(figures: readonly Figure[]): string {
  const parts = [...new Set(figures.map(({ part }) => part))];
  return parts
    .map((part) => {
      const rows = figures.filter((figure) => figure.part === part).map(cells);
      return `${part}\n${align([HEADS, ...rows])}`;
    })
    .join('\n\n');
}

/** The first column to the left, numbers to the right, and no column without content. */
export function align(rows: readonly (readonly string[])[]): string {
  const widths = HEADS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const used = HEADS.map((_, column) => rows.slice(1).some((row) => row[column]));
  const right = new Set([2, 3, 5]);
  return rows
    .map((row) =>
      `  ${row
        .map((cell, column) =>
          right.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
        )
        .filter((_, column) => used[column])
        .join('  ')}`.trimEnd(),
    )
    .join('\n');
}

/** Old beside new: how many times better each of our figures has become, and the ratio to the rival. */
export function compare(old: readonly Figure[], now: readonly Figure[]): string {
  const key = ({ part, name, schedulingClass }: Figure) => `${part}\0${name}\0${schedulingClass}`;
  const before = new Map(old.map((figure) => [key(figure), figure]));
  const rows: string[][] = [['', 'unit', 'old', 'new', '', 'new is better', 'class', 'vs. rival']];
  for (const figure of now) {
    const then = before.get(key(figure));
    if (then?.ours === undefined || figure.ours === undefined) continue;
    const change = advantage(figure.ours.median, then.ours.median, figure.better);
    const ratios = [ratioOf(then), ratioOf(figure)];
    rows.push([
      `${figure.part}: ${figure.name}`,
      figure.unit,
      formatSummary(then.ours),
      formatSummary(figure.ours),
      ' ',
      `${formatNumber(change)}×`,
      figure.schedulingClass ?? '',
      ratios.every((ratio) => ratio !== undefined)
        ? `${formatNumber(ratios[0]!)}× → ${formatNumber(ratios[1]!)}×`
        : '',
    ]);
  }
  return rows.length === 1 ? 'nothing to compare' : align(rows);
}
