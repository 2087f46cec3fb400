/*
 * Grammar of conntrackd.conf: one table a section, one entry a directive.
 *
 * Sections stand in any order and may repeat; what they say accumulates, and of a directive that is
 * written more than once the last one holds. Filters, links and helpers have their own files.
 * Reference of every directive: docs/configuration.md.
 */

import { helperBlock, policyBlock, typeBlock } from './cthelper.js';
import {
  type Draft,
  emptyDraft,
  FACILITIES,
  type Facility,
  type GeneralDraft,
  type SyncDraft,
} from './draft.js';
import { extensionBlock } from './extension-grammar.js';
import { filter, filterBlock } from './filter.js';
import { type Token, tokenize } from './lexer.js';
import { link, linkBlock, newLink } from './links.js';
import { type Block, block, type Handler, Parser } from './parser.js';
import {
  removedAtTop,
  removedInAlarm,
  removedInFtfw,
  removedInGeneral,
  removedInStats,
  removedInSync,
} from './removed.js';

const MAX_PATH = 256;
/** sun_path of sockaddr_un, 108 bytes, less the final NUL. */
const MAX_UNIX_PATH = 107;

// --- logging, shared by General and Stats ---

function logFile(
  target: { logFile?: string | undefined },
  standard: string,
  name: string,
): Handler {
  return (p, word) => {
    if (p.isBool()) target.logFile = p.bool(word) ? standard : undefined;
    else target.logFile = p.path(word, MAX_PATH, name, '`on`, `off` or an absolute path');
  };
}

function isFacility(text: string): text is Facility {
  return (FACILITIES as readonly string[]).includes(text);
}

function syslog(draft: Draft, section: 'general' | 'stats'): Handler {
  const target = draft[section];
  const other = draft[section === 'general' ? 'stats' : 'general'];
  return (p, word) => {
    if (p.isBool()) {
      target.syslog = p.bool(word) ? 'daemon' : undefined;
      return;
    }
    const token = p.name(word, '`on`, `off` or a facility');
    if (!isFacility(token.text)) {
      const dot = section === 'stats' ? '.' : '';
      const hint = `facilities are ${FACILITIES.join(' ')}`;
      p.warn(token, `'${token.text}' is not a known syslog facility, ignoring${dot}`, hint);
      return;
    }
    target.syslog = token.text;
    if (other.syslog !== undefined && other.syslog !== token.text) {
      p.warn(token, 'conflicting Syslog facility values, defaulting to General');
    }
  };
}

// --- General ---

function unixBlock(general: GeneralDraft): Block {
  return block({
    Path: (p, word) => {
      general.unixPath = p.path(word, MAX_UNIX_PATH, 'Path');
    },
    Backlog: (p, word) => {
      p.number(word);
      p.warn(word, 'deprecated unix backlog configuration, ignoring.', 'delete the line');
    },
  });
}

function schedulerBlock(general: GeneralDraft): Block {
  return block({
    Type: (p, word) => {
      const token = p.name(word, '`RR` or `FIFO`');
      const type = token.text.toUpperCase();
      if (type === 'RR' || type === 'FIFO') general.schedulerType = type;
      else p.error(token, `unknown scheduler \`${token.text}'`, 'it is `RR` or `FIFO`');
    },
    Priority: (p, word) => {
      const token = p.peek();
      const priority = p.number(word);
      if (priority > 99) p.error(token, "`Priority' must be [0, 99]");
      general.schedulerPriority = priority;
    },
  });
}

function overrunResync(general: GeneralDraft): Handler {
  const seconds = 30;
  return (p, word) => {
    if (p.isBool()) general.netlinkOverrunResync = p.bool(word) ? seconds : false;
    else general.netlinkOverrunResync = p.optionalNumber(word) ?? seconds;
  };
}

function generalBlock(draft: Draft): Block {
  const { general } = draft;
  const bufferSize: Handler = (p, word) => {
    general.netlinkBufferSize = p.optionalNumber(word);
  };
  const bufferGrowth: Handler = (p, word) => {
    general.netlinkBufferSizeMaxGrowth = p.number(word);
  };
  return block({
    HashSize: (p, word) => {
      general.hashSize = p.optionalNumber(word);
    },
    HashLimit: (p, word) => {
      general.hashLimit = p.optionalNumber(word);
    },
    LogFile: logFile(general, '/var/log/conntrackd.log', 'LogFile path'),
    Syslog: syslog(draft, 'general'),
    LockFile: (p, word) => {
      general.lockFile = p.path(word, MAX_PATH, 'LockFile path');
    },
    UNIX: (p, word) => {
      general.unixSection = word;
      p.section('UNIX', unixBlock(general));
    },
    NetlinkBufferSize: bufferSize,
    SocketBufferSize: bufferSize,
    NetlinkBufferSizeMaxGrowth: bufferGrowth,
    SocketBufferSizeMaxGrowth: bufferGrowth,
    SocketBufferSizeMaxGrown: bufferGrowth,
    EventIterationLimit: (p, word) => {
      general.eventIterationLimit = p.optionalNumber(word);
    },
    PollSecs: (p, word) => {
      const token = p.peek();
      const seconds = p.number(word);
      if (seconds === 0) p.error(token, "`PollSecs' clause must be > 0");
      general.pollSecs = seconds;
    },
    Filter: (p, word) => filter(p, word, general),
    NetlinkOverrunResync: overrunResync(general),
    NetlinkEventsReliable: (p, word) => {
      general.netlinkEventsReliable = p.bool(word);
    },
    Nice: (p, word) => {
      p.signed(word);
      p.warn(
        word,
        'deprecated nice configuration, ignoring. ' +
          'The nice value can be set externally with nice(1) and renice(1).',
      );
    },
    Scheduler: (p, word) => {
      general.schedulerAt = word;
      p.section('Scheduler', schedulerBlock(general));
    },
    Systemd: (p, word) => {
      general.systemd = p.bool(word);
    },
    ...removedInGeneral(),
    ...extensionBlock('General', general.extensions),
  });
}

// --- Stats ---

function statsBlock(draft: Draft): Block {
  return block({
    LogFile: logFile(draft.stats, '/var/log/conntrackd-stats.log', 'stats LogFile path'),
    Syslog: syslog(draft, 'stats'),
    ...removedInStats(),
    ...extensionBlock('Stats', draft.stats.extensions),
  });
}

// --- Sync ---

/** The timers are one set of values, whichever section or mode writes them. */
function timers(sync: SyncDraft): Record<string, Handler> {
  return {
    RefreshTime: (p, word) => {
      sync.refreshTime = p.optionalNumber(word);
    },
    CacheTimeout: (p, word) => {
      sync.cacheTimeout = p.optionalNumber(word);
    },
    ...replicationTimers(sync),
  };
}

function replicationTimers(sync: SyncDraft): Record<string, Handler> {
  return {
    CommitTimeout: (p, word) => {
      sync.commitTimeout = p.optionalNumber(word);
      sync.commitTimeoutAt = word;
    },
    PurgeTimeout: (p, word) => {
      sync.purgeTimeout = p.optionalNumber(word);
    },
  };
}

function injectionSwitch(sync: SyncDraft): Record<string, Handler> {
  return {
    DisableExternalCache: (p, word) => {
      sync.disableExternalCache = p.bool(word);
    },
  };
}

function takeoverSwitches(sync: SyncDraft): Record<string, Handler> {
  return {
    ...injectionSwitch(sync),
    StartupResync: (p, word) => {
      sync.startupResync = p.bool(word);
    },
  };
}

function ftfwBlock(sync: SyncDraft): Block {
  return block({
    ResendQueueSize: (p, word) => {
      sync.resendQueueSize = p.optionalNumber(word);
    },
    ACKWindowSize: (p, word) => {
      sync.ackWindowSize = p.optionalNumber(word);
    },
    ...replicationTimers(sync),
    ...takeoverSwitches(sync),
    ...removedInFtfw(),
  });
}

function alarmBlock(sync: SyncDraft): Block {
  // The C daemon has no DisableExternalCache here.
  return block({ ...timers(sync), ...injectionSwitch(sync), ...removedInAlarm() });
}

function notrackBlock(sync: SyncDraft): Block {
  return block({
    DisableInternalCache: (p, word) => {
      sync.disableInternalCache = p.bool(word);
    },
    ...replicationTimers(sync),
    ...takeoverSwitches(sync),
  });
}

/** Mode names that were renamed, in lower case. */
const OLD_MODES: ReadonlyMap<string, string> = new Map([
  ['persistent', 'alarm'],
  ['nack', 'ftfw'],
]);

function mode(sync: SyncDraft): Handler {
  const modes = {
    ftfw: { name: 'FTFW', handlers: ftfwBlock },
    alarm: { name: 'ALARM', handlers: alarmBlock },
    notrack: { name: 'NOTRACK', handlers: notrackBlock },
  } as const;
  return (p, word) => {
    const token = p.peek();
    if (token.kind !== 'ftfw' && token.kind !== 'alarm' && token.kind !== 'notrack') {
      return p.fail(token, 'the modes are `FTFW`, `ALARM` and `NOTRACK`');
    }
    p.take();
    const old = token.text.toLowerCase();
    const renamed = OLD_MODES.get(old);
    if (renamed !== undefined) {
      const advice = 'Please, update your conntrackd.conf file.';
      p.warn(token, `Now \`${old}' mode is called \`${renamed}'. ${advice}`);
    }
    const { name, handlers } = modes[token.kind];
    p.qualify(`Mode ${name}`);
    if (sync.modes.size > 0 && !sync.modes.has(name)) {
      p.warn(word, "more than one `Mode': FTFW goes before ALARM, ALARM before NOTRACK");
    }
    sync.modes.add(name);
    sync.modeAt = word;
    p.section(`Mode ${name}`, handlers(sync));
  };
}

/** The C daemon's matching looks at no more of a helper's name. */
const HELPER_NAME_LENGTH = 16;

function expectationSync(sync: SyncDraft): Handler {
  return (p, word) => {
    if (p.peek().text !== '{') {
      if (!p.isBool()) p.fail(p.peek(), '`ExpectationSync` takes `on`, `off` or a list in braces');
      sync.expectationSync = p.bool(word);
      sync.expectationHelpers = [];
      return;
    }
    sync.expectationSync = true;
    p.braces('ExpectationSync', () => {
      const token = p.name(word, 'names of connection helpers');
      const name = token.text.slice(0, HELPER_NAME_LENGTH);
      const known = sync.expectationHelpers.map((helper) => helper.toLowerCase());
      if (!known.includes(name.toLowerCase())) sync.expectationHelpers.push(name);
    });
  };
}

function optionsBlock(sync: SyncDraft): Block {
  return block({
    TCPWindowTracking: (p, word) => {
      sync.tcpWindowTracking = p.bool(word);
    },
    ExpectationSync: expectationSync(sync),
  });
}

function syncBlock(draft: Draft): Block {
  const { sync } = draft;
  return block({
    ...timers(sync),
    Mode: mode(sync),
    Multicast: link('Multicast', sync),
    UDP: link('UDP', sync),
    TCP: link('TCP', sync),
    Options: (p) => p.section('Options', optionsBlock(sync)),
    ...removedInSync(draft),
    ...extensionBlock('Sync', sync.extensions),
  });
}

// --- the file ---

/** Statistics and replication need the event stream for themselves. */
function checkRole(p: Parser, draft: Draft, word: Token): void {
  if (draft.sync.at === undefined || draft.stats.at === undefined) return;
  p.error(word, "cannot use both `Stats' and `Sync' clauses in conntrackd.conf");
}

function fileBlock(draft: Draft): Block {
  return block({
    General: (p) => p.section('General', generalBlock(draft)),
    Sync: (p, word) => {
      p.section('Sync', syncBlock(draft));
      draft.sync.at = word;
      checkRole(p, draft, word);
    },
    Stats: (p, word) => {
      p.section('Stats', statsBlock(draft));
      draft.stats.at = word;
      checkRole(p, draft, word);
    },
    Helper: (p, word) => {
      draft.helper.at = word;
      p.section('Helper', helperBlock(draft.helper));
    },
    ...removedAtTop(draft),
  });
}

/** Every section's directives, by the section's name: for hints and for checking the docs. */
export function directory(): ReadonlyMap<string, readonly string[]> {
  const draft = emptyDraft();
  const nowhere: Token = { kind: 'end', text: '', offset: 0, line: 0, column: 0 };
  const { general, sync } = draft;
  const blocks: [string, Block][] = [
    ['General', generalBlock(draft)],
    ['UNIX', unixBlock(general)],
    ['Scheduler', schedulerBlock(general)],
    ['Filter', filterBlock(general)],
    ['Sync', syncBlock(draft)],
    ['Mode FTFW', ftfwBlock(sync)],
    ['Mode ALARM', alarmBlock(sync)],
    ['Mode NOTRACK', notrackBlock(sync)],
    ['Multicast', linkBlock(newLink('Multicast', nowhere, false))],
    ['UDP', linkBlock(newLink('UDP', nowhere, false))],
    ['TCP', linkBlock(newLink('TCP', nowhere, false))],
    ['Options', optionsBlock(sync)],
    ['Stats', statsBlock(draft)],
    ['Helper', helperBlock(draft.helper)],
    ['Type', typeBlock()],
    ['Policy', policyBlock()],
  ];
  return new Map(blocks.map(([name, handlers]) => [name, [...handlers.keys()]]));
}

function homesOf(sections: ReadonlyMap<string, readonly string[]>): Map<string, string[]> {
  const homes = new Map<string, string[]>();
  for (const [section, directives] of sections) {
    for (const name of directives) homes.set(name, [...(homes.get(name) ?? []), section]);
  }
  return homes;
}

const HOMES = homesOf(directory());

/** Reads the whole file into a draft. Throws SyntaxFault, after reporting it to the parser. */
export function readDraft(p: Parser): Draft {
  const draft = emptyDraft();
  const handlers = fileBlock(draft);
  while (p.peek().kind !== 'end') p.directive(handlers);
  return draft;
}

export function parserOf(text: string, file: string): Parser {
  return new Parser(tokenize(text), text, file, HOMES);
}
