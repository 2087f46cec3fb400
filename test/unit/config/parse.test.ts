/*
 * What a configuration file means: values, defaults, repetition, families, filters, links, helpers.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type Config, checkRuntime, loadConfig, parseConfig } from '../../../src/config/index.js';

const GROUP = 'IPv4_address 225.0.0.50 Group 3780 IPv4_interface 10.0.0.1 Interface eth2';
const PEERS = 'IPv4_address 10.0.0.1 IPv4_Destination_Address 10.0.0.2 Port 3780 Interface eth2';

/** The configuration of a file that is accepted; `warned` collects the warnings. */
function accepted(text: string, warned: string[] = []): Config {
  const { config, diagnostics } = parseConfig(text, 'c.conf');
  expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
  warned.push(...diagnostics.map((d) => d.message));
  return config!;
}

/** As `accepted`, but a single warning is a failure. */
function silent(text: string): Config {
  const warned: string[] = [];
  const config = accepted(text, warned);
  expect(warned).toEqual([]);
  return config;
}

describe('defaults', () => {
  test('an empty file is an idle daemon with every default', () => {
    expect(silent('')).toEqual({
      file: 'c.conf',
      general: {
        hashSize: 65536,
        hashLimit: 262144,
        lockFile: '/var/lock/conntrackd.lock',
        netlinkBufferSizeMaxGrowth: 0,
        eventIterationLimit: 100,
        netlinkOverrunResync: 30,
        netlinkEventsReliable: false,
        scheduler: { type: 'RR', priority: 99 },
        schedulerSet: false,
        systemd: true,
        workers: 'auto',
        coalesceTime: 1000,
      },
      written: [],
    });
  });

  test('a section Sync with nothing but a mode and a link', () => {
    const { sync, stats, helper } = silent(`Sync { Mode FTFW { } UDP { ${PEERS} } }`);
    expect(stats).toBeUndefined();
    expect(helper).toBeUndefined();
    expect(sync).toMatchObject({
      mode: 'FTFW',
      modeGiven: true,
      resendQueueSize: 131072,
      ackWindowSize: 300,
      refreshTime: 60,
      cacheTimeout: 180,
      purgeTimeout: 60,
      disableInternalCache: false,
      disableExternalCache: false,
      startupResync: false,
      tcpWindowTracking: false,
      expectationSync: false,
    });
    expect(sync).not.toHaveProperty('commitTimeout');
    expect(sync!.links).toEqual([
      {
        kind: 'UDP',
        family: 4,
        address: { family: 4, bytes: Uint8Array.of(10, 0, 0, 1), text: '10.0.0.1' },
        destination: { family: 4, bytes: Uint8Array.of(10, 0, 0, 2), text: '10.0.0.2' },
        interface: 'eth2',
        port: 3780,
        checksum: true,
        errorQueueLength: 128,
        isDefault: true,
        line: 1,
        faults: [],
      },
    ]);
  });

  test('0 selects the default where it means "not set"', () => {
    const { general, sync } = silent(`General { HashSize 0 HashLimit 0 EventIterationLimit 0
      NetlinkOverrunResync 0 NetlinkBufferSize 0 }
      Sync { Mode FTFW { ResendQueueSize 0 ACKWindowSize 0 CommitTimeout 0 PurgeTimeout 0 }
      RefreshTime 0 CacheTimeout 0 TCP { ${PEERS} ErrorQueueLength 0 SndSocketBuffer 0 } }`);
    expect(general).toEqual(silent('').general);
    expect(sync).toMatchObject({ resendQueueSize: 131072, ackWindowSize: 300, purgeTimeout: 60 });
    expect(sync).toMatchObject({ refreshTime: 60, cacheTimeout: 180 });
    expect(sync).not.toHaveProperty('commitTimeout');
    expect(sync!.links[0]).toMatchObject({ errorQueueLength: 128 });
    expect(sync!.links[0]).not.toHaveProperty('sndSocketBuffer');
  });

  test('the result cannot be changed', () => {
    const config = silent(`Sync { Mode FTFW { } UDP { ${PEERS} } }`);
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.general.scheduler)).toBe(true);
    expect(Object.isFrozen(config.sync!.links[0])).toBe(true);
  });

  test('the result can be sent to a worker', () => {
    const config = silent(
      `Sync { Mode FTFW { } UDP { ${PEERS} } } Helper { Type ftp inet tcp { } }`,
    );
    expect(structuredClone(config)).toEqual(config);
  });
});

describe('every directive of General', () => {
  test('values', () => {
    const { general } = accepted(`General {
      HashSize 1 HashLimit 2 LogFile /log Syslog local3 LockFile /lock UNIX { Path /sock }
      NetlinkBufferSize 3 NetlinkBufferSizeMaxGrowth 4 EventIterationLimit 5 PollSecs 6
      NetlinkOverrunResync 7 NetlinkEventsReliable on Scheduler { Type fifo Priority 8 }
      Systemd off Workers 9 CoalesceTime 10 }`);
    expect(general).toEqual({
      hashSize: 1,
      hashLimit: 2,
      logFile: '/log',
      syslog: 'local3',
      lockFile: '/lock',
      unixPath: '/sock',
      netlinkBufferSize: 3,
      netlinkBufferSizeMaxGrowth: 4,
      eventIterationLimit: 5,
      pollSecs: 6,
      netlinkOverrunResync: 7,
      netlinkEventsReliable: true,
      scheduler: { type: 'FIFO', priority: 8 },
      schedulerSet: true,
      systemd: false,
      workers: 9,
      coalesceTime: 10,
    });
  });

  test.each(['SocketBufferSizeMaxGrown', 'SocketBufferSizeMaxGrowth'])('alias %s', (alias) => {
    const { general } = silent(`General { SocketBufferSize 10 ${alias} 20 }`);
    expect(general).toMatchObject({ netlinkBufferSize: 10, netlinkBufferSizeMaxGrowth: 20 });
  });

  test.each([
    ['on', 30],
    ['off', undefined],
    ['5', 5],
  ])('NetlinkOverrunResync %s', (value, seconds) => {
    const { general } = silent(`General { NetlinkOverrunResync ${value} }`);
    expect(general.netlinkOverrunResync).toBe(seconds);
  });

  test.each([
    ['', { type: 'RR', priority: 99 }, false],
    ['Priority 10', { type: 'RR', priority: 99 }, false],
    ['Type FIFO Priority 10', { type: 'FIFO', priority: 10 }, true],
    ['Priority 10 Type rr', { type: 'RR', priority: 10 }, true],
  ])('Scheduler { %s }', (text, scheduler, schedulerSet) => {
    const { general } = silent(`General { Scheduler { ${text} } }`);
    expect(general).toMatchObject({ scheduler, schedulerSet });
  });
});

describe('logging', () => {
  test('`on` names the usual files and the facility daemon', () => {
    const { general, stats } = silent(
      'General { LogFile on Syslog on } Stats { LogFile yes Syslog yes }',
    );
    expect(general).toMatchObject({ logFile: '/var/log/conntrackd.log', syslog: 'daemon' });
    expect(stats).toMatchObject({ logFile: '/var/log/conntrackd-stats.log', syslog: 'daemon' });
  });

  test('`off` undoes an earlier value', () => {
    const { general } = silent('General { LogFile /a Syslog local0 LogFile off Syslog no }');
    expect(general).not.toHaveProperty('logFile');
    expect(general).not.toHaveProperty('syslog');
  });

  test('an unknown facility leaves the previous one', () => {
    const warned: string[] = [];
    const { general } = accepted('General { Syslog local0 Syslog kern }', warned);
    expect(general.syslog).toBe('local0');
    expect(warned).toEqual(["'kern' is not a known syslog facility, ignoring"]);
  });

  test("General's facility wins", () => {
    const { stats } = accepted('General { Syslog local0 } Stats { Syslog local1 }');
    expect(stats!.syslog).toBe('local0');
  });
});

describe('repetition', () => {
  test('sections accumulate and the last directive holds', () => {
    const { general, sync } = accepted(`General { HashSize 5 HashLimit 6 } Sync { RefreshTime 1 }
      General { HashSize 7 } Sync { RefreshTime 2 Mode ALARM { RefreshTime 3 } }`);
    expect(general).toMatchObject({ hashSize: 7, hashLimit: 6 });
    expect(sync).toMatchObject({ mode: 'ALARM', refreshTime: 3 });
  });

  test.each([
    ['Mode NOTRACK { } Mode ALARM { }', 'ALARM'],
    ['Mode ALARM { } Mode FTFW { } Mode NOTRACK { }', 'FTFW'],
  ])('%s', (modes, mode) => {
    expect(accepted(`Sync { ${modes} }`).sync!.mode).toBe(mode);
  });

  test('several wrong values are reported in one run', () => {
    const { config, diagnostics } = parseConfig(
      'General {\n PollSecs 0\n Scheduler { Type OTHER Priority 100 }\n}',
      'c.conf',
    );
    expect(config).toBeUndefined();
    expect(diagnostics.map((d) => [d.line, d.message])).toEqual([
      [2, "`PollSecs' clause must be > 0"],
      [3, "unknown scheduler `OTHER'"],
      [3, "`Priority' must be [0, 99]"],
    ]);
  });
});

describe('Filter', () => {
  test('protocols by name, alias and keyword', () => {
    const { general } = silent(
      'General { Filter { Protocol Accept { TCP udp SCTP DCCP UDPLITE GRE icmp IPv6-ICMP TCP } } }',
    );
    expect(general.filter).toEqual({
      from: 'Userspace',
      protocol: { policy: 'Accept', numbers: [6, 17, 132, 33, 136, 47, 1, 58] },
    });
  });

  test('addresses: hosts, networks, cleared host bits', () => {
    const { general } = silent(`General { Filter From Kernelspace { Address Ignore {
      IPv4_address 127.0.0.1 IPv4_address 10.1.2.3/8 IPv4_address 0.0.0.0/0
      IPv6_address ::1 IPv6_address fe80::1/10 IPv4_address 010.0.0.1 } } }`);
    const v6 = (...bytes: [number, number][]) => {
      const all = new Uint8Array(16);
      for (const [at, value] of bytes) all[at] = value;
      return all;
    };
    expect(general.filter!.from).toBe('Kernelspace');
    expect(general.filter!.address).toEqual({
      policy: 'Ignore',
      entries: [
        { family: 4, bytes: Uint8Array.of(127, 0, 0, 1), prefix: 32 },
        { family: 4, bytes: Uint8Array.of(10, 0, 0, 0), prefix: 8 },
        { family: 4, bytes: Uint8Array.of(0, 0, 0, 0), prefix: 0 },
        { family: 6, bytes: v6([15, 1]), prefix: 128 },
        { family: 6, bytes: v6([0, 0xfe], [1, 0x80]), prefix: 10 },
        // A leading zero makes a group octal.
        { family: 4, bytes: Uint8Array.of(8, 0, 0, 1), prefix: 32 },
      ],
    });
  });

  test('states and empty sets', () => {
    const { general } = silent(`General { Filter { Protocol Accept { } State Accept {
      ESTABLISHED CLOSED for TCP CLOSE LISTEN for TCP for TCP } } }`);
    expect(general.filter!.state).toEqual({ policy: 'Accept', states: [3, 8, 9] });
    expect(general.filter!.protocol).toEqual({ policy: 'Accept', numbers: [] });
    expect(general.filter).not.toHaveProperty('address');
  });

  test('sets of one kind merge and the last policy and source hold', () => {
    const warned: string[] = [];
    const { general } = accepted(
      `General { Filter From Kernelspace { Protocol Accept { TCP } Protocol Ignore { UDP } }
       Filter { Protocol Ignore { ICMP } } }`,
      warned,
    );
    expect(general.filter).toEqual({
      from: 'Userspace',
      protocol: { policy: 'Ignore', numbers: [6, 17, 1] },
    });
    expect(warned).toHaveLength(2);
  });

  test('an unknown protocol is dropped, the set stays', () => {
    const { config, diagnostics } = parseConfig(
      'General { Filter { Protocol Accept { TCP SCPT } } }',
      'c.conf',
    );
    expect(config!.general.filter!.protocol!.numbers).toEqual([6]);
    expect(diagnostics[0]).toMatchObject({
      severity: 'warning',
      message: "getprotobyname() cannot find protocol `SCPT' in /etc/protocols",
      hint: 'did you mean `sctp`?',
    });
  });
});

describe('dedicated links', () => {
  test('a multicast link', () => {
    const { sync } = silent(`Sync { Mode FTFW { } Multicast { ${GROUP} SndSocketBuffer 10
      RcvSocketBuffer 20 Checksum off } }`);
    const [link] = sync!.links;
    expect(link).toMatchObject({ kind: 'Multicast', family: 4, port: 3780, checksum: false });
    expect(link).toMatchObject({ sndSocketBuffer: 10, rcvSocketBuffer: 20 });
    expect(link!.address.text).toBe('225.0.0.50');
    expect(link!.destination).toEqual(link!.address);
    expect(link!.interfaceAddress!.text).toBe('10.0.0.1');
  });

  test.each([
    'Interface sync0 IPv6_address ff02::50 Group 1',
    'IPv6_address ff02::50 Group 1 Interface sync0',
  ])('IPv6 multicast in any order: %s', (text) => {
    const [link] = silent(`Sync { Mode FTFW { } Multicast { ${text} } }`).sync!.links;
    expect(link).toMatchObject({ family: 6, interface: 'sync0', faults: [] });
    expect([...link!.address.bytes.subarray(0, 2)]).toEqual([0xff, 0x02]);
    expect(link!.address.bytes[15]).toBe(0x50);
  });

  test('the last link marked Default is the active one', () => {
    const { sync } = silent(`Sync { Mode FTFW { } UDP { ${PEERS} } UDP Default { ${PEERS} }
      UDP Default { ${PEERS} } UDP { ${PEERS} } }`);
    expect(sync!.links.map((link) => link.isDefault)).toEqual([false, false, true, false]);
  });

  test('without a mark the first link is the active one', () => {
    const { sync } = silent(`Sync { Mode FTFW { } TCP { ${PEERS} } TCP { ${PEERS} } }`);
    expect(sync!.links.map((link) => link.isDefault)).toEqual([true, false]);
  });

  test('both families in one UDP link: the last address decides', () => {
    const { sync } = silent(`Sync { Mode FTFW { } UDP { ${PEERS}
      IPv6_address fd00::1 IPv6_Destination_Address fd00::2 } }`);
    expect(sync!.links[0]).toMatchObject({ family: 6, faults: [] });
    expect(sync!.links[0]!.destination.text).toBe('fd00::2');
  });

  test('interface names that look like hexadecimal numbers', () => {
    const { sync } = silent(`Sync { Mode FTFW { } UDP { ${PEERS} Interface fe0 } }`);
    expect(sync!.links[0]!.interface).toBe('fe0');
  });

  test('a missing local address listens on all', () => {
    const [link] = silent(`Sync { Mode FTFW { } UDP { IPv6_Destination_Address fd00::2 Port 1
      Interface x } }`).sync!.links;
    expect(link!.address).toEqual({ family: 6, bytes: new Uint8Array(16), text: '::' });
  });
});

describe('Sync', () => {
  test('CommitTimeout gives way to DisableExternalCache', () => {
    const { sync } = accepted('Sync { CommitTimeout 180 Mode FTFW { DisableExternalCache on } }');
    expect(sync).not.toHaveProperty('commitTimeout');
    expect(sync!.disableExternalCache).toBe(true);
  });

  test('DisableExternalCache goes with every mode', () => {
    for (const mode of ['FTFW', 'ALARM', 'NOTRACK']) {
      const { sync } = accepted(`Sync { Mode ${mode} { DisableExternalCache on } }`);
      expect(sync).toMatchObject({ mode, disableExternalCache: true });
    }
  });

  test('DisableInternalCache gives way to PollSecs, which needs the cache', () => {
    const text = 'Sync { Mode NOTRACK { DisableInternalCache on } } General { PollSecs 5 }';
    expect(accepted(text).sync).toMatchObject({ disableInternalCache: false });
  });

  test('DisableInternalCache of an overruled NOTRACK is void', () => {
    const text = 'Sync { Mode NOTRACK { DisableInternalCache on } Mode FTFW { } }';
    expect(accepted(text).sync).toMatchObject({ mode: 'FTFW', disableInternalCache: false });
  });

  test.each([
    ['on', true],
    ['off', false],
    ['{ }', true],
    ['{ ftp sip FTP face } ExpectationSync { ras }', ['ftp', 'sip', 'face', 'ras']],
    ['{ ftp } ExpectationSync off', false],
    ['{ ftp } ExpectationSync on', true],
    ['{ abcdefghijklmnopqrst }', ['abcdefghijklmnop']],
  ])('ExpectationSync %s', (text, value) => {
    const { sync } = accepted(`Sync { Options { ExpectationSync ${text} } }`);
    expect(sync!.expectationSync).toEqual(value);
  });
});

describe('Helper', () => {
  test('built-in, given and shared policies', () => {
    const { helper } = silent(`Helper { Setup yes
      Type ftp inet tcp { QueueNum 1 QueueLen 10 Policy ftp { ExpectMax 9 } }
      Type ftp inet6 tcp { QueueNum 2 }
      Type rpc inet udp { } }`);
    const shared = { expectMax: 9, expectTimeout: 0 };
    expect(helper).toEqual({
      line: 1,
      setup: true,
      types: [
        { line: 2, name: 'ftp', l3: 'inet', l4: 'tcp', queueNum: 1, queueLen: 10, policy: shared },
        { line: 3, name: 'ftp', l3: 'inet6', l4: 'tcp', queueNum: 2, queueLen: 0, policy: shared },
        {
          line: 4,
          name: 'rpc',
          l3: 'inet',
          l4: 'udp',
          queueNum: 0,
          queueLen: 0,
          policy: { expectMax: 1, expectTimeout: 300 },
        },
      ],
    });
  });

  test('lines before a Type go into it', () => {
    const warned: string[] = [];
    const { helper } = accepted('Helper { QueueNum 4 Type tns inet tcp { } }', warned);
    expect(helper!.types[0]!.queueNum).toBe(4);
    expect(warned).toHaveLength(1);
  });
});

describe('directives removed in 1.4.5', () => {
  test('the obsolete filters still filter', () => {
    const warned: string[] = [];
    const { general } = accepted(
      `StripNAT
       IgnoreTrafficFor { IPv4_address 127.0.0.1 IPv6_address ::1 }
       IgnoreProtocol { UDP 2 VRRP }
       Sync { Mode FTFW { ResendBufferSize 1 } Replicate ESTABLISHED for TCP }`,
      warned,
    );
    expect(general.filter).toMatchObject({
      from: 'Userspace',
      protocol: { policy: 'Ignore', numbers: [17, 2, 112] },
      state: { policy: 'Accept', states: [3] },
    });
    expect(general.filter!.address!.entries.map((e) => e.family)).toEqual([4, 6]);
    expect(warned).toHaveLength(5);
  });

  test('a Checksum in Sync is meant for the first link', () => {
    const { sync } = accepted(
      `Sync { Mode FTFW { } Checksum off Multicast { ${GROUP} } Multicast { ${GROUP} } }`,
    );
    expect(sync!.links.map((link) => link.checksum)).toEqual([false, true]);
  });
});

describe('written', () => {
  test('names what the file really contains', () => {
    const { written } = accepted(`General {
  HashSize 5
  Filter { Protocol Accept { TCP } }
}
Sync {
  Mode alarm { RefreshTime 1 }
  UDP Default { Port 1 }
  Options { ExpectationSync on }
}
Helper { Type ftp inet tcp { Policy ftp { ExpectMax 1 } } }`);
    expect(written.map(({ path, line }) => `${line} ${path}`)).toEqual([
      '1 General',
      '2 General.HashSize',
      '3 General.Filter',
      '3 General.Filter.Protocol',
      '5 Sync',
      '6 Sync.Mode ALARM',
      '6 Sync.Mode ALARM.RefreshTime',
      '7 Sync.UDP',
      '7 Sync.UDP.Port',
      '8 Sync.Options',
      '8 Sync.Options.ExpectationSync',
      '10 Helper',
      '10 Helper.Type ftp inet tcp',
      '10 Helper.Type ftp inet tcp.Policy ftp',
      '10 Helper.Type ftp inet tcp.Policy ftp.ExpectMax',
    ]);
  });
});

describe('files as editors leave them', () => {
  test('byte order mark, DOS line ends, comment without newline, glued braces and tabs', () => {
    const text =
      '\ufeffGeneral {\r\n\tLockFile /var/lock/x.lock\r\n\tUNIX { Path /run/x.ctl}\r\n' +
      '\tLogFile /var/log/x.log\t# here\r\n}\r\n# end';
    const config = silent(text);
    expect(config.general).toMatchObject({
      lockFile: '/var/lock/x.lock',
      unixPath: '/run/x.ctl',
      logFile: '/var/log/x.log',
    });
    const bytes = new TextEncoder().encode(text);
    expect(parseConfig(bytes, 'c.conf').config).toEqual(config);
  });

  test('a path in UTF-8 is kept, one in Latin-1 refused', () => {
    expect(silent('General { LockFile /tmp/caf\u00e9 }').general.lockFile).toBe('/tmp/caf\u00e9');
    const latin1 = Buffer.from('General { LockFile /tmp/caf\u00e9 }', 'latin1');
    expect(parseConfig(latin1, 'c.conf').diagnostics[0]!.message).toBe(
      'LockFile path is not valid UTF-8',
    );
  });
});

describe('loadConfig', () => {
  const folder = mkdtempSync(join(tmpdir(), 'flowtwin-config-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('reads a file', () => {
    const file = join(folder, 'ok.conf');
    writeFileSync(file, 'General { HashSize 77 }');
    expect(loadConfig(file).config!.general.hashSize).toBe(77);
  });

  test.each([
    ['no such file', 'missing.conf'],
    ['a directory', '.'],
  ])('%s', (_what, name) => {
    const file = join(folder, name);
    const { config, diagnostics } = loadConfig(file);
    expect(config).toBeUndefined();
    expect(diagnostics).toMatchObject([
      { severity: 'error', message: `can't open config file \`${file}'`, line: 0 },
    ]);
  });
});

describe('checkRuntime: the file against the machine', () => {
  const interfaces = new Map([
    ['eth2', { index: 2, mtu: 1500, up: true }],
    ['eth3', { index: 3, mtu: 1500, up: false }],
  ]);
  function runtime(links: string): string[] {
    const found = checkRuntime(accepted(`Sync {\nMode FTFW { }\n${links} }`), interfaces);
    return found.map((d) => `${d.line} ${d.severity} ${d.message}`);
  }

  test('nothing to say about a good link, nor without Sync', () => {
    expect(runtime(`UDP { ${PEERS} }`)).toEqual([]);
    expect(checkRuntime(accepted('Stats { }'), new Map())).toEqual([]);
  });

  test('no link', () => {
    expect(runtime('')).toEqual([
      "1 error can't open channel socket: section `Sync' has no dedicated link",
    ]);
  });

  test('unknown interface', () => {
    const { config } = parseConfig(`Sync {\n Mode FTFW { } UDP { ${PEERS} Interface eht2 } }`, 'f');
    const [warning, error] = checkRuntime(config!, interfaces);
    expect(warning).toMatchObject({
      severity: 'warning',
      message: 'eht2 is an invalid interface',
      hint: 'did you mean `eth2`?',
      line: 2,
      file: 'f',
    });
    expect(error!.message).toBe("can't open channel socket: No such device (eht2)");
  });

  test('interface that is down', () => {
    expect(runtime(`UDP { ${PEERS} Interface eth3 }`)).toEqual([
      '3 warning dedicated link interface eth3 is down',
    ]);
  });

  test.each([
    ['UDP { Port 1 Interface eth2 }', 'Address family not supported by protocol (no address)'],
    ['Multicast { Group 1 Interface eth2 }', 'Invalid argument (no multicast address)'],
    [
      'Multicast { IPv4_address 10.0.0.9 Group 1 Interface eth2 }',
      'Invalid argument (10.0.0.9 is not a multicast address)',
    ],
    [
      'UDP { IPv4_address 10.0.0.1 IPv6_Destination_Address fd00::2 Port 1 Interface eth2 }',
      'Cannot assign requested address (local and destination address are of different families)',
    ],
  ])('%s', (links, message) => {
    expect(runtime(links)).toEqual([`3 error can't open channel socket: ${message}`]);
  });
});
