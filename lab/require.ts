// What the lab needs from the machine: root (network namespaces), a few Debian programs, and the
// compiled tree. Asked before anything is made, answered with one line that says what to do.
//
// Nothing here owns memory or blocks, apart from a few stat calls on the search path.

import { accessSync, constants, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Debian package of each program that the lab may call. */
const PACKAGE: Record<string, string> = {
  ip: 'iproute2',
  nft: 'nftables',
  conntrack: 'conntrack',
  conntrackd: 'conntrackd',
  ping: 'iputils-ping',
  mount: 'mount',
  vsftpd: 'vsftpd',
  lftp: 'lftp',
  sipp: 'sip-tester',
  'in.tftpd': 'tftpd-hpa',
  tftp: 'tftp-hpa',
};

const SEARCH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Directory of the project: the nearest one upwards that holds package.json. */
export const ROOT = projectRoot(dirname(fileURLToPath(import.meta.url)));

function projectRoot(from: string): string {
  for (let dir = from; dir !== dirname(dir); dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json'))) return dir;
  }
  throw new Error(`no package.json above ${from}`);
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** One line that says why no lab can be made here, or undefined. */
export function missingRoot(): string | undefined {
  if (process.getuid?.() === 0) return undefined;
  return 'the lab makes network namespaces and must run as root (try: sudo)';
}

/** One line that names the missing programs and their Debian packages, or undefined. */
export function missingPrograms(programs: readonly string[]): string | undefined {
  const found = (name: string) =>
    name.includes('/') ? executable(name) : SEARCH.some((dir) => executable(join(dir, name)));
  const missing = programs.filter((name) => !found(name));
  if (missing.length === 0) return undefined;
  const packages = [...new Set(missing.map((name) => PACKAGE[name]).filter(Boolean))];
  const advice = packages.length > 0 ? ` (apt-get install ${packages.join(' ')})` : '';
  return `missing: ${missing.join(', ')}${advice}`;
}

/** Ends the process with status 1 and one clear line unless it runs as root. */
export function requireRoot(): void {
  endIf(missingRoot());
}

/** Ends the process with status 1 and one clear line unless all programs are installed. */
export function requirePrograms(programs: readonly string[]): void {
  endIf(missingPrograms(programs));
}

function endIf(line: string | undefined): void {
  if (line === undefined) return;
  process.stderr.write(`flowtwin: ${line}\n`);
  process.exit(1);
}

/** Path of a compiled program of the lab; throws when the tree was not built. */
export function compiled(name: string): string {
  const path = join(ROOT, 'dist', 'lab', name);
  if (!existsSync(path)) throw new Error(`${path} is missing: build first (npm run build)`);
  return path;
}
