// Directives that are read and checked but have no effect. Silence would be a lie: each one that the
// file really contains is named at start and by --check, with what happens instead.
//
// User-space helpers are not run. The kernel has its own for some of these protocols; what it announces
// is replicated like any expectation. For the others there is none, and the ruleset must say itself
// what may be opened.

import type { Config, HelperType } from '../config/index.js';

/** Helpers for which the kernel has one of its own (net/netfilter/nf_conntrack_*.c), and its name. */
const IN_KERNEL: ReadonlyMap<string, string> = new Map([
  ['ftp', 'ftp'],
  ['tftp', 'tftp'],
  ['amanda', 'amanda'],
  ['sane', 'sane'],
]);

/** One line for each such directive that `config` contains. */
export function unsupported(config: Config): string[] {
  const { helper, file } = config;
  if (helper === undefined) return [];
  const because = 'has no effect: user-space helpers are not run';
  if (helper.types.length === 0) return [`${file}:${helper.line}: \`Helper' ${because}`];
  return helper.types.map((type) => {
    const name = `Type ${type.name} ${type.l3} ${type.l4}`;
    return `${file}:${type.line}: \`${name}' ${because}; ${instead(type)}`;
  });
}

function instead({ name }: HelperType): string {
  const own = IN_KERNEL.get(name);
  if (own === undefined) return `the kernel has none for ${name}: allow its connections by a rule`;
  return `use the kernel's own (nft: \`ct helper set "${own}"')`;
}
