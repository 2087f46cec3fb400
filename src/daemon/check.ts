// `conntrackd --check`: would this file run here, and what would run? Reads the file, the state of
// the interfaces and the local addresses; opens nothing and changes nothing, so it is safe beside a
// running daemon. Lines go to the caller, the exit status is 1 if the daemon would not start.

import { networkInterfaces } from 'node:os';
import * as L from '../../assembly/layout.js';
import { type IpAddress, parseIPv4, parseIPv6 } from '../config/address.js';
import {
  type Config,
  type Diagnostic,
  type Filter,
  formatDiagnostic,
  type Link,
  loadConfig,
  type Sync,
} from '../config/index.js';
import { readInterface } from '../kernel/links.js';
import { layer4Name, stateName } from '../report/names.js';
import { isError, runtimeFaults } from './faults.js';
import { unsupported } from './unsupported.js';
import { workerCount } from './workers.js';

const MIB = 2 ** 20;
/** Bytes of a bucket head and of a place in the transmit queue, per flow. */
const INDEX = 8;
const IPPROTO_TCP = 6;
const ANY_IPV4 = '0.0.0.0';
const ANY_IPV6 = '::';

export interface CheckOutput {
  /** What would run. */
  report: (line: string) => void;
  /** What is wrong or without effect. */
  complain: (line: string) => void;
}

/** Checks the file; returns the exit status. */
export function checkConfiguration(path: string, { report, complain }: CheckOutput): number {
  const { config, diagnostics } = loadConfig(path);
  for (const diagnostic of diagnostics) complain(formatDiagnostic(diagnostic));
  if (config === undefined) return 1;
  const faults: Diagnostic[] = runtimeFaults(config);
  for (const fault of faults) complain(formatDiagnostic(fault));
  const absent = absentAddresses(config.sync?.links ?? []);
  for (const line of absent) complain(`${config.file}:${line}`);
  for (const line of unsupported(config)) complain(line);
  for (const line of describe(config)) report(line);
  const fit = !faults.some(isError) && absent.length === 0;
  report(fit ? 'the daemon would start with this file' : 'the daemon would NOT start');
  return fit ? 0 : 1;
}

/** Local addresses of links that no interface of this machine has. */
function absentAddresses(links: readonly Link[]): string[] {
  const local = new Set(
    Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .map(({ address }) => key(parseIPv4(address) ?? parseIPv6(address))),
  );
  return links.flatMap((link) => {
    const own = link.kind === 'Multicast' ? link.interfaceAddress : link.address;
    if (own === undefined || own.text === ANY_IPV4 || own.text === ANY_IPV6) return [];
    if (local.has(key(own))) return [];
    return [`${link.line}: error: no interface of this machine has the address ${own.text}`];
  });
}

/** An address in one spelling. */
function key(address: IpAddress | undefined): string {
  return address === undefined ? '' : Buffer.from(address.bytes).toString('hex');
}

/** What would run, line by line. */
export function describe(config: Config): string[] {
  const { general, sync, stats } = config;
  const workers = workerCount(general.workers);
  const lines = [`configuration: ${config.file}`];
  if (sync !== undefined) lines.push(...describeSync(sync));
  else if (stats !== undefined) lines.push('mode: Stats, one cache named stats');
  else lines.push('mode: none (neither Sync nor Stats): answers its control socket only');
  if (sync !== undefined || stats !== undefined) {
    lines.push(
      ...describeCaches(config),
      workers === 0 ? 'workers: none, all in one thread' : `workers: ${workers}`,
      ...describeFilter(general.filter),
      `events: ${general.pollSecs === undefined ? 'as they happen' : `polled every ${general.pollSecs} s`}`,
    );
  }
  if (stats !== undefined) {
    lines.push(`flow log: ${targets(stats.logFile, stats.syslog)}, format ${stats.logFormat}`);
  }
  lines.push(
    `log: ${targets(general.logFile, general.syslog)}`,
    `lock file: ${general.lockFile}`,
    `control socket: ${general.unixPath ?? 'none: no client can reach the daemon'}`,
  );
  return lines;
}

function targets(file: string | undefined, facility: string | undefined): string {
  const names = [file, facility === undefined ? undefined : `syslog (${facility})`];
  return names.filter((name) => name !== undefined).join(' and ') || 'console only';
}

function describeSync(sync: Sync): string[] {
  return [
    `mode: Sync, ${sync.mode}`,
    ...sync.links.map((link, i) => `link ${i + 1}: ${describeLink(link)}`),
    `commit: timeouts ${sync.commitTimeout === undefined ? 'as estimated' : `of ${sync.commitTimeout} s`}`,
  ];
}

function describeLink(link: Link): string {
  const device = link.interface === undefined ? undefined : readInterface(link.interface);
  const state = device === undefined ? 'missing' : `${device.status}, MTU ${device.mtu}`;
  const ends =
    link.kind === 'Multicast'
      ? `group ${link.address.text} port ${link.port}`
      : `${link.address.text} to ${link.destination.text} port ${link.port}`;
  const first = link.isDefault ? ', active first' : '';
  return `${link.kind} ${ends} on ${link.interface ?? '(no Interface)'} (${state})${first}`;
}

/** Room at HashLimit: what IPv4 flows take, and what IPv6 flows would. */
function describeCaches({ general, sync }: Config): string[] {
  const names = sync === undefined ? ['stats'] : ['internal', 'external'];
  const limit = general.hashLimit;
  const plain = mebibytes(limit * (L.RECORD_SIZE + INDEX));
  const most = mebibytes(limit * (L.RECORD_SIZE + INDEX + L.V6_SIZE + L.EXTRA_SIZE));
  return names.map(
    (name) =>
      `cache ${name}: up to ${limit} flows, ${plain} MiB when full of plain IPv4 flows, ` +
      `${most} MiB at the most`,
  );
}

function mebibytes(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}

function describeFilter(filter: Filter | undefined): string[] {
  if (filter === undefined) return ['filter: none, every flow is followed'];
  const lines: string[] = [];
  const add = (what: string, policy: string, entries: readonly string[]): void => {
    const shown = entries.slice(0, 8).join(' ');
    const rest = entries.length > 8 ? ` and ${entries.length - 8} more` : '';
    lines.push(`filter: ${what} ${policy} ${shown}${rest}`);
  };
  const { protocol, address, state } = filter;
  if (protocol) {
    const names = protocol.numbers.map((number) => layer4Name(number));
    add('Protocol', protocol.policy, names);
  }
  if (address) add('Address', address.policy, [`${address.entries.length} networks`]);
  if (state) {
    add(
      'State',
      state.policy,
      state.states.map((number) => stateName(IPPROTO_TCP, number) ?? `${number}`),
    );
  }
  return lines.length > 0 ? lines : ['filter: empty, every flow is followed'];
}
