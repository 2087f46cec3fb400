/*
 * The draft: what the file has said so far, before defaults.
 *
 * The grammar writes into it, later directives over earlier ones; config.ts turns it into the typed,
 * frozen configuration. Absent means "not written". Tokens are kept where a later check wants to
 * point at the place.
 */

import type { IpAddress } from './address.js';
import type { WrittenExtensions } from './extensions.js';
import type { Token } from './lexer.js';

export const FACILITIES = [
  'daemon',
  'local0',
  'local1',
  'local2',
  'local3',
  'local4',
  'local5',
  'local6',
  'local7',
] as const;
/** A syslog facility of syslog(3). */
export type Facility = (typeof FACILITIES)[number];

export type Policy = 'Accept' | 'Ignore';
export type FilterSource = 'Userspace' | 'Kernelspace';
export type SyncMode = 'FTFW' | 'ALARM' | 'NOTRACK';
export type LinkKind = 'Multicast' | 'UDP' | 'TCP';

export interface AddressEntry {
  readonly family: 4 | 6;
  /** Network order, host bits cleared. */
  readonly bytes: Uint8Array;
  readonly prefix: number;
}

export interface FilterDraft {
  from?: FilterSource;
  protocol?: { policy: Policy; numbers: number[] };
  /** `seen`: a key of each entry, as there may be tens of thousands. */
  address?: { policy: Policy; entries: AddressEntry[]; seen: Set<string> };
  state?: { policy: Policy; states: number[] };
}

export interface GeneralDraft {
  hashSize?: number | undefined;
  hashLimit?: number | undefined;
  logFile?: string | undefined;
  syslog?: Facility | undefined;
  lockFile?: string;
  unixSection?: Token;
  unixPath?: string;
  netlinkBufferSize?: number | undefined;
  netlinkBufferSizeMaxGrowth?: number;
  eventIterationLimit?: number | undefined;
  pollSecs?: number;
  /** Seconds, or false for never. */
  netlinkOverrunResync?: number | false;
  netlinkEventsReliable?: boolean;
  schedulerType?: 'RR' | 'FIFO';
  schedulerPriority?: number;
  schedulerAt?: Token;
  systemd?: boolean;
  filter?: FilterDraft;
  extensions: WrittenExtensions;
}

export interface SideDraft {
  address?: IpAddress;
  destination?: IpAddress;
}

export interface LinkDraft {
  readonly kind: LinkKind;
  readonly at: Token;
  readonly marked: boolean;
  /** Fixed by the first address (multicast) or by the last one (UDP, TCP). */
  family?: 4 | 6;
  4: SideDraft;
  6: SideDraft;
  /** Multicast: local address that selects the interface. */
  interfaceAddress?: IpAddress;
  interface?: string;
  port?: number;
  sndSocketBuffer?: number | undefined;
  rcvSocketBuffer?: number | undefined;
  checksum?: boolean;
  errorQueueLength?: number | undefined;
  extensions: WrittenExtensions;
}

export interface SyncDraft {
  at?: Token;
  modes: Set<SyncMode>;
  modeAt?: Token;
  resendQueueSize?: number | undefined;
  ackWindowSize?: number | undefined;
  refreshTime?: number | undefined;
  cacheTimeout?: number | undefined;
  commitTimeout?: number | undefined;
  commitTimeoutAt?: Token;
  purgeTimeout?: number | undefined;
  disableInternalCache?: boolean;
  disableExternalCache?: boolean;
  startupResync?: boolean;
  links: LinkDraft[];
  /** `Checksum` directly in `Sync`, as before 1.4.5: meant for the first link. */
  firstLinkChecksum?: boolean;
  tcpWindowTracking?: boolean;
  expectationSync?: boolean;
  expectationHelpers: string[];
  extensions: WrittenExtensions;
}

export interface StatsDraft {
  at?: Token;
  logFile?: string | undefined;
  syslog?: Facility | undefined;
  extensions: WrittenExtensions;
}

export interface HelperPolicy {
  readonly expectMax: number;
  readonly expectTimeout: number;
}

export interface HelperTypeDraft {
  line: number;
  name: string;
  l3: 'inet' | 'inet6';
  l4: 'tcp' | 'udp';
  queueNum: number;
  queueLen: number;
}

export interface HelperDraft {
  at?: Token;
  setup: boolean;
  types: HelperTypeDraft[];
  /** Shared by all instances of one helper, by `name/l4`. */
  policies: Map<string, HelperPolicy>;
}

export interface Draft {
  general: GeneralDraft;
  sync: SyncDraft;
  stats: StatsDraft;
  helper: HelperDraft;
}

export function emptyDraft(): Draft {
  return {
    general: { extensions: new Map() },
    sync: { modes: new Set(), links: [], expectationHelpers: [], extensions: new Map() },
    stats: { extensions: new Map() },
    helper: { setup: false, types: [], policies: new Map() },
  };
}
