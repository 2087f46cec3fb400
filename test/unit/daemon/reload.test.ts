// SIGHUP: what takes effect at once, what waits, and that nothing else is touched.

import { expect, test } from 'vitest';
import { type Config, parseConfig } from '../../../src/config/index.js';
import { planReload } from '../../../src/daemon/reload.js';

const LINK =
  'UDP { IPv4_address 10.0.0.1 IPv4_Destination_Address 10.0.0.2 Port 3780 Interface e }';

function parse(general: string, sync = '', link = LINK): Config {
  const text = `Sync { Mode FTFW { ${sync} } ${link} }\nGeneral { ${general} }`;
  const { config, diagnostics } = parseConfig(text, 'c.conf');
  if (config === undefined) throw new Error(diagnostics[0]!.message);
  return config;
}

const RUNNING = parse(
  'HashLimit 100 LogFile /a Filter { Protocol Accept { TCP } }',
  'PurgeTimeout 5',
);

test('the same file, even moved by a line, changes nothing', () => {
  const wanted = parse(
    '\n\nHashLimit 100\nLogFile /a\nFilter { Protocol Accept { TCP } }',
    'PurgeTimeout 5',
  );
  const { config, applied, waiting } = planReload(RUNNING, wanted);
  expect({ applied, waiting }).toEqual({ applied: [], waiting: [] });
  expect(config.general.filter).toBe(RUNNING.general.filter);
});

test('timers, log, filter and coalescing take effect at once', () => {
  const wanted = parse(
    'HashLimit 100 Syslog local1 CoalesceTime 5 NetlinkBufferSizeMaxGrowth 9 Filter { Protocol Accept { UDP } }',
    'PurgeTimeout 6 CommitTimeout 7',
  );
  const { config, applied, waiting } = planReload(RUNNING, wanted);
  expect(waiting).toEqual([]);
  expect(applied).toEqual([
    'General CoalesceTime',
    'General Filter',
    'General LogFile',
    'General NetlinkBufferSizeMaxGrowth',
    'General Syslog',
    'Sync CommitTimeout',
    'Sync PurgeTimeout',
  ]);
  expect(config.general).toMatchObject({ syslog: 'local1', coalesceTime: 5 });
  expect(config.general.logFile).toBeUndefined();
  expect(config.general.filter).toEqual(wanted.general.filter);
  expect(config.sync).toMatchObject({ purgeTimeout: 6, commitTimeout: 7 });
});

test('what shapes caches and links waits, by the names in the file', () => {
  const wanted = parse(
    'HashLimit 200 LogFile /a Workers 3 UNIX { Path /s } Filter { Protocol Accept { TCP } }',
    'PurgeTimeout 5 ACKWindowSize 7',
    LINK.replace('3780', '3781'),
  );
  const { config, applied, waiting } = planReload(RUNNING, wanted);
  expect(applied).toEqual([]);
  expect(waiting).toEqual([
    'General HashLimit',
    'General UNIX Path',
    'General Workers',
    'Sync ACKWindowSize',
    'Sync the dedicated links',
  ]);
  expect(config.general.hashLimit).toBe(100);
  expect(config.sync!.links[0]!.port).toBe(3780);
});

test('a filter inside the kernel takes effect at once, and so does its end', () => {
  const inside = parse(
    'HashLimit 100 LogFile /a Filter From Kernelspace { Protocol Accept { UDP } }',
    'PurgeTimeout 5',
  );
  expect(planReload(RUNNING, inside).applied).toEqual(['General Filter']);
  expect(planReload(inside, RUNNING).applied).toEqual(['General Filter']);
});

test('another mode waits as a whole', () => {
  const { config } = parseConfig('Stats { } General { HashLimit 100 }', 'c.conf');
  const { waiting, config: merged } = planReload(RUNNING, config!);
  expect(waiting).toEqual(expect.arrayContaining(['section Sync', 'section Stats']));
  expect(merged.sync).toBe(RUNNING.sync);
  expect(merged.stats).toBeUndefined();
});
