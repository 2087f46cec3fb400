/*
 * Extension directives: words of conntrackd.conf that the C daemon does not know.
 *
 * One row each. The grammar accepts a row's directive in its section, checks its range, and the
 * value (or the default) appears in the typed configuration under `field`: rows of `General` in
 * `config.general`, of `Sync` in `config.sync`, of `Stats` in `config.stats`, and of `Link` in every
 * element of `config.sync.links`. A directive written more than once: the last one wins.
 *
 * Extension words are not reserved, so they remain usable as names of interfaces and the like.
 */

export type ExtensionSection = 'General' | 'Sync' | 'Stats' | 'Link';
export type ExtensionKind = 'number' | 'number|auto' | 'bool' | 'path' | 'word' | 'choice';

export interface Extension {
  readonly name: string;
  readonly section: ExtensionSection;
  readonly field: string;
  readonly kind: ExtensionKind;
  /** For the number kinds: smallest and largest legal value. */
  readonly min?: number;
  readonly max?: number;
  /** For the kind `choice`: the words. */
  readonly choices?: readonly string[];
  readonly default: number | 'auto' | boolean | string | undefined;
  /** One sentence for the reference in docs/configuration.md. */
  readonly doc: string;
}

export const EXTENSIONS = [
  {
    name: 'Workers',
    section: 'General',
    field: 'workers',
    kind: 'number|auto',
    min: 0,
    max: 64,
    default: 'auto',
    doc: 'Number of shard workers; 0 runs the caches in the main thread, auto decides by the cores.',
  },
  {
    name: 'CoalesceTime',
    section: 'General',
    field: 'coalesceTime',
    kind: 'number',
    min: 0,
    max: 1_000_000,
    default: 1000,
    doc: 'Microseconds between drains of the event socket under load; 0 gives the lowest latency.',
  },
  {
    name: 'LogFormat',
    section: 'Stats',
    field: 'logFormat',
    kind: 'choice',
    choices: ['text', 'json'],
    default: 'text',
    doc: 'Format of the flow log: text as the C daemon writes it, or json, one object a line.',
  },
] as const satisfies readonly Extension[];

type Row = (typeof EXTENSIONS)[number];

type ValueOf<Kind extends ExtensionKind> = {
  number: number;
  'number|auto': number | 'auto';
  bool: boolean;
  path: string;
  word: string;
  choice: string;
}[Kind];

type Missing<R extends Row> = undefined extends R['default'] ? undefined : never;

/** Fields that the rows of one section add to its part of the configuration. */
export type ExtensionValues<Section extends ExtensionSection> = {
  readonly [R in Row as Section extends R['section'] ? R['field'] : never]:
    | ValueOf<R['kind']>
    | Missing<R>;
};

/** What a file said, by field; fields that it did not write are absent. */
export type WrittenExtensions = Map<string, number | 'auto' | boolean | string>;

export function extensionsOf(section: ExtensionSection): readonly Extension[] {
  const rows: readonly Extension[] = EXTENSIONS;
  return rows.filter((row) => row.section === section);
}

/** Written values and, for the rest, defaults. */
export function extensionValues<Section extends ExtensionSection>(
  section: Section,
  written: WrittenExtensions,
): ExtensionValues<Section> {
  const entries = extensionsOf(section).map((row) => [
    row.field,
    written.has(row.field) ? written.get(row.field) : row.default,
  ]);
  return Object.fromEntries(entries) as ExtensionValues<Section>;
}
