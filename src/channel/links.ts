// All dedicated links of a node as one: what is sent leaves on the link in use, what arrives is taken
// from every link in turn. Which one is in use is decided in selection.ts; here decisions are
// carried out, and the operator is told.
//
// Datagrams that the old link did not take leave on the new one: they have their numbers already, so
// nothing is lost and nothing is out of order.
//
// Sockets are bound to their interface, and an interface that was removed and made again, as a VLAN
// is by a network restart, is another one to the kernel. Then the link is opened anew, as soon as
// its address is there. Main owns it all; nothing blocks.

import type { MessageVector } from '../cache/arena.js';
import type { InterfaceInfo } from '../kernel/links.js';
import type { Backlog } from './backlog.js';
import { ClosedLink } from './closed.js';
import type { DedicatedLink, Watch } from './link.js';
import { type Move, NO_LINK, Selection } from './selection.js';

/** ms between two attempts to open a link anew. */
const REOPEN = 1000;

export interface LinkOptions {
  /** Index of the default link. */
  preferred: number;
  /** The peer speaks at least once a second (not so in ALARM), so silence means something. */
  listening: boolean;
  /** Another link is in use, or `undefined`: none is fit for use. */
  onMove: (device: string | undefined, move?: Move) => void;
  /** What the kernel says of an interface now. */
  lookUp: (device: string) => InterfaceInfo | undefined;
  /** Opens link `index` on the interface that has taken the place of its own. */
  reopen: (index: number, info: InterfaceInfo) => DedicatedLink;
  /** The interface of a link has carrier again, or lost it. */
  onStatus?: (link: DedicatedLink) => void;
}

export class DedicatedLinks {
  private readonly selection: Selection;
  /** Whose turn it is to be read. */
  private turn = 0;
  private receivedOn = 0;
  private readonly links: DedicatedLink[];
  private reopenAt = 0;

  /** `backlog`: what TCP links could not send yet; empty for the other kinds. */
  constructor(
    all: readonly DedicatedLink[],
    readonly backlog: Backlog,
    private readonly options: LinkOptions,
  ) {
    this.links = [...all];
    const now = performance.now();
    const statuses = all.map((link) => link.info.status);
    this.selection = new Selection(statuses, options.preferred, options.listening, now);
    this.carryOut(this.selection.flee(now));
  }

  get all(): readonly DedicatedLink[] {
    return this.links;
  }

  /** Index of the link that is sent on. */
  get active(): number {
    return this.selection.current;
  }

  get current(): DedicatedLink {
    return this.all[this.selection.current]!;
  }

  /** Index of the link that was read last. */
  get lastRead(): number {
    return this.receivedOn;
  }

  get packetsSent(): number {
    let sum = 0;
    for (const link of this.all) sum += link.packetsSent;
    return sum;
  }

  /** Reads the next link that has something, at most one vector; returns how many slots. */
  receive(vector: MessageVector): number {
    const count = this.all.length;
    for (let i = 0; i < count; i++) {
      const index = this.turn;
      this.turn = (this.turn + 1) % count;
      const filled = this.all[index]!.receive(vector);
      if (filled === 0) continue;
      this.receivedOn = index;
      return filled;
    }
    return 0;
  }

  /** Messages of the vector just received were accepted: the peer lives on that link. */
  heard(now: number): void {
    this.carryOut(this.selection.heard(this.receivedOn, now));
  }

  send(from: number, to: number): number {
    return this.current.send(from, to);
  }

  /** Upkeep of every link and the clock of the selection; once a turn. */
  tend(now: number): void {
    const { all, selection } = this;
    for (let i = 0; i < all.length; i++) all[i]!.tend(now, i === selection.current);
    if (all.length > 1) this.carryOut(selection.tick(now));
    if (now >= this.reopenAt && all.some((link) => link instanceof ClosedLink)) this.reopenAll(now);
  }

  /** The default link, when it is to be asked whether the peer hears us there. */
  takeProbe(now: number): DedicatedLink | undefined {
    const link = this.all[this.options.preferred]!;
    if (this.all.length === 1 || !link.ready || !this.selection.takeProbe(now)) return undefined;
    return link;
  }

  watch(add: Watch, sending: boolean): void {
    for (const link of this.all) link.watch(add, sending && link === this.current);
  }

  /** The kernel reports on an interface. */
  interfaceChanged({ index, status }: InterfaceInfo, now: number): void {
    this.all.forEach((link, i) => {
      if (link.info.index === index) {
        this.setStatus(i, status, now);
      } else if (this.options.lookUp(link.device)?.index === index) {
        link.close();
        this.links[i] = new ClosedLink(link, link.info);
        this.reopenAt = 0;
      }
    });
    if (this.reopenAt === 0) this.reopenAll(now);
  }

  private setStatus(i: number, status: InterfaceInfo['status'], now: number): void {
    const link = this.links[i]!;
    if (link.info.status === status) return;
    link.info.status = status;
    this.options.onStatus?.(link);
    this.carryOut(this.selection.changed(i, status, now));
  }

  /** Opens what is closed, where the interface and its address are there. */
  private reopenAll(now: number): void {
    this.reopenAt = now + REOPEN;
    this.links.forEach((link, i) => {
      const info = link instanceof ClosedLink ? this.options.lookUp(link.device) : undefined;
      if (info === undefined) return;
      try {
        this.links[i] = this.options.reopen(i, { ...info, status: link.info.status });
      } catch {
        return; // most likely its address is not there yet
      }
      this.setStatus(i, info.status, now);
    });
  }

  close(): void {
    for (const link of this.all) link.close();
  }

  private carryOut(move: Move | typeof NO_LINK | undefined): void {
    if (move === undefined) return;
    if (move === NO_LINK) {
      this.options.onMove(undefined);
      return;
    }
    this.all[move.from]!.leave(move.reason === 'carrier' || move.reason === 'silence');
    this.options.onMove(this.current.device, move);
  }
}
