/*
 * Diagnostics: what was wrong in a configuration file, where, and how to put it right.
 *
 * A diagnostic is plain data. It carries the text of its source line, so it can be printed long
 * after the file text is gone. Messages use the wording of the C daemon wherever it has one, because
 * scripts search logs for it; everything else that helps goes into the hint.
 *
 * Nothing here blocks, reads a file or throws.
 */

export type Severity = 'error' | 'warning';

export interface Diagnostic {
  readonly severity: Severity;
  readonly message: string;
  readonly file: string;
  /** 1-based; 0 when the diagnostic concerns the file as a whole. */
  readonly line: number;
  /** 1-based, in UTF-16 units; 0 when no single place is meant. */
  readonly column: number;
  /** Offending token, exactly as written; empty at end of file. */
  readonly token: string;
  /** Text of the line, without its line end. */
  readonly source: string;
  readonly hint?: string;
}

const SHOWN_COLUMNS = 96;

/** Control characters would let a file play with the operator's terminal: show them as `\xNN`. */
function printable(text: string): string {
  let out = '';
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    const control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    out += control && char !== '\t' ? `\\x${code.toString(16).padStart(2, '0')}` : char;
  }
  return out;
}

/** The source line, cut to a window around the column, and the line with the caret below it. */
function snippet(d: Diagnostic): string[] {
  const before = d.source.slice(0, d.column - 1);
  const start = before.length > SHOWN_COLUMNS ? before.length - SHOWN_COLUMNS / 2 : 0;
  const window = d.source.slice(start, start + SHOWN_COLUMNS);
  // Tabs are kept in the indent, so that the caret stands right at any tab width.
  const indent = printable(before.slice(start)).replace(/[^\t]/g, ' ');
  const room = Math.max(1, window.length - (before.length - start));
  const width = Math.min(Math.max(1, d.token.length), room);
  const left = start > 0 ? '...' : '';
  const right = start + SHOWN_COLUMNS < d.source.length ? '...' : '';
  return [
    `    ${left}${printable(window)}${right}`,
    `    ${left === '' ? '' : '   '}${indent}^${'~'.repeat(width - 1)}`,
  ];
}

/** `FILE:LINE:COL: error: MESSAGE`, the source line with a caret, and the hint. */
export function formatDiagnostic(d: Diagnostic): string {
  const place = [d.file, ...(d.line > 0 ? [d.line] : []), ...(d.column > 0 ? [d.column] : [])];
  const lines = [`${place.join(':')}: ${d.severity}: ${printable(d.message)}`];
  if (d.line > 0 && d.column > 0) lines.push(...snippet(d));
  if (d.hint !== undefined) lines.push(`    hint: ${printable(d.hint)}`);
  return lines.join('\n');
}

/** Edits (insert, delete, replace, swap of neighbours) between two words, capped at `limit + 1`. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let older: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, older[j - 2]! + 1);
      }
      row.push(best);
    }
    older = previous;
    previous = row;
  }
  return previous[b.length]!;
}

/** The candidate that `word` most likely was meant to be; undefined if none is close. */
export function nearestWord(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length < 2 || word.length > 64) return undefined;
  const wanted = word.toLowerCase();
  // One edit in four letters: generous enough for typing errors, too strict for other words.
  const limit = Math.max(1, Math.floor(word.length / 4));
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const candidate of candidates) {
    const d = distance(wanted, candidate.toLowerCase(), limit);
    if (d < bestDistance) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
}
