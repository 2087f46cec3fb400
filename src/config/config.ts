/*
 * The configuration as the rest of the program sees it: typed, complete, frozen.
 *
 * Every default is applied here and nowhere else. Plain data throughout (no functions, no class
 * instances), so it may be handed to a worker as it is.
 */

import { anyAddress, type IpAddress, isMulticast } from './address.js';
import { HELPERS } from './cthelper.js';
import type {
  AddressEntry,
  Draft,
  Facility,
  FilterDraft,
  FilterSource,
  GeneralDraft,
  HelperDraft,
  HelperPolicy,
  LinkDraft,
  LinkKind,
  Policy,
  StatsDraft,
  SyncDraft,
  SyncMode,
} from './draft.js';
import { type ExtensionValues, extensionValues } from './extensions.js';
import type { Written } from './parser.js';

export type { IpAddress } from './address.js';
export type {
  AddressEntry,
  Facility,
  FilterSource,
  HelperPolicy,
  LinkKind,
  Policy,
  SyncMode,
} from './draft.js';
export type { Written } from './parser.js';

export interface Filter {
  readonly from: FilterSource;
  /** Numbers of IANA's registry. A set without entries is in force all the same. */
  readonly protocol?: { readonly policy: Policy; readonly numbers: readonly number[] };
  readonly address?: { readonly policy: Policy; readonly entries: readonly AddressEntry[] };
  /** TCP states as the kernel numbers them. */
  readonly state?: { readonly policy: Policy; readonly states: readonly number[] };
}

export interface General extends ExtensionValues<'General'> {
  /** Buckets of each table. */
  readonly hashSize: number;
  /** Entries of each table. */
  readonly hashLimit: number;
  readonly logFile?: string;
  readonly syslog?: Facility;
  readonly lockFile: string;
  readonly unixPath?: string;
  /** Bytes as the kernel reports them; undefined keeps the system's default. */
  readonly netlinkBufferSize?: number;
  /** Bytes; 0 forbids growth and disables netlinkBufferSize. */
  readonly netlinkBufferSizeMaxGrowth: number;
  readonly eventIterationLimit: number;
  /** Seconds between two polls; undefined: driven by events. */
  readonly pollSecs?: number;
  /** Seconds from an overrun to the resync with the kernel; undefined: never. */
  readonly netlinkOverrunResync: number | undefined;
  readonly netlinkEventsReliable: boolean;
  readonly scheduler: { readonly type: 'RR' | 'FIFO'; readonly priority: number };
  /** False when the scheduler above is the default, not the file's. */
  readonly schedulerSet: boolean;
  readonly systemd: boolean;
  readonly filter?: Filter;
}

export type Link = ExtensionValues<'Link'> & {
  readonly kind: LinkKind;
  readonly family: 4 | 6;
  /** Multicast: the group. UDP, TCP: local address, possibly all zeros. */
  readonly address: IpAddress;
  /** Where to send: the group again, or the peer. */
  readonly destination: IpAddress;
  /** Multicast over IPv4: local address that selects the device; all zeros: by route. */
  readonly interfaceAddress?: IpAddress;
  readonly interface?: string;
  /** `Group` or `Port`: UDP or TCP port. */
  readonly port: number;
  readonly sndSocketBuffer?: number;
  readonly rcvSocketBuffer?: number;
  readonly checksum: boolean;
  /** Packets kept while the peer is away; TCP only, one queue for all links. */
  readonly errorQueueLength: number;
  /** True for exactly one link: the one that is active at first. */
  readonly isDefault: boolean;
  readonly line: number;
  /** Why this link can never be opened; empty for a usable one. See checkRuntime. */
  readonly faults: readonly string[];
};

export type Sync = ExtensionValues<'Sync'> & {
  readonly mode: SyncMode;
  readonly modeGiven: boolean;
  /** Messages. */
  readonly resendQueueSize: number;
  readonly ackWindowSize: number;
  /** Seconds, all four. */
  readonly refreshTime: number;
  readonly cacheTimeout: number;
  readonly commitTimeout?: number;
  readonly purgeTimeout: number;
  readonly disableInternalCache: boolean;
  readonly disableExternalCache: boolean;
  readonly startupResync: boolean;
  readonly links: readonly Link[];
  readonly tcpWindowTracking: boolean;
  /** True: all; a list: those whose helper's name starts with one of these, any letter case. */
  readonly expectationSync: boolean | readonly string[];
  readonly line: number;
};

export type Stats = ExtensionValues<'Stats'> & {
  readonly logFile?: string;
  /** Set when flows go to syslog. Messages bear General's facility if it has one. */
  readonly syslog?: Facility;
};

export interface HelperType {
  /** Of the file. */
  readonly line: number;
  readonly name: string;
  readonly l3: 'inet' | 'inet6';
  readonly l4: 'tcp' | 'udp';
  readonly queueNum: number;
  /** 0: the kernel's default. */
  readonly queueLen: number;
  readonly policy: HelperPolicy;
}

export interface Helper {
  /** Of the file. */
  readonly line: number;
  readonly setup: boolean;
  /** In the order of the file. */
  readonly types: readonly HelperType[];
}

export interface Config {
  readonly file: string;
  readonly general: General;
  readonly sync?: Sync;
  readonly stats?: Stats;
  readonly helper?: Helper;
  /** Directives that the file really contains, in its order, sections included. */
  readonly written: readonly Written[];
}

/** Leaves out what is undefined, so that optional fields are absent rather than undefined. */
function defined<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

type Optional<T> = Partial<{ [K in keyof T]: Exclude<T[K], undefined> }>;

/** As `defined`, for groups of fields that may all be missing. */
function present<T extends object>(fields: T): Optional<T> {
  return defined(fields) as Optional<T>;
}

function finishFilter(draft: FilterDraft): Filter {
  const { from = 'Userspace', protocol, state } = draft;
  const address = draft.address && {
    policy: draft.address.policy,
    entries: draft.address.entries,
  };
  return { from, ...present({ protocol, address, state }) };
}

function finishGeneral(draft: GeneralDraft): General {
  const { logFile, syslog, unixPath, netlinkBufferSize, pollSecs, schedulerType } = draft;
  const filter = draft.filter === undefined ? undefined : finishFilter(draft.filter);
  const { netlinkOverrunResync = 30 } = draft;
  return {
    hashSize: draft.hashSize ?? 65536,
    hashLimit: draft.hashLimit ?? 262144,
    lockFile: draft.lockFile ?? '/var/lock/conntrackd.lock',
    netlinkBufferSizeMaxGrowth: draft.netlinkBufferSizeMaxGrowth ?? 0,
    eventIterationLimit: draft.eventIterationLimit ?? 100,
    netlinkOverrunResync: netlinkOverrunResync === false ? undefined : netlinkOverrunResync,
    netlinkEventsReliable: draft.netlinkEventsReliable ?? false,
    // A priority without a type is ignored.
    scheduler:
      schedulerType === undefined
        ? { type: 'RR', priority: 99 }
        : { type: schedulerType, priority: draft.schedulerPriority ?? 0 },
    schedulerSet: schedulerType !== undefined,
    systemd: draft.systemd ?? true,
    ...present({ logFile, syslog, unixPath, netlinkBufferSize, pollSecs, filter }),
    ...extensionValues('General', draft.extensions),
  };
}

const OPEN_FAILED = "can't open channel socket:";

/** What keeps a link from ever being opened, with the errno text that the C daemon shows. */
function linkFaults(draft: LinkDraft): string[] {
  if (draft.kind === 'Multicast') {
    const group = draft.family === undefined ? undefined : draft[draft.family].address;
    if (group === undefined) return [`${OPEN_FAILED} Invalid argument (no multicast address)`];
    if (isMulticast(group)) return [];
    return [`${OPEN_FAILED} Invalid argument (${group.text} is not a multicast address)`];
  }
  if (draft.family === undefined) {
    return [`${OPEN_FAILED} Address family not supported by protocol (no address)`];
  }
  const own = draft[draft.family];
  const other = draft[draft.family === 4 ? 6 : 4];
  const mixed =
    (other.address !== undefined && own.address === undefined) ||
    (other.destination !== undefined && own.destination === undefined);
  if (!mixed) return [];
  const reason = 'local and destination address are of different families';
  return [`${OPEN_FAILED} Cannot assign requested address (${reason})`];
}

function finishLink(draft: LinkDraft, isDefault: boolean, checksum: boolean | undefined): Link {
  const family = draft.family ?? 4;
  const { address = anyAddress(family), destination = anyAddress(family) } = draft[family];
  const { interfaceAddress, interface: device, sndSocketBuffer, rcvSocketBuffer } = draft;
  return {
    kind: draft.kind,
    family,
    address,
    destination: draft.kind === 'Multicast' ? address : destination,
    port: draft.port ?? 0,
    checksum: draft.checksum ?? checksum ?? true,
    errorQueueLength: draft.errorQueueLength ?? 128,
    isDefault,
    line: draft.at.line,
    faults: linkFaults(draft),
    ...present({ interfaceAddress, interface: device, sndSocketBuffer, rcvSocketBuffer }),
    ...extensionValues('Link', draft.extensions),
  };
}

function finishMode(modes: ReadonlySet<SyncMode>): SyncMode {
  if (modes.has('FTFW') || modes.size === 0) return 'FTFW';
  return modes.has('ALARM') ? 'ALARM' : 'NOTRACK';
}

function finishSync(draft: SyncDraft, line: number): Sync {
  const marked = draft.links.findLastIndex((link) => link.marked);
  const links = draft.links.map((link, i) => {
    const checksum = i === 0 ? draft.firstLinkChecksum : undefined;
    return finishLink(link, i === Math.max(0, marked), checksum);
  });
  const { expectationSync = false, expectationHelpers, commitTimeout } = draft;
  return {
    mode: finishMode(draft.modes),
    modeGiven: draft.modes.size > 0,
    resendQueueSize: draft.resendQueueSize ?? 131072,
    ackWindowSize: draft.ackWindowSize ?? 300,
    refreshTime: draft.refreshTime ?? 60,
    cacheTimeout: draft.cacheTimeout ?? 180,
    purgeTimeout: draft.purgeTimeout ?? 60,
    disableInternalCache: draft.disableInternalCache ?? false,
    disableExternalCache: draft.disableExternalCache ?? false,
    startupResync: draft.startupResync ?? false,
    links,
    tcpWindowTracking: draft.tcpWindowTracking ?? false,
    expectationSync:
      expectationSync && expectationHelpers.length > 0 ? expectationHelpers : expectationSync,
    line,
    ...present({ commitTimeout }),
    ...extensionValues('Sync', draft.extensions),
  };
}

/** General's facility wins over one that Stats names differently. */
function finishStats(draft: StatsDraft, general: Facility | undefined): Stats {
  const syslog = draft.syslog === undefined ? undefined : (general ?? draft.syslog);
  return {
    ...present({ logFile: draft.logFile, syslog }),
    ...extensionValues('Stats', draft.extensions),
  };
}

function finishHelper(draft: HelperDraft): Helper {
  const types = draft.types.map((type) => ({
    ...type,
    policy: draft.policies.get(`${type.name}/${type.l4}`) ?? HELPERS.get(type.name)!.policy,
  }));
  return { line: draft.at!.line, setup: draft.setup, types };
}

function freeze<T>(value: T): T {
  // The elements of typed arrays cannot be frozen; nobody writes to them.
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  for (const part of Object.values(value)) freeze(part);
  return Object.freeze(value);
}

export function finish(draft: Draft, file: string, written: readonly Written[]): Config {
  const { sync, stats, helper, general } = draft;
  return freeze({
    file,
    general: finishGeneral(general),
    written: [...written],
    ...present({
      sync: sync.at === undefined ? undefined : finishSync(sync, sync.at.line),
      stats: stats.at === undefined ? undefined : finishStats(stats, general.syslog),
      helper: helper.at === undefined ? undefined : finishHelper(helper),
    }),
  });
}
