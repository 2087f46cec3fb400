// The statistics of the daemon as text (`conntrackd -s ...`), byte for byte what the C daemon
// prints: scripts parse these blocks. Plain objects of counters in, text out; nothing is kept and
// nothing blocks, so a caller may read its counters from shared memory at any moment.
//
// A view is a concatenation of blocks, each ending with an empty line. Columns are right-aligned:
// twelve for the 32-bit counters of old, twenty for those of 64 bits; wider numbers push on.

/** A counter; shards count in bigint, the rest in numbers. */
export type Count = number | bigint;

/** Counters of one cache. */
export interface CacheCounters {
  kind: 'cache';
  /** `internal`, `external` or `stats`. */
  name: string;
  /** Living entries. */
  active: Count;
  /** Entries in the table: the living and those that wait for an acknowledgement. */
  total: Count;
  /** Allocated objects, also those that only a queue still holds. */
  objects: Count;
  created: Count;
  createFailed: Count;
  /** Why additions failed: no memory, or HashLimit reached. */
  noMemory: Count;
  noSpace: Count;
  updated: Count;
  updateFailed: Count;
  updateNotFound: Count;
  destroyed: Count;
  destroyFailed: Count;
  destroyNotFound: Count;
}

/** Counters in the place of the internal cache with DisableInternalCache. */
export interface BypassCounters {
  kind: 'bypass';
  created: Count;
  updated: Count;
  destroyed: Count;
  /** Changes that found no room to wait in. In text they are the errors of `txqueue`. */
  dropped: Count;
}

/** Counters in the place of the external cache with DisableExternalCache. */
export interface InjectCounters {
  kind: 'inject';
  created: Count;
  createFailed: Count;
  updated: Count;
  updateFailed: Count;
  destroyed: Count;
  destroyFailed: Count;
}

export type TableCounters = CacheCounters | BypassCounters | InjectCounters;

/** How the tables of this node and its peer compare; docs/operations.md tells what each means. */
export interface ComparisonCounters {
  /** Our copy of the peer's flows, and the peer's copy of ours: `equal`, `different`, … */
  external: string;
  internal: string;
  compared: Count;
  found: Count;
  repaired: Count;
  failed: Count;
  removed: Count;
  said: Count;
  repairs: Count;
}

/** Bytes and packets of destroyed flows, both directions. */
export interface TrafficCounters {
  bytes: Count;
  packets: Count;
}

/** Counters and standing of one dedicated link. */
export interface LinkCounters {
  kind: 'multicast' | 'udp' | 'tcp';
  device: string;
  status: 'RUNNING' | 'NO-CARRIER' | 'DOWN';
  role: 'ACTIVE' | 'BACKUP';
  /** TCP only: the peer is connected to us; we are connected to the peer. */
  serverConnected?: boolean;
  clientConnected?: boolean;
  bytesSent: Count;
  bytesReceived: Count;
  packetsSent: Count;
  packetsReceived: Count;
  sendErrors: Count;
  receiveErrors: Count;
}

/** Sync messages that could not be used, and what the sequence numbers told. */
export interface NetworkCounters {
  malformed: Count;
  wrongVersion: Count;
  malformedHeader: Count;
  malformedPayload: Count;
  badType: Count;
  truncated: Count;
  badSize: Count;
  sendMalformed: Count;
  lost: Count;
  before: Count;
  /** In a multicast group: datagrams of senders for whom there is no room. */
  strangers?: Count;
}

export interface RuntimeCounters {
  /** Seconds since the start. */
  uptime: number;
  eventsReceived: Count;
  eventsFiltered: Count;
  eventsUnknown: Count;
  catchFailed: Count;
  /** Of those that failed: datagrams too long to be read. */
  eventsCut: Count;
  dumpUnknown: Count;
  overruns: Count;
  flushes: Count;
  resyncs: Count;
  /** Receive buffer of the event socket in bytes; 0 without one. */
  bufferSize: Count;
  childFailed: Count;
  childSegfault: Count;
  childTerminated: Count;
  selectFailed: Count;
  waitFailed: Count;
  localReadFailed: Count;
  localUnknown: Count;
}

export interface QueueCounters {
  /** `txqueue`, `errorq`, `rsqueue`. */
  name: string;
  elements: Count;
  maximum: Count;
  noSpace: Count;
}

/** One element of the resend queue. */
export type ResendElement =
  | { kind: 'control'; sequence: number; flags: number }
  | { kind: 'object'; sequence: number };

export interface ProcessEntry {
  pid: number;
  type: 'any' | 'flush' | 'commit';
}

/** What `-s`, `-s ct` and `-s expect` are made of; Stats mode has neither link nor tracking. */
export interface GeneralCounters {
  tables: readonly TableCounters[];
  traffic: TrafficCounters;
  link?: LinkCounters | undefined;
  tracking?: Pick<NetworkCounters, 'malformed' | 'lost'> | undefined;
}

/** `-s`, `-s ct`, `-s expect`. */
export function generalText(counters: GeneralCounters): string {
  const { tables, traffic, link, tracking } = counters;
  return [
    ...tables.map(tableText),
    `traffic processed:\n${pair(traffic.bytes, 'Bytes')}      `,
    `${pair(traffic.packets, 'Pckts')}\n\n`,
    link === undefined ? '' : activeLinkText(link),
    tracking === undefined ? '' : trackingText(tracking),
  ].join('');
}

function trackingText({ malformed, lost }: Pick<NetworkCounters, 'malformed' | 'lost'>): string {
  return `message tracking:\n${wide(malformed)} Malformed msgs ${wide(lost)} Lost msgs\n\n`;
}

function tableText(table: TableCounters): string {
  if (table.kind === 'bypass') return bypassText(table);
  const cache = table.kind === 'cache';
  const head = cache
    ? `cache ${table.name}:\ncurrent active connections:\t${narrow(table.active)}\n`
    : 'external inject:\n';
  return (
    `${head}connections created:\t\t${failing(table.created, table.createFailed)}` +
    `connections updated:\t\t${failing(table.updated, table.updateFailed)}` +
    `connections destroyed:\t\t${failing(table.destroyed, table.destroyFailed)}\n`
  );
}

function bypassText(bypass: BypassCounters): string {
  return (
    `internal bypass:\nconnections new:\t\t${narrow(bypass.created)}\n` +
    `connections updated:\t\t${narrow(bypass.updated)}\n` +
    `connections destroyed:\t\t${narrow(bypass.destroyed)}\n\n`
  );
}

function failing(done: Count, failed: Count): string {
  return `${narrow(done)}\tfailed:\t${narrow(failed)}\n`;
}

/** `-s network`. */
export function networkText(
  network: NetworkCounters,
  link?: LinkCounters,
  comparison?: ComparisonCounters,
): string {
  return (
    'network statistics:\n' +
    '\trecv:\n' +
    `\t\tMalformed messages:\t${wide(network.malformed)}\n` +
    `\t\tWrong protocol version:\t${wide(network.wrongVersion)}\n` +
    `\t\tMalformed header:\t${wide(network.malformedHeader)}\n` +
    `\t\tMalformed payload:\t${wide(network.malformedPayload)}\n` +
    `\t\tBad message type:\t${wide(network.badType)}\n` +
    `\t\tTruncated message:\t${wide(network.truncated)}\n` +
    `\t\tBad message size:\t${wide(network.badSize)}\n` +
    '\tsend:\n' +
    `\t\tMalformed messages:\t${wide(network.sendMalformed)}\n` +
    '\n' +
    'sequence tracking statistics:\n' +
    '\trecv:\n' +
    `\t\tPackets lost:\t\t${wide(network.lost)}\n` +
    `\t\tPackets before:\t\t${wide(network.before)}\n` +
    '\n' +
    (link === undefined ? '' : activeLinkText(link)) +
    strangersText(network) +
    (comparison === undefined ? '' : comparisonText(comparison))
  );
}

/** Behind what C has, and only when there were some. */
function strangersText({ strangers = 0 }: NetworkCounters): string {
  if (Number(strangers) === 0) return '';
  return `multicast group:\n\tDatagrams of strangers:\t${wide(strangers)}\n\n`;
}

/** Behind what C has, and only while there is a peer that compares. */
function comparisonText(comparison: ComparisonCounters): string {
  const { external, internal, found, repaired, failed, removed, said } = comparison;
  if (external === 'cannot say' && internal === 'cannot say') return '';
  return (
    'comparison of tables:\n' +
    `\tour flows at the peer:\t\t${internal}\n` +
    `\tflows of the peer here:\t\t${external}\n` +
    `\tRanges different:\t${wide(found)}\n` +
    `\tRanges repaired:\t${wide(repaired)}\n` +
    `\tRanges not repaired:\t${wide(failed)}\n` +
    `\tFlows removed here:\t${wide(removed)}\n` +
    `\tFlows said again:\t${wide(said)}\n\n`
  );
}

/** `-s cache`. */
export function cacheText(tables: readonly TableCounters[]): string {
  return tables
    .map((table) => (table.kind === 'cache' ? detail(table) : tableText(table)))
    .join('');
}

function detail(cache: CacheCounters): string {
  const both = (one: Count, other: Count): string => `${narrow(one)}/${narrow(other)}`;
  return (
    `cache:${cache.name}\tactive objects:\t\t${narrow(cache.objects)}\n` +
    `\tactive/total entries:\t\t${both(cache.active, cache.total)}\n` +
    `\tcreation OK/failed:\t\t${both(cache.created, cache.createFailed)}\n` +
    `\t\tno memory available:\t${narrow(cache.noMemory)}\n` +
    `\t\tno space left in cache:\t${narrow(cache.noSpace)}\n` +
    `\tupdate OK/failed:\t\t${both(cache.updated, cache.updateFailed)}\n` +
    `\t\tentry not found:\t${narrow(cache.updateNotFound)}\n` +
    `\tdeletion created/failed:\t${both(cache.destroyed, cache.destroyFailed)}\n` +
    `\t\tentry not found:\t${narrow(cache.destroyNotFound)}\n` +
    '\n'
  );
}

/** `-s runtime`. */
export function runtimeText(runtime: RuntimeCounters): string {
  return (
    `daemon uptime: ${uptimeText(runtime.uptime)}\n` +
    '\n' +
    'netlink stats:\n' +
    `\tevents received:\t${wide(runtime.eventsReceived)}\n` +
    `\tevents filtered:\t${wide(runtime.eventsFiltered)}\n` +
    `\tevents unknown type:\t\t${narrow(runtime.eventsUnknown)}\n` +
    `\tcatch event failed:\t\t${narrow(runtime.catchFailed)}\n` +
    `\tdump unknown type:\t\t${narrow(runtime.dumpUnknown)}\n` +
    `\tnetlink overrun:\t\t${narrow(runtime.overruns)}\n` +
    `\tflush kernel table:\t\t${narrow(runtime.flushes)}\n` +
    `\tresync with kernel table:\t${narrow(runtime.resyncs)}\n` +
    `\tcurrent buffer size (in bytes):\t${narrow(runtime.bufferSize)}\n` +
    '\n' +
    'runtime stats:\n' +
    `\tchild process failed:\t\t${narrow(runtime.childFailed)}\n` +
    `\t\tchild process segfault:\t${narrow(runtime.childSegfault)}\n` +
    `\t\tchild process termsig:\t${narrow(runtime.childTerminated)}\n` +
    `\tselect failed:\t\t\t${narrow(runtime.selectFailed)}\n` +
    `\twait failed:\t\t\t${narrow(runtime.waitFailed)}\n` +
    `\tlocal read failed:\t\t${narrow(runtime.localReadFailed)}\n` +
    `\tlocal unknown request:\t\t${narrow(runtime.localUnknown)}\n` +
    '\n'
  );
}

/** `3 days 2 h 5 min`: days only if any, hours only if not zero. Seconds in. */
export function uptimeText(seconds: number): string {
  const minutes = Math.floor(seconds / 60) % 60;
  const hours = Math.floor(seconds / 3600) % 24;
  const days = Math.floor(seconds / 86_400);
  const ahead = days === 0 ? '' : `${days} ${days === 1 ? 'day' : 'days'} `;
  return `${ahead}${hours === 0 ? '' : `${hours} h `}${minutes} min`;
}

/** `-s link`: every configured link. */
export function linksText(links: readonly LinkCounters[]): string {
  return links
    .map((link) => {
      const { device, status, role } = link;
      return `${traffic(link)} device=${device} status=${status} role=${role}:\n${linkLines(link)}`;
    })
    .join('');
}

/** The block of the link in use, as part of other views. */
function activeLinkText(link: LinkCounters): string {
  const state = (connected: boolean | undefined): string =>
    connected ? 'connected' : 'disconnected';
  const ends =
    link.kind === 'tcp'
      ? ` server=${state(link.serverConnected)} client=${state(link.clientConnected)}`
      : '';
  return `${traffic(link)} (active device=${link.device})${ends}:\n${linkLines(link)}`;
}

function traffic({ kind }: LinkCounters): string {
  return `${kind === 'multicast' ? kind : kind.toUpperCase()} traffic`;
}

function linkLines(link: LinkCounters): string {
  return (
    `${pair(link.bytesSent, 'Bytes sent')} ${pair(link.bytesReceived, 'Bytes recv')}\n` +
    `${pair(link.packetsSent, 'Pckts sent')} ${pair(link.packetsReceived, 'Pckts recv')}\n` +
    `${pair(link.sendErrors, 'Error send')} ${pair(link.receiveErrors, 'Error recv')}\n\n`
  );
}

/** `-s rsqueue`, oldest element first. The only view without an empty line at its end. */
export function resendQueueText(elements: readonly ResendElement[]): string {
  const lines = elements.map((element) =>
    element.kind === 'control'
      ? `control -> seq:${element.sequence} flags:${element.flags}\n`
      : `object -> seq:${element.sequence}\n`,
  );
  return `resent queue (len=${elements.length})\n${lines.join('')}`;
}

/** `-s process`, newest child first; empty without children. */
export function processText(entries: readonly ProcessEntry[]): string {
  return entries.map(({ pid, type }) => `PID=${pid} type=${type}\n`).join('');
}

/** `-s queue`: nodes in use, then every queue. */
export function queueText(nodes: Count, queues: readonly QueueCounters[]): string {
  const blocks = queues.map(
    (queue) =>
      `queue ${queue.name}:\n` +
      `current elements:\t\t${narrow(queue.elements)}\n` +
      `maximum elements:\t\t${narrow(queue.maximum)}\n` +
      `not enough space errors:\t${narrow(queue.noSpace)}\n\n`,
  );
  return `allocated queue nodes:\t\t${narrow(nodes)}\n\n${blocks.join('')}`;
}

function narrow(count: Count): string {
  return `${count}`.padStart(12);
}

function wide(count: Count): string {
  return `${count}`.padStart(20);
}

function pair(count: Count, unit: string): string {
  return `${wide(count)} ${unit}`;
}
