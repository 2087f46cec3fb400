// A replicating node (Sync mode): puts the stations together and carries out the operator's orders.
// The data plane runs by itself from start() on; everything here is beside the road.

import * as L from '../../assembly/layout.js';
import type { ExpectationLimits } from '../cache/arena.js';
import { VERB } from '../cache/verbs.js';
import type { DedicatedLinks } from '../channel/links.js';
import { type LinkOnDevice, linkLimits, openLinks } from '../channel/open.js';
import type { Config, Link, Sync } from '../config/index.js';
import {
  type InterfaceInfo,
  type InterfaceWatcher,
  readInterface,
  watchInterfaces,
} from '../kernel/links.js';
import { RequestSocket } from '../kernel/requests.js';
import { AF_INET6, errorText } from '../kernel/syscalls.js';
import { readKernelTable, showKernelTable, type TableReading } from '../kernel/table.js';
import { ipv4Text, ipv6Text } from '../report/address.js';
import { expectText } from '../report/expect.js';
import { FlowReader, flowText } from '../report/flow.js';
import { Alarm } from '../sync/alarm.js';
import { type CommitReport, commitFlows } from '../sync/commit.js';
import { Digests } from '../sync/digests.js';
import { Expectations } from '../sync/expectations.js';
import { Masters } from '../sync/masters.js';
import { Replication } from '../sync/replication.js';
import { CAPABILITY } from '../sync/tail.js';
import { VERSION } from '../version.js';
import { DataPlane, monotonicSeconds } from './dataplane.js';
import { FlowNode, type FlowVisit, reasonText } from './flows.js';
import { Injector } from './injector.js';
import type { Log } from './log.js';

const MODES = { FTFW: L.MODE_FTFW, NOTRACK: L.MODE_NOTRACK, ALARM: L.MODE_ALARM } as const;
/** Turns before a commit that may find something to read: a peer that lives never comes to an end. */
const REST_TURNS = 64;
/** Flow lines of failed commits in the log, per commit. */
const FAILURES_LOGGED = 1000;
/** ms between the announcement of a connection and the look at its master: the helper is done then. */
const MASTERS_DELAY = 20;

export class StartError extends Error {}

export class SyncNode extends FlowNode {
  readonly links: DedicatedLinks;
  readonly plane: DataPlane;
  readonly replication: Replication;
  /** With ExpectationSync. */
  readonly expectations: Expectations | undefined;
  private readonly masters: Masters | undefined;
  private mastersDue: NodeJS.Timeout | undefined;
  /** DisableInternalCache: events become messages at once. */
  readonly bypass: boolean;
  /** DisableExternalCache. */
  readonly injector: Injector | undefined;
  /** Compares the caches with the peer's; undefined where they cannot be. */
  readonly digests: Digests | undefined;
  private readonly commits: RequestSocket;
  private readonly watcher: InterfaceWatcher;
  private committing = false;
  private purge: NodeJS.Timeout | undefined;
  /** Counters of refusals as they were last reported, by topic. */
  private readonly reported = new Map<string, bigint>();
  private readonly watchdog: NodeJS.Timeout;

  /**
   * Opens everything: sockets, shards, caches. Throws StartError, SystemCallError or
   * MissingCapability when the node cannot run; whatever was opened ends with the process then.
   */
  constructor(
    config: Config,
    private sync: Sync,
    log: Log,
    onFatal: (reason: string) => void,
  ) {
    const { general } = config;
    const links = linksOnDevices(sync.links);
    super(config, log, onFatal, {
      resendQueueSize: sync.resendQueueSize,
      ...linkLimits(links),
      shardOptions: shardOptions(sync),
      mode: MODES[sync.mode],
      ackWindowSize: sync.ackWindowSize,
      firstSequence: firstSequence(),
      ...expectationLimits(sync),
      digests: hasDigests(sync),
    });
    this.links = this.openLinks(links);
    this.watcher = watchInterfaces(
      (info) => this.links.interfaceChanged(info, performance.now()),
      (error) => log.limited('error', 'watcher', `interface watcher: ${error.message}`),
    );
    this.commits = new RequestSocket(this.arena, this.base, "can't create handler to commit");
    this.arena.set(L.CONTROL_PORT_COMMIT, this.commits.port);
    this.bypass = sync.disableInternalCache;
    const { arena, base, core } = this;
    const injector = sync.disableExternalCache
      ? new Injector({ arena, base, core, log }, sync)
      : undefined;
    this.injector = injector;
    this.replication = new Replication(this.arena, this.base, this.core, this.shards, this.links, {
      startupResync: sync.startupResync,
      onResyncRequest: () => {
        log.notice('resync requested by other node');
        this.sendBulk();
      },
      onPeerStart: () => log.limited('info', 'peer', 'the peer has started'),
      onHeard: (now) => this.links.heard(now),
      program: VERSION,
      capabilities: CAPABILITY.ZONES | (hasDigests(sync) ? CAPABILITY.DIGESTS : 0),
      beaconParts: () => this.digests?.beaconParts(performance.now()) ?? [],
      onTail: (peer, tail, now) => this.digests?.hear(peer, tail, now),
      onMoved: (from, into) => this.digests?.move(from, into),
      addressOf: (place) => this.peerAddress(place),
      onAbandon: ({ address }) =>
        log.warning(`${address} acknowledges nothing: others do not wait for it any more`),
      ...(injector && {
        inject: (list, count) => injector.inject(list, count),
        injectExpectations: (list, count) => injector.injectExpectations(list, count),
      }),
    });
    this.expectations =
      sync.expectationSync === false ? undefined : new Expectations(this.tableParts());
    this.masters = this.expectations && new Masters(this.tableParts());
    this.digests = hasDigests(sync)
      ? new Digests({
          ...{ arena, shards: this.shards, replication: this.replication },
          notice: (topic, text) => log.limited('notice', topic, text),
        })
      : undefined;
    this.plane = new DataPlane({
      arena: this.arena,
      base: this.base,
      core: this.core,
      shards: this.shards,
      wake: this.wake,
      events: this.events,
      peers: { links: this.links, replication: this.replication, digests: this.digests },
      expectations: this.expectations && {
        events: (list, count, positions) => {
          this.noteMasters(list, count);
          this.expectations?.events(list, count, positions);
        },
      },
      alarm:
        sync.mode === 'ALARM'
          ? new Alarm(this.arena, this.shards, sync, performance.now())
          : undefined,
      injects: injector !== undefined,
      coalesceTime: general.coalesceTime,
      onOverrun: () => this.overrun(),
      onCut: (datagrams) => this.eventsCut(datagrams),
    });
    this.watchdog = setInterval(() => this.reportRefusals(), 1000);
    this.watchdog.unref();
  }

  override async start(): Promise<void> {
    await super.start();
    this.cacheIsComplete(true);
    await this.readExpectations({ replicate: false, purge: false });
    if (this.sync.startupResync) this.log.notice('resync requested');
  }

  override async stop(): Promise<void> {
    clearInterval(this.watchdog);
    clearTimeout(this.purge);
    clearTimeout(this.mastersDue);
    await super.stop();
    this.watcher.close();
    this.commits.close();
    this.masters?.close();
    this.injector?.close();
    this.links.close();
  }

  override async reconfigure(config: Config): Promise<void> {
    this.sync = config.sync ?? this.sync;
    const { arena } = this;
    const omit = this.sync.commitTimeout === undefined ? 0 : L.SHARD_OMIT_TIMEOUT;
    for (let i = 0; i < arena.limits.shards; i++) {
      const at = arena.shard(i) + L.SHARD_OPTIONS;
      arena.set(at, (arena.get(at) & ~L.SHARD_OMIT_TIMEOUT) | omit);
    }
    await super.reconfigure(config);
  }

  // ------------------------------------------------------------------------ the operator's orders

  /**
   * `-c`: the external cache into the kernel. Undefined when a commit is already under way.
   *
   * The kernel's events of a commit would only say what was asked for, and cost it more than half of
   * the commit to write and us as much to read. So nobody listens to NEW events meanwhile, and the
   * internal cache learns what there is now by a comparison with the kernel's table behind the commit,
   * live flows that were new in between included. With ExpectationSync the commit ends with that
   * comparison, as expectations are kept for known masters only. `compare: false`: the caller reads
   * the table himself. Without an internal cache (bypass) events are all there is: they are heard.
   */
  async commit({ compare = true } = {}): Promise<CommitReport | undefined> {
    this.cancelPurge();
    if (this.committing) {
      this.log.notice('commit already in progress, skipping');
      return undefined;
    }
    if (this.injector !== undefined) {
      // What there is to commit is in the kernel already.
      return { committed: 0, failed: 0, seconds: 0, reasons: new Map() };
    }
    this.committing = true;
    let logged = 0;
    try {
      if (!this.bypass) this.hearNew(false);
      await this.hearTheRest();
      const result = await this.kernelTurns.run(() =>
        commitFlows(
          {
            arena: this.arena,
            shards: this.shards,
            requests: this.commits,
            pause: () => this.pause(),
            onFailure: (step, error, record) => {
              if (logged++ < FAILURES_LOGGED) this.logFailure(step, error, record);
            },
          },
          this.sync.commitTimeout ?? 0,
        ),
      );
      this.log.notice(`Committed ${result.committed} new entries`);
      if (result.failed > 0) this.log.notice(`${result.failed} entries can't be committed`);
      this.log.notice(`commit has taken ${result.seconds.toFixed(6)} seconds`);
      return result;
    } finally {
      this.committing = false;
      if (!this.bypass) {
        this.hearNew(true);
        const compared = compare ? this.compareAfterCommit() : undefined;
        if (this.expectations !== undefined) await compared;
      }
    }
  }

  /** What a dead peer said last lies in the socket for as long as a nap: it is committed, too. */
  private async hearTheRest(): Promise<void> {
    for (let turns = 0; turns < REST_TURNS && (await this.pause()); turns++);
  }

  /** While new flows are not heard of, the internal cache is not all there is. */
  private hearNew(listening: boolean): void {
    this.events.hearNew(listening);
    if (!listening) this.cacheIsComplete(false);
  }

  /** What `compare: false` has left to the caller. Reports a failure and tries again later. */
  async compareAfterCommit(): Promise<void> {
    try {
      await this.compareWithKernel('own');
    } catch (error) {
      this.log.error(`reading the kernel's table after a commit failed: ${reasonText(error)}`);
      this.resync.due();
    }
  }

  /** `-c expect`: the external expectations into the kernel. Undefined: a commit is under way. */
  async commitExpectations(): Promise<CommitReport | undefined> {
    const { commits, expectations, log } = this;
    const reasons = new Map<string, number>();
    if (expectations === undefined) return { committed: 0, failed: 0, seconds: 0, reasons };
    this.cancelPurge();
    if (this.committing) {
      log.notice('commit already in progress, skipping');
      return undefined;
    }
    this.committing = true;
    let logged = 0;
    try {
      const result = await this.kernelTurns.run(() =>
        expectations.commit(commits, this.sync.commitTimeout ?? 0, (step, error, entry) => {
          const reason = `${step}: ${errorText(error)}`;
          reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
          if (logged++ >= FAILURES_LOGGED) return;
          log.error(`commit-${step}: ${errorText(error)}`);
          log.flow('error', expectText(expectations.read(entry)));
        }),
      );
      log.notice(`Committed ${result.committed} new expectations`);
      if (result.failed > 0) log.notice(`${result.failed} expectations can't be committed`);
      log.notice(`commit has taken ${result.seconds.toFixed(6)} seconds`);
      return { ...result, reasons };
    } finally {
      this.committing = false;
    }
  }

  /** `-F expect`: deletes the kernel's expectations, one by one. */
  async flushKernelExpectations(): Promise<void> {
    this.counters.flushes++;
    await this.kernelTurns.run(async () => this.expectations?.flushKernel(this.flushes));
  }

  /** `-R expect`, and at start: the kernel's expectations into the internal cache. */
  async readExpectations(how: { replicate: boolean; purge: boolean }): Promise<void> {
    await this.kernelTurns.run(async () => this.expectations?.readKernel(how));
  }

  /** A helper has announced connections: their masters are read again when it has done its work. */
  private noteMasters(list: number, count: number): void {
    const { masters } = this;
    if (masters === undefined) return;
    masters.note(list, count);
    if (!masters.waiting || this.mastersDue !== undefined) return;
    this.mastersDue = setTimeout(() => {
      this.mastersDue = undefined;
      this.kernelTurns
        .run(() => masters.read())
        .then(() => this.plane.wake())
        .catch((error: unknown) => this.log.limited('error', 'masters', reasonText(error)));
    }, MASTERS_DELAY);
  }

  override async resyncWithKernel(): Promise<void> {
    if (this.bypass) this.log.notice('resync is unsupported in this mode');
    else {
      await super.resyncWithKernel();
      this.cacheIsComplete(true);
    }
  }

  /** With the bypass there is nothing to compare: what was missed is lost until it changes again. */
  protected override get comparable(): boolean {
    return !this.bypass;
  }

  protected override async compareWithKernel(
    replicate: TableReading['replicate'] = true,
  ): Promise<void> {
    if (this.comparable) {
      await super.compareWithKernel(replicate);
      this.cacheIsComplete(true);
    }
    await this.readExpectations({ replicate: true, purge: true });
  }

  /** `-f`: empties caches. False, with an error in the log, while a commit needs them. */
  async flushCaches(internal: boolean, external: boolean): Promise<boolean> {
    if (external && this.committing) {
      this.log.error('ignoring flush command, commit still in progress');
      return false;
    }
    this.cancelPurge();
    // With the bypass the C daemon deletes the kernel's flows here. Ours never does: -F says so.
    // What the kernel has is not in it any more: a peer must not take it for all there is.
    if (internal) this.cacheIsComplete(false);
    if (internal) await this.onAllShards(VERB.flush, L.TABLE_INTERNAL);
    // With injection this empties the register: the copies in the kernel are our flows from now on.
    if (external) await this.onAllShards(VERB.flush, L.TABLE_EXTERNAL);
    return true;
  }

  /** `-B`: all our flows to the peers. */
  sendBulk(): void {
    this.log.notice('sending bulk update');
    this.replication.sendBulk();
    this.plane.wake();
    if (!this.bypass) return;
    this.kernelTurns
      .run(() => readKernelTable(this.tableParts(), { replicate: true, purge: false }))
      .catch((error: unknown) => this.log.error(`bulk update failed: ${reasonText(error)}`));
  }

  /** `-n`: asks the peers for all theirs. */
  requestResync(): void {
    this.log.notice('resync requested');
    this.replication.requestResync();
    this.plane.wake();
  }

  /** Seconds from the order to purge until the kernel's flows go. */
  get purgeTimeout(): number {
    return this.sync.purgeTimeout;
  }

  /** `-t`: in PurgeTimeout seconds the kernel's flows go; a purge that is pending stays as it is. */
  schedulePurge(): void {
    if (this.purge !== undefined) return;
    const seconds = this.sync.purgeTimeout;
    this.log.notice(`flushing conntrack table in ${seconds} secs`);
    this.purge = setTimeout(() => {
      this.purge = undefined;
      this.log.notice('flushing kernel conntrack table (scheduled)');
      this.flushKernel()
        .then(() => this.onAllShards(VERB.flush, L.TABLE_INTERNAL))
        .catch((error: unknown) =>
          this.log.error(`the scheduled purge failed: ${reasonText(error)}`),
        );
    }, seconds * 1000);
  }

  /** Without an internal cache the kernel's own table is shown, with injection no external one. */
  override async forEachFlow(
    kind: number,
    visit: FlowVisit,
    write: (chunk: string) => Promise<void>,
  ): Promise<void> {
    if (kind === L.TABLE_EXTERNAL && this.injector !== undefined) return;
    if (kind !== L.TABLE_INTERNAL || !this.bypass) return super.forEachFlow(kind, visit, write);
    const reader = new FlowReader(this.arena.view, this.arena.scratch);
    const say = (flow: number): string => visit(reader.at(flow), { timeout: true });
    await this.kernelTurns.run(() => showKernelTable(this.tableParts(), say, write));
  }

  // ------------------------------------------------------------------------------------- inside

  protected override expiresIn(kind: number, stamp: number): number | undefined {
    if (kind !== L.TABLE_EXTERNAL || this.sync.mode !== 'ALARM') return undefined;
    return Math.max(0, stamp + this.sync.cacheTimeout - monotonicSeconds());
  }

  private cacheIsComplete(complete: boolean): void {
    if (this.digests !== undefined) this.digests.complete = complete;
  }

  private cancelPurge(): void {
    clearTimeout(this.purge);
    this.purge = undefined;
  }

  /** Once a second: what was refused since, one line each. */
  private reportRefusals(): void {
    this.reportFull();
    const { arena } = this;
    const { receiver } = arena;
    this.reportMore(
      'malformed',
      arena.counter(receiver + L.RECEIVER_MALFORMED) + arena.sumShards(L.SHARD_BAD_PAYLOAD),
      'malformed sync messages ignored (see -s network)',
    );
    this.reportMore(
      'strangers',
      arena.counter(receiver + L.RECEIVER_STRANGERS),
      `datagrams of further senders in the group ignored: ${L.PEERS_MAX} are known already`,
    );
    this.reportMore(
      'unsaid',
      arena.sumShards(L.SHARD_BYPASS_DROPPED),
      'changes of flows found no room to wait in and were not sent (see -s queue)',
    );
  }

  /** By how much a counter of refusals has grown since it was last reported, if it has. */
  private reportMore(topic: string, count: bigint, what: string): void {
    const before = this.reported.get(topic) ?? 0n;
    if (count <= before) return;
    this.log.limited('warning', topic, `${count - before} ${what}`);
    this.reported.set(topic, count);
  }

  private openLinks(links: readonly LinkOnDevice[]): DedicatedLinks {
    const { arena, base, core, log } = this;
    const report = (level: 'info' | 'warning', text: string): void =>
      log.limited(level, text, text);
    return openLinks({ arena, base, core, report }, links, {
      listening: this.sync.mode !== 'ALARM',
      onMove: (device, move) => {
        if (device === undefined) log.error('no dedicated links available!');
        else if (move?.again !== true) log.notice(`device \`${device}' becomes dedicated link`);
      },
      onStatus: ({ device, info }) => {
        if (info.status === 'RUNNING') log.notice(`device \`${device}' is back`);
        else log.warning(`device \`${device}' is ${info.status}`);
      },
    });
  }

  /** Address of a peer: of whom we send to, or in a multicast group, of whom we heard. */
  private peerAddress(place: number): string {
    const { arena } = this;
    if (!arena.limits.multicast) return this.sync.links[this.links.active]!.destination.text;
    const at = arena.peer(place);
    const text = arena.get(at + L.PEER_FAMILY) === AF_INET6 ? ipv6Text : ipv4Text;
    return text(arena.view, at + L.PEER_ADDRESS);
  }

  private logFailure(step: string, error: number, record: number): void {
    this.log.error(`commit-${step}: ${errorText(error)}`);
    this.core.snapshotRecord(record, this.arena.scratch);
    this.log.flow('error', flowText(new FlowReader(this.arena.view, this.arena.scratch)));
  }
}

/**
 * Microseconds, so that a restarted node begins ahead of every number its former life has used. A
 * peer that still owes the former life an answer to its HELLO then takes the new numbers for a gap,
 * which is harmless, and not for old messages, which it would drop.
 */
function firstSequence(): number {
  return (Date.now() * 1000) % 2 ** 32;
}

function linksOnDevices(links: readonly Link[]): LinkOnDevice[] {
  if (links.length === 0) throw new StartError("can't open channel socket: no dedicated link");
  return links.map((link) => ({ link, info: deviceOf(link) }));
}

function deviceOf(link: Link): InterfaceInfo {
  const name = link.interface ?? '';
  const device = name === '' ? undefined : readInterface(name);
  if (device === undefined) {
    throw new StartError(`can't open channel socket: no interface \`${name}'`);
  }
  return device;
}

function expectationLimits(sync: Sync): { expectations?: ExpectationLimits } {
  const { expectationSync: followed, disableInternalCache: orphans } = sync;
  if (followed === false) return {};
  return { expectations: { helpers: followed === true ? [] : followed, orphans } };
}

/** Without any cache, and in ALARM, there is nothing that could be compared. */
function hasDigests({ mode, disableInternalCache, disableExternalCache }: Sync): boolean {
  return mode !== 'ALARM' && !(disableInternalCache && disableExternalCache);
}

function shardOptions(sync: Sync): number {
  let options = 0;
  if (sync.mode === 'FTFW') options |= L.SHARD_ACKNOWLEDGED;
  if (sync.commitTimeout !== undefined) options |= L.SHARD_OMIT_TIMEOUT;
  if (sync.tcpWindowTracking) options |= L.SHARD_WINDOW_TRACKING;
  if (sync.disableExternalCache) options |= L.SHARD_INJECT;
  if (sync.disableInternalCache) options |= L.SHARD_BYPASS;
  return options;
}
