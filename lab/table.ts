// A kernel's connection-tracking table as comparable objects.
//
// Read with conntrack(8) in both families, plain format, and parsed into one `Flow` per line. Two
// tables of two firewalls are compared flow by flow on everything replication is to carry; what
// belongs to one machine only (kernel id, reference count, counters) is left out, and the timeout
// is compared with a tolerance, as the active firewall renews it with every packet, silently.
//
// Labels are shown by conntrack(8) only with a name file, which most machines lack: the dump runs
// in its own mount namespace (ip-netns-exec makes one) with such a file laid over /etc.
//
// Source: conntrack(8); names of states as in linux/netfilter/nf_conntrack_tcp.h.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Netns, Run } from './namespace.js';
import { PORT } from './topology.js';
import { waitFor } from './wait.js';

/** One direction: addresses and the protocol's own fields (ports, or ICMP type, code, id). */
export type Tuple = Readonly<Record<string, string>>;

export interface Flow {
  /** Original tuple and zone as text: what identifies a flow on every firewall. */
  key: string;
  family: string;
  protocol: string;
  /** Seconds. */
  timeout: number;
  state?: string;
  orig: Tuple;
  reply: Tuple;
  /** UNREPLIED, ASSURED, OFFLOAD ... sorted. */
  status: string[];
  mark: string;
  /** Of both directions, or with `orig ` or `reply ` in front of that one. */
  zone: string;
  labels: string;
  helper: string;
  line: string;
}

export type Table = Map<string, Flow>;

/** Reads the whole table of a namespace, IPv4 and IPv6. */
export async function dumpTable(run: Run, ns: Netns): Promise<Table> {
  const overlay = labelNames(run);
  const dump = async (family: string) => {
    const command =
      `mount -t overlay overlay -o lowerdir=${overlay}:/etc /etc && ` +
      `exec conntrack -L -f ${family} -o extended,id,labels`;
    return await ns.exec('sh', ['-c', command]);
  };
  const [v4, v6] = await Promise.all([dump('ipv4'), dump('ipv6')]);
  return parseTable(v4 + v6);
}

/** A directory to lay over /etc. Written once: other dumps may be reading it. */
function labelNames(run: Run): string {
  const directory = run.path('etc');
  const file = join(directory, 'xtables', 'connlabel.conf');
  if (existsSync(file)) return directory;
  const names = Array.from({ length: 128 }, (_, bit) => `${bit} bit${bit}`);
  mkdirSync(dirname(file));
  writeFileSync(file, `${names.join('\n')}\n`);
  return directory;
}

/** Parses lines of `conntrack -L -o extended`. Throws on a line it does not understand. */
export function parseTable(text: string): Table {
  const table: Table = new Map();
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const flow = parseFlow(line);
    if (table.has(flow.key)) throw new Error(`two flows with the same tuple: ${line}`);
    table.set(flow.key, flow);
  }
  return table;
}

const PROTOCOLS_WITH_STATE = new Set(['tcp', 'sctp', 'dccp']);
const TUPLE_FIELDS = new Set(['dst', 'sport', 'dport', 'type', 'code', 'id', 'srckey', 'dstkey']);

/** Parses one line, `ipv4 2 tcp 6 431999 ESTABLISHED src=... [ASSURED] mark=0 ...`. */
export function parseFlow(line: string): Flow {
  const words = line.trim().split(/\s+/);
  const [family, , protocol, , seconds] = words;
  const timeout = Number(seconds);
  if (!family?.startsWith('ip') || !protocol || !Number.isInteger(timeout)) {
    throw new Error(`not a flow: ${line}`);
  }
  const state = PROTOCOLS_WITH_STATE.has(protocol) ? words[5] : undefined;
  const { tuples, status, named } = parseFields(words.slice(state ? 6 : 5));
  const [orig, reply] = tuples;
  if (!orig || !reply) throw new Error(`not two tuples: ${line}`);
  const zone = zoneText(named);
  return {
    key: flowKey(protocol, orig, zone),
    family,
    protocol,
    timeout,
    ...(state === undefined ? {} : { state }),
    orig,
    reply,
    status,
    mark: named.mark ?? '0',
    zone,
    labels: named.labels ?? '',
    helper: named.helper ?? '',
    line,
  };
}

function zoneText({ zone, ...named }: Record<string, string>): string {
  if (named['zone-orig'] !== undefined) return `orig ${named['zone-orig']}`;
  if (named['zone-reply'] !== undefined) return `reply ${named['zone-reply']}`;
  return zone ?? '0';
}

/** What identifies a flow on every firewall, as text. */
export function flowKey(protocol: string, orig: Tuple, zone: string): string {
  return `${protocol} ${tupleText(orig)} zone=${zone}`;
}

export interface Fields {
  tuples: Tuple[];
  /** Words in brackets without them, sorted. */
  status: string[];
  named: Record<string, string>;
}

/** Sorts the words after a flow's state into tuples, `[FLAGS]` and `name=value`. */
export function parseFields(words: readonly string[]): Fields {
  const tuples: Record<string, string>[] = [];
  const named: Record<string, string> = {};
  const status: string[] = [];
  // A tuple ends with the first word that is not its own: the flow's id is called `id` like ICMP's.
  let tuple: Record<string, string> | undefined;
  for (const word of words) {
    const [name = '', value = ''] = word.split(/=(.*)/s);
    if (name === 'src') {
      tuple = { src: value };
      tuples.push(tuple);
    } else if (tuple && TUPLE_FIELDS.has(name)) {
      tuple[name] = value;
    } else {
      tuple = undefined;
      if (/^\[.+\]$/.test(word)) status.push(word.slice(1, -1));
      else named[name] = value;
    }
  }
  return { tuples, status: status.sort(), named };
}

function tupleText(tuple: Tuple): string {
  return Object.entries(tuple)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

export interface CompareOptions {
  /** Seconds by which timeouts may differ. Default 150: the longest silent renewal of UDP. */
  timeoutTolerance?: number;
  /** Fields not compared. */
  ignore?: readonly (keyof Flow)[];
}

export interface Difference {
  key: string;
  /** `missing` and `extra` speak of the second table. */
  kind: 'missing' | 'extra' | 'differs';
  text: string;
}

const COMPARED = ['family', 'state', 'reply', 'status', 'mark', 'labels', 'helper'] as const;

/** Compares what replication carries; empty when the second table equals the first. */
export function compareTables(
  first: Table,
  second: Table,
  options: CompareOptions = {},
): Difference[] {
  const differences: Difference[] = [];
  for (const [key, a] of first) {
    const b = second.get(key);
    if (!b) {
      differences.push({ key, kind: 'missing', text: a.line });
      continue;
    }
    const fields = differingFields(a, b, options);
    if (fields.length === 0) continue;
    const text = `${fields.join(', ')}\n    first  ${a.line}\n    second ${b.line}`;
    differences.push({ key, kind: 'differs', text });
  }
  for (const [key, b] of second) {
    if (!first.has(key)) differences.push({ key, kind: 'extra', text: b.line });
  }
  return differences;
}

function differingFields(a: Flow, b: Flow, options: CompareOptions): string[] {
  const text = (value: Flow[keyof Flow]) =>
    typeof value === 'object' && !Array.isArray(value) ? tupleText(value) : String(value ?? '');
  const fields: string[] = COMPARED.filter(
    (field) => !options.ignore?.includes(field) && text(a[field]) !== text(b[field]),
  );
  const apart = Math.abs(a.timeout - b.timeout);
  if (!options.ignore?.includes('timeout') && apart > (options.timeoutTolerance ?? 150)) {
    fields.push('timeout');
  }
  return fields;
}

/** A readable list, cut after `limit` entries. Empty text when there is no difference. */
export function describeDifferences(differences: readonly Difference[], limit = 20): string {
  if (differences.length === 0) return '';
  const lines = differences.slice(0, limit).map(({ kind, text }) => `  ${kind}: ${text}`);
  const more = differences.length - lines.length;
  if (more > 0) lines.push(`  ... and ${more} more`);
  return `${differences.length} flows differ\n${lines.join('\n')}`;
}

/** TCP and UDP flows become assured, UDP two seconds after its start; unanswered ones never do. */
function settled(table: Table): boolean {
  return [...table.values()].every(
    (flow) =>
      flow.status.includes('ASSURED') ||
      (flow.protocol !== 'tcp' && flow.protocol !== 'udp') ||
      flow.orig.dport === String(PORT.silent),
  );
}

/** Waits until a kernel holds `flows` flows and none of them will change its state any more. */
export async function waitSettled(run: Run, ns: Netns, flows: number): Promise<void> {
  let table: Table = new Map();
  await waitFor(
    async () => {
      table = await dumpTable(run, ns);
      return table.size === flows && settled(table);
    },
    {
      for: `${flows} settled flows in the active kernel`,
      every: 200,
      explain: () => [`${table.size}:`, ...[...table.values()].map(({ line }) => line)].join('\n'),
    },
  );
}
