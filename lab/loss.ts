// A bad dedicated link: drops and duplicates datagrams on the way into a firewall.
//
// Done with nftables, as the lab's kernels may lack netem: a random share of what arrives on the
// sync interface is dropped in a prerouting chain (after the receiver's interface counted it), and
// a random share of what leaves is sent twice by a netdev egress chain (Linux 5.16 and later).
// Counters tell afterwards that the fault really happened. Both faults have a part that is not left to
// chance, every 20th datagram, so that a direction with little traffic meets them too.

import type { Netns } from './namespace.js';

export interface Faults {
  /** Percent of arriving sync datagrams that vanish. */
  dropPercent?: number;
  /** Percent of leaving sync datagrams that leave twice. */
  duplicatePercent?: number;
}

/** Percent of the datagrams that are chosen by their turn, not by chance. */
const CERTAIN = 5;

/** Rules that do `what` to `percent` of the packets that match. */
function share(match: string, percent: number | undefined, what: string): string {
  if (percent === undefined) return '';
  return [
    `${match} numgen random mod 100 < ${percent - CERTAIN} ${what}`,
    `${match} numgen inc mod ${100 / CERTAIN} 3 ${what}`,
  ].join('\n    ');
}

export class BadLink {
  constructor(
    readonly ns: Netns,
    faults: Faults,
  ) {
    const drop = 'counter name "dropped" drop';
    const duplicate = 'counter name "duplicated" dup to "sync"';
    ns.nft(`
table inet badlink {
  counter dropped { }
  chain arriving {
    type filter hook prerouting priority -400
    ${share('iifname "sync" meta l4proto { tcp, udp }', faults.dropPercent, drop)}
  }
}
table netdev badlink {
  counter duplicated { }
  chain leaving {
    type filter hook egress device "sync" priority 0
    ${share('meta l4proto udp', faults.duplicatePercent, duplicate)}
  }
}
`);
  }

  /** Datagrams dropped and duplicated so far. */
  counters(): { dropped: number; duplicated: number } {
    const packets = (family: string, name: string) => {
      const args = ['-j', 'list', 'counter', family, 'badlink', name];
      const { nftables } = JSON.parse(this.ns.execSync('nft', args)) as {
        nftables: { counter?: { packets: number } }[];
      };
      const counter = nftables.find((entry) => entry.counter)?.counter;
      if (!counter) throw new Error(`no counter ${name}`);
      return counter.packets;
    };
    return { dropped: packets('inet', 'dropped'), duplicated: packets('netdev', 'duplicated') };
  }

  /** Makes the link good again. */
  remove(): void {
    this.ns.nft('delete table inet badlink\ndelete table netdev badlink');
  }
}

/** The same faults in both directions. */
export function impairLink(a: Netns, b: Netns, faults: Faults): BadLink[] {
  return [new BadLink(a, faults), new BadLink(b, faults)];
}
