// One active firewall with several backups, a pair of daemons each: every pair replicates the same
// kernel's flows, over a link of its own kind, and neither knows of the others. One run of traffic
// serves them all.
//
//                 ┌─ daemon ── sync  ── daemon ─ fw2
//   fw1's kernel ─┼─ daemon ── sync3 ── daemon ─ fw3
//                 └─ daemon ── sync4 ── daemon ─ fw4

import { Daemon, type DaemonOptions } from './daemon.js';
import { Run } from './namespace.js';
import type { Pair, Programs } from './pair.js';
import { type Firewall, Topology } from './topology.js';

/** One pair of the fan: what differs from the others. */
export interface Rib {
  readonly name: string;
  readonly link: (node: Firewall, peer: Firewall) => string;
}

/** Options of both daemons of a pair; a function where active and backup differ. */
export type FanOptions = (
  role: 'active' | 'backup',
) => Partial<Pick<DaemonOptions, 'mode' | 'sync' | 'general'>>;

export class Fan {
  readonly run = Run.start();
  readonly topology = new Topology(this.run);
  readonly pairs = new Map<string, Pair>();

  private constructor() {}

  /** Makes the firewalls, lets `prepare` add to them, and starts all daemons. */
  static async open(
    programs: Programs,
    ribs: readonly Rib[],
    options: FanOptions,
    prepare: (topology: Topology, firewalls: readonly Firewall[]) => void = () => {},
  ): Promise<Fan> {
    const fan = new Fan();
    try {
      const ends = ribs.map((_, i) => fan.#ends(i));
      prepare(fan.topology, [fan.topology.fw1, ...ends.map(({ backup }) => backup)]);
      ribs.forEach(({ name, link }, i) => {
        fan.#addPair(name, programs, ends[i]!, link, options);
      });
      const daemons = [...fan.pairs.values()].flatMap(({ active, backup }) => [active, backup]);
      await Promise.all(daemons.map((daemon) => daemon.start(60_000)));
      return fan;
    } catch (error) {
      fan.remove();
      throw error;
    }
  }

  pair(name: string): Pair {
    const pair = this.pairs.get(name);
    if (!pair) throw new Error(`no pair ${name}`);
    return pair;
  }

  remove(): void {
    this.run.remove();
  }

  #ends(index: number): { active: Firewall; backup: Firewall } {
    const { fw1, fw2 } = this.topology;
    return index === 0 ? { active: fw1, backup: fw2 } : this.topology.addBackup(index + 2);
  }

  #addPair(
    name: string,
    programs: Programs,
    { active, backup }: { active: Firewall; backup: Firewall },
    link: Rib['link'],
    options: FanOptions,
  ): void {
    const { run, topology } = this;
    const make = (role: 'active' | 'backup', node: Firewall, peer: Firewall) =>
      new Daemon(run, {
        ...options(role),
        program: programs[role],
        node,
        peer,
        link: link(node, peer),
      });
    this.pairs.set(name, {
      run,
      topology,
      active: make('active', active, backup),
      backup: make('backup', backup, active),
    });
  }
}
