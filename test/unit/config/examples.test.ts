// The examples and integration files in contrib/: they parse, without a word but what is expected,
// and say what their name promises.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type Config, loadConfig, parseConfig } from '../../../src/config/index.js';
import { describe as describeConfig } from '../../../src/daemon/check.js';
import { unsupported } from '../../../src/daemon/unsupported.js';

const CONTRIB = fileURLToPath(new URL('../../../contrib/', import.meta.url));

const EXPECTED: Record<string, { mode: string; links: string[]; warnings?: string[] }> = {
  'ftfw-udp.conf': { mode: 'FTFW', links: ['UDP'] },
  'multicast.conf': { mode: 'FTFW', links: ['Multicast'] },
  'notrack.conf': { mode: 'NOTRACK', links: ['UDP', 'UDP'] },
  'openstack.conf': { mode: 'FTFW', links: ['Multicast'] },
  'stats.conf': { mode: 'Stats', links: [] },
  'vyos.conf': { mode: 'FTFW', links: ['Multicast'] },
};

/** What the examples hold that is read and has no effect. */
const MAY_WAIT = /`Type (rpc|tns) inet (tcp|udp)' has no effect: user-space helpers are not run; /;

function load(name: string): Config {
  const { config, diagnostics } = loadConfig(`${CONTRIB}examples/${name}`);
  expect(diagnostics).toEqual([]);
  return config!;
}

test('every example is known here', () => {
  expect(readdirSync(`${CONTRIB}examples`).sort()).toEqual(Object.keys(EXPECTED));
});

test.each(Object.entries(EXPECTED))('%s parses without a warning', (name, { mode, links }) => {
  const config = load(name);
  expect(config.sync?.mode ?? (config.stats && 'Stats')).toBe(mode);
  expect(config.sync?.links.map((link) => link.kind) ?? []).toEqual(links);
  for (const link of config.sync?.links ?? []) expect(link.faults).toEqual([]);
  expect(unsupported(config).filter((line) => !MAY_WAIT.test(line))).toEqual([]);
  expect(config.general.unixPath).toBeDefined();
});

test('every helper of a file is named as not run, with what to do instead', () => {
  const helpers = unsupported(load('vyos.conf'));
  expect(helpers).toHaveLength(3);
  expect(helpers[0]).toMatch(/vyos\.conf:\d+: .*: allow its connections by a rule$/);
  const { config } = parseConfig('Helper { Type ftp inet tcp { QueueNum 1 } }', 'c.conf');
  expect(unsupported(config!)).toEqual([
    "c.conf:1: `Type ftp inet tcp' has no effect: user-space helpers are not run; " +
      'use the kernel\'s own (nft: `ct helper set "ftp"\')',
  ]);
  const empty = parseConfig('\nHelper { }\n', 'c.conf').config!;
  expect(unsupported(empty)).toEqual([
    "c.conf:2: `Helper' has no effect: user-space helpers are not run",
  ]);
  expect(unsupported(parseConfig('Stats { }', 'c.conf').config!)).toEqual([]);
});

test('--check says what would run', () => {
  expect(describeConfig(load('notrack.conf'))).toEqual(
    expect.arrayContaining([
      'mode: Sync, NOTRACK',
      expect.stringMatching(/^link 1: UDP 192\.168\.100\.1 to 192\.168\.100\.2 port 3780 on eth2 /),
      'commit: timeouts of 180 s',
      'filter: State Accept ESTABLISHED CLOSE TIME_WAIT CLOSE_WAIT',
      'log: syslog (local3)',
    ]),
  );
  expect(describeConfig(load('stats.conf'))).toEqual(
    expect.arrayContaining([
      'mode: Stats, one cache named stats',
      'flow log: /var/log/conntrackd-stats.log, format json',
      expect.stringMatching(/^cache stats: up to 262144 flows, 22\.0 MiB /),
    ]),
  );
});

/** Runs the fail-over script with a client that writes down its calls and fails those in `failing`. */
function callsOf(role: string, failing: string): { calls: string[]; status: number } {
  const client = `printf '%s\\n' "\${*:3}" >&3; case "$3" in ${failing || '"nothing"'}) exit 1;; esac`;
  const script = `
    cd "$(mktemp -d)"
    printf '#!/bin/bash\\n%s\\n' "$CLIENT" > client
    printf '#!/bin/sh\\n' > logger
    chmod +x client logger
    PATH=$PWD:$PATH CONNTRACKD=$PWD/client CONNTRACKD_LOCK=$PWD/lock sh "$SCRIPT" ${role} 3>calls
    echo "status $?"
    cat calls`;
  const output = execFileSync('bash', ['-c', script], {
    encoding: 'utf8',
    env: { ...process.env, CLIENT: client, SCRIPT: `${CONTRIB}primary-backup.sh` },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [status, ...calls] = output.trim().split('\n');
  return { calls, status: Number(status!.split(' ')[1]) };
}

test.each([
  ['primary', '', ['-c', '-f', '-R', '-B'], 0],
  ['master', '', ['-c', '-f', '-R', '-B'], 0],
  ['primary', '-c', ['-c', '-f', '-R', '-B'], 1], // a step that fails does not keep the others back
  ['backup', '', ['-s', '-t', '-n'], 0],
  ['backup', '-s', ['-s', '-d', '-t', '-n'], 0],
  ['backup', '-s|-d', ['-s', '-d'], 1],
  ['fault', '', ['-t'], 0],
  ['other', '', [], 1],
])('primary-backup.sh %s, failing %j: the calls in order', (role, failing, calls, status) => {
  expect(callsOf(role, failing)).toEqual({ calls, status });
});

test('the unit is of the type that the daemon speaks', () => {
  const unit = readFileSync(`${CONTRIB}conntrackd.service`, 'utf8');
  expect(unit).toMatch(/^Type=notify$/m);
  expect(unit).toMatch(/^ExecReload=.*-HUP/m);
});
