/*
 * The configuration files of test/vectors/config-cases.json, each of which the C daemon 1.4.7 was
 * started with, parsed by ours: same verdict, same wording, same line and symbol of a syntax error,
 * warnings where it warned. Where ours differs on purpose, DEVIATIONS says so and why; the list in
 * docs/configuration.md ("Differences to the C daemon") is made of the same points.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  type ConfigResult,
  checkRuntime,
  type InterfaceState,
  parseConfig,
} from '../../../src/config/index.js';

interface Case {
  name: string;
  config: string;
  expect: 'accept' | 'warn' | 'reject';
  stage: 'parse' | 'init' | 'run' | 'crash';
  observed: string;
  note: string;
  quirk?: boolean;
  /** The feature of the kernel that decides. */
  requires_kernel?: string;
}

const CASES = JSON.parse(
  readFileSync(new URL('../../vectors/config-cases.json', import.meta.url), 'utf8'),
) as Case[];

/** The devices of the machine that the cases were recorded on. */
const INTERFACES = new Map<string, InterfaceState>([
  ['lo', { index: 1, mtu: 65536, up: true }],
  ['sync0', { index: 2, mtu: 1500, up: true }],
  ['sync2', { index: 3, mtu: 1500, up: true }],
  // Not there when recorded: C cannot even read the name (case mcast-hex-interface).
  ['fe0', { index: 4, mtu: 1500, up: true }],
]);

type Verdict = 'accept' | 'warn' | 'reject';

const TRUNCATED = 'numbers above 2^31-1 wrap around silently in C';
const REMOVED = 'directives removed in 1.4.5 are still read, with a warning';
const WIDENED = 'ours can do it';
const NOTHING_ARRIVES = 'port 0 gives a random port: nothing would ever arrive';
const TO_ITSELF = 'without a destination the daemon sends to itself';

/** Cases in which our verdict is not that of the C daemon. */
const DEVIATIONS: Record<string, { ours: Verdict; why: string }> = {
  'hashsize-2g': { ours: 'reject', why: TRUNCATED },
  'number-overflow': { ours: 'reject', why: TRUNCATED },
  'number-wrap-to-zero': { ours: 'reject', why: TRUNCATED },
  'comment-last-line-no-newline': { ours: 'accept', why: 'the last line may be a comment' },
  'tab-in-path': { ours: 'accept', why: 'a path ends at a tab' },
  'brace-glued-to-path': { ours: 'accept', why: 'a closing brace glued to a path is a brace' },
  'utf8-bom': {
    ours: 'reject',
    why: 'C ignores the whole file; ours reads it and finds the error',
  },
  'non-ascii-top-level': { ours: 'reject', why: 'C ignores the rest of the file silently' },
  'bool-pipes': { ours: 'reject', why: '`||` is no boolean' },
  'unix-empty': { ours: 'warn', why: 'a socket without a path cannot be reached' },
  'filter-proto-twice': { ours: 'warn', why: 'the last policy silently holds for both sets' },
  'filter-addr-dup-net6': { ours: 'warn', why: 'as for repeated IPv4 networks' },
  'filter-twice': { ours: 'warn', why: 'the last `From` silently holds for both sections' },
  'sync-mode-persistent-lower': { ours: 'warn', why: 'the old mode name in any letter case' },
  'sync-two-modes': { ours: 'warn', why: 'one of the modes is ignored' },
  'alarm-disable-external': { ours: 'accept', why: WIDENED },
  'mcast-no-group': { ours: 'warn', why: NOTHING_ARRIVES },
  'udp-no-port': { ours: 'warn', why: NOTHING_ARRIVES },
  'mcast-group-70000': { ours: 'warn', why: 'the port is truncated to 16 bits' },
  'mcast-ipv6-interface-first': { ours: 'accept', why: 'the order of the directives is free' },
  'mcast-mixed-families': { ours: 'warn', why: 'the second address is ignored, not half used' },
  'mcast-hex-interface': { ours: 'accept', why: 'names of hexadecimal digits are names' },
  'options-expect-hexword': { ours: 'accept', why: 'names of hexadecimal digits are names' },
  'options-expect-off-after-list': { ours: 'accept', why: '`off` switches off; C aborts' },
  'udp-no-dest': { ours: 'warn', why: TO_ITSELF },
  'tcp-linklocal': { ours: 'accept', why: 'the scope is taken from `Interface`' },
  'helper-toplevel-queuenum': { ours: 'warn', why: 'stands outside of any `Type`' },
};
for (const { name, note } of CASES) {
  if (note.includes('1.4.4') || note.includes('removed in 1.4.5')) {
    DEVIATIONS[name] = { ours: 'warn', why: REMOVED };
  }
}

/** Start failures that no look at file and devices can foresee: files, addresses, routes, kernel. */
const NEEDS_THE_SYSTEM = new Set([
  'logfile-bad-dir',
  'stats-logfile-bad-dir',
  'lockfile-bad-dir',
  'unix-path-baddir',
  'mcast-no-ipv4interface',
  'mcast-wrong-ipv4interface',
  'udp-ipv6-linklocal',
  'udp-source-not-local',
  'tcp-unreachable',
]);

/** Warnings of the C daemon that ours words differently, because it foresees what C runs into. */
const OTHER_WORDS = /scheduler configuration failed/;

/** Texts of one severity in what the C daemon wrote, in order. */
function texts(observed: string, tag: 'ERROR' | 'warning'): string[] {
  const found: string[] = [];
  for (const line of observed.split(/(?=\[DATE\] )/)) {
    const text = line.match(new RegExp(`\\[${tag}\\] ([^]*)`))?.[1]?.trimEnd();
    // An unprintable symbol spans no line, but may be white space: keep what trimEnd left.
    if (text !== undefined) found.push(text);
  }
  return found;
}

/** As the C daemon's log shows it: it quotes the first byte of a character, which is no UTF-8. */
function asLogged(message: string): string {
  return message.replace(/symbol '[^\0-\x7f]'/, "symbol '\ufffd'");
}

function errors(result: ConfigResult): string[] {
  return result.diagnostics.filter((d) => d.severity === 'error').map((d) => asLogged(d.message));
}

function warnings(result: ConfigResult): string[] {
  return result.diagnostics.filter((d) => d.severity === 'warning').map((d) => d.message);
}

function verdict(result: ConfigResult): Verdict {
  if (result.config === undefined) return 'reject';
  return warnings(result).length > 0 ? 'warn' : 'accept';
}

function runtimeErrors(result: ConfigResult): string[] {
  return checkRuntime(result.config!, INTERFACES)
    .filter((d) => d.severity === 'error')
    .map((d) => d.message);
}

describe('the C daemon rejects while parsing: ours too, in the same words', () => {
  const cases = CASES.filter((c) => c.stage === 'parse' && !(c.name in DEVIATIONS));
  test.each(cases)('$name: $note', ({ config, observed }) => {
    const result = parseConfig(config, 'c.conf');
    expect(result.config).toBeUndefined();
    expect(errors(result)[0]).toBe(texts(observed, 'ERROR')[0]);
    // What it warned of on the way, ours warned of, too.
    expect(warnings(result)).toEqual(texts(observed, 'warning'));
  });
});

describe('the C daemon runs: ours accepts, with the same warnings', () => {
  const cases = CASES.filter((c) => c.stage === 'run' && !(c.name in DEVIATIONS));
  test.each(cases)('$name: $note', ({ config, observed, expect: expected }) => {
    const result = parseConfig(config, 'c.conf');
    expect(errors(result)).toEqual([]);
    expect(verdict(result)).toBe(expected);
    const theirs = texts(observed, 'warning').filter((text) => !OTHER_WORDS.test(text));
    expect(warnings(result)).toEqual(expect.arrayContaining(theirs));
    expect(runtimeErrors(result)).toEqual([]);
  });
});

describe('the C daemon fails to start: ours foresees it where it can', () => {
  const cases = CASES.filter(
    (c) => c.stage === 'init' && !(c.name in DEVIATIONS) && c.requires_kernel === undefined,
  );
  test.each(cases)('$name: $note', ({ name, config, observed }) => {
    const result = parseConfig(config, 'c.conf');
    expect(errors(result)).toEqual([]);
    const found = runtimeErrors(result);
    if (NEEDS_THE_SYSTEM.has(name)) expect(found).toEqual([]);
    else expect(found[0]).toContain("can't open channel socket:");
    // Nothing is accepted that C warned about without a word of ours.
    const ours = [
      ...warnings(result),
      ...checkRuntime(result.config!, INTERFACES).map((d) => d.message),
    ];
    expect(ours).toEqual(expect.arrayContaining(texts(observed, 'warning')));
  });
});

describe('helpers parse, whether or not the kernel supports them', () => {
  const cases = CASES.filter((c) => c.requires_kernel !== undefined);
  test.each(cases)('$name: $note', ({ config }) => {
    const { config: parsed } = parseConfig(config, 'c.conf');
    expect(parsed?.helper?.types).toHaveLength(1);
  });
});

describe('ours differs on purpose', () => {
  const cases = CASES.filter((c) => c.name in DEVIATIONS);
  test.each(cases)('$name: $note', ({ name, config }) => {
    const result = parseConfig(config, 'c.conf');
    expect(verdict(result)).toBe(DEVIATIONS[name]!.ours);
    if (result.config !== undefined) expect(runtimeErrors(result)).toEqual([]);
  });

  test('every deviation names a case and really deviates', () => {
    const byName = new Map(CASES.map((c) => [c.name, c]));
    for (const [name, { ours }] of Object.entries(DEVIATIONS)) {
      const known = byName.get(name);
      expect(known, name).toBeDefined();
      const same = known!.expect === ours && known!.stage !== 'init' && known!.stage !== 'crash';
      expect(same, `${name} does not deviate`).toBe(false);
    }
  });

  test('beyond removed directives and wider uses only quirks of the C daemon deviate', () => {
    for (const { name, quirk, note } of CASES) {
      if (!(name in DEVIATIONS) || [REMOVED, WIDENED].includes(DEVIATIONS[name]!.why)) continue;
      expect(quirk, `${name}: ${note}`).toBe(true);
    }
  });
});

test('all cases are covered', () => {
  expect(CASES).toHaveLength(354);
});
