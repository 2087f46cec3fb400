// The command line of the bench.

import { parseArgs } from 'node:util';

export const PARTS = [
  'codec',
  'table',
  'active',
  'backup',
  'memory',
  'commit',
  'burst',
  'latency',
  'limit',
  'scale',
  'cli',
] as const;
/** Left out of a quick run unless they are named. */
const SLOW: readonly string[] = ['burst', 'limit', 'scale'];
export type PartName = (typeof PARTS)[number];

export const USAGE = `npm run bench [-- parts and options]
  parts            ${PARTS.join(' ')}; all of them if none is named
  --quick          fewer sizes and repetitions, without burst, limit and scale; about 2 minutes
  --json FILE      also write the figures and the machine as JSON
  --compare FILE   also show what changed since an earlier JSON file
  --merge FILE     take the parts that this run does not measure from an earlier JSON file
  --report         also write the report: bench/report/ and the numbers in README.md
  --help           this text

A full run takes about ten minutes. npm run bench:report writes the report again without measuring.
memory goes up to 4 million flows where the machine has 12 GiB free.
codec and table run anywhere. The others make network namespaces and need root, and the Debian
package conntrackd for the rival. The machine should have nothing else to do.
`;

export interface Options {
  parts: ReadonlySet<PartName>;
  quick: boolean;
  json: string | undefined;
  compare: string | undefined;
  merge: string | undefined;
  report: boolean;
  help: boolean;
}

export class UsageError extends Error {}

export function parseOptions(argv: readonly string[]): Options {
  const { values, positionals } = parse(argv);
  const unknown = positionals.filter((name) => !(PARTS as readonly string[]).includes(name));
  if (unknown.length > 0) throw new UsageError(`no such part: ${unknown.join(', ')}`);
  const named = positionals as PartName[];
  const quick = values.quick ?? false;
  const all = PARTS.filter((part) => !(quick && SLOW.includes(part)));
  if (values.report && named.length > 0 && values.merge === undefined) {
    throw new UsageError('a report needs all parts: name none, or --merge the others');
  }
  return {
    parts: new Set(named.length > 0 ? named : all),
    quick,
    json: values.json,
    compare: values.compare,
    merge: values.merge,
    report: values.report ?? false,
    help: values.help ?? false,
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        json: { type: 'string' },
        compare: { type: 'string' },
        merge: { type: 'string' },
        report: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
