// Which program sent a request: the owner of a netlink socket, by its port. The kernel's list of
// netlink sockets gives the inode, a search of /proc the process that holds it. A requester that ran
// for an instant is usually gone, so nothing found is normal. Blocks for small reads of /proc.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const NETLINK_NETFILTER = '12';
/** How long an answer holds, ms: ports are given again to other programs. */
const KEPT = 1000;
const MOST = 256;

interface Answer {
  readonly name: string | undefined;
  readonly until: number;
}

const answers = new Map<number, Answer>();

/** The command name of the process that holds the netfilter socket of this port. */
export function programName(port: number): string | undefined {
  const now = performance.now();
  const known = answers.get(port);
  if (known !== undefined && known.until > now) return known.name;
  const name = findProgram(port);
  if (answers.size >= MOST) answers.clear();
  answers.set(port, { name, until: now + KEPT });
  return name;
}

function findProgram(port: number): string | undefined {
  const inode = socketInode(port);
  if (inode === undefined) return undefined;
  const wanted = `socket:[${inode}]`;
  // The first socket of a process usually has its pid as port.
  const pid = holds(`${port}`, wanted) ? `${port}` : processes().find((p) => holds(p, wanted));
  if (pid === undefined) return undefined;
  return read(`/proc/${pid}/comm`)?.trimEnd();
}

function socketInode(port: number): string | undefined {
  for (const line of read('/proc/net/netlink')?.split('\n') ?? []) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === NETLINK_NETFILTER && fields[2] === `${port}`) return fields.at(-1);
  }
  return undefined;
}

function processes(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

function holds(pid: string, wanted: string): boolean {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).some((fd) => readlinkSync(`${directory}/${fd}`) === wanted);
  } catch {
    return false; // gone, or not ours to look into
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
