// An expectation (a connection that a helper announced) as text, XML and JSON: one line each,
// without newline. The same rules as for flows: read in place, known fields only, nothing kept,
// nothing blocks. Sources: linux/netfilter/nfnetlink_conntrack.h for the attributes, the lines of
// the C programs for names and order.

import {
  EXPECT_HAS_CLASS,
  EXPECT_HAS_FLAGS,
  EXPECT_HAS_FN,
  EXPECT_HAS_HELPER,
  EXPECT_HAS_ID,
  EXPECT_HAS_MASK,
  EXPECT_HAS_MASTER,
  EXPECT_HAS_NAT,
  EXPECT_HAS_NAT_DIR,
  EXPECT_HAS_TIMEOUT,
  EXPECT_HAS_TUPLE,
  EXPECT_HAS_ZONE,
} from '../../assembly/layout.js';
import { tupleText } from './flow.js';
import { tupleObject } from './json.js';
import { bitNames, EVENT_TAGS, type EventKind, EXPECT_FLAG_NAMES } from './names.js';
import type { ExpectReader, TupleReader } from './reader.js';
import { SECOND } from './time.js';
import { escaped, layer3Open, layer4Open, portsXml, tag, whenXml } from './xml.js';

export interface ExpectTextOptions {
  /** Begin with the tag of this event. */
  event?: EventKind | undefined;
  /** False leaves out the seconds left, as in the caches of the daemon. */
  timeout?: boolean;
  /** Prefix with this time of receipt, ns since the epoch. */
  received?: bigint | undefined;
  /** Seconds until a cache entry expires, printed if given. */
  expires?: number | undefined;
  /** Seconds since an entry was added to its cache, printed if given. */
  active?: number | undefined;
}

/** The expectation's line, without a newline. */
export function expectText(expect: ExpectReader, options: ExpectTextOptions = {}): string {
  const fields: string[] = [];
  if (options.event !== undefined) fields.push(EVENT_TAGS[options.event]);
  if (options.timeout !== false && expect.has(EXPECT_HAS_TIMEOUT)) fields.push(`${expect.timeout}`);
  fields.push(`proto=${expect.tuple.protocol}`);
  if (expect.has(EXPECT_HAS_TUPLE)) fields.push(tupleText(expect.tuple));
  if (expect.has(EXPECT_HAS_MASK)) fields.push(tupleText(expect.mask, 'mask-'));
  if (expect.has(EXPECT_HAS_MASTER)) fields.push(tupleText(expect.master, 'master-'));
  if (expect.has(EXPECT_HAS_ZONE)) fields.push(`zone=${expect.zone}`);
  const flags = flagNames(expect);
  if (flags.length > 0) fields.push(flags.join(','));
  if (expect.has(EXPECT_HAS_CLASS)) fields.push(`class=${expect.class}`);
  if (expect.has(EXPECT_HAS_HELPER)) fields.push(`helper=${expect.helper}`);
  if (options.expires !== undefined) fields.push(`[expires in ${options.expires}s]`);
  if (options.active !== undefined) fields.push(`[active since ${options.active}s]`);
  return timePrefix(options.received) + fields.join(' ');
}

function flagNames(expect: ExpectReader): string[] {
  return expect.has(EXPECT_HAS_FLAGS) ? bitNames(expect.flags, EXPECT_FLAG_NAMES) : [];
}

/** Microseconds are padded on the right here, unlike those of a flow: the C tool does so. */
function timePrefix(received: bigint | undefined): string {
  if (received === undefined) return '';
  const micros = `${(received % SECOND) / 1000n}`.padEnd(6);
  return `[${`${received / SECOND}`.padEnd(8)}.${micros}]\t`;
}

export interface ExpectXmlOptions {
  /** Written as the attribute `type` of the element. */
  event?: EventKind | undefined;
  /** False leaves out the seconds left, as in the caches of the daemon. */
  timeout?: boolean;
  /** Write this moment, in local time, as <when>. */
  when?: Date | undefined;
}

/** The expectation's element, without a newline. */
export function expectXml(expect: ExpectReader, options: ExpectXmlOptions = {}): string {
  const tuples: [string, TupleReader][] = [];
  if (expect.has(EXPECT_HAS_TUPLE)) tuples.push(['expected', expect.tuple]);
  if (expect.has(EXPECT_HAS_MASK)) tuples.push(['mask', expect.mask]);
  if (expect.has(EXPECT_HAS_MASTER)) tuples.push(['master', expect.master]);
  const addresses = tuples.map(([name, tuple]) =>
    tag(name, tag('src', tuple.src) + tag('dst', tuple.dst)),
  );
  const ports = tuples.map(([name, tuple]) => tag(name, portsXml(tuple)));
  const type = options.event === undefined ? '' : ` type="${options.event}"`;
  return (
    `<flow${type}>${layer3Open(expect.tuple)}${addresses.join('')}</layer3>` +
    `${layer4Open(expect.tuple.protocol)}${ports.join('')}</layer4>` +
    `<meta>${metaXml(expect, options)}</meta></flow>`
  );
}

function metaXml(expect: ExpectReader, options: ExpectXmlOptions): string {
  const timeout = options.timeout !== false && expect.has(EXPECT_HAS_TIMEOUT);
  return [
    expect.has(EXPECT_HAS_HELPER) ? tag('helper-name', escaped(expect.helper)) : '',
    timeout ? tag('timeout', expect.timeout) : '',
    expect.has(EXPECT_HAS_CLASS) ? tag('class', expect.class) : '',
    expect.has(EXPECT_HAS_ZONE) ? tag('zone', expect.zone) : '',
    options.when === undefined ? '' : whenXml(options.when),
    ...flagNames(expect).map((name) => `<${name.toLowerCase()}/>`),
  ].join('');
}

export interface ExpectJsonOptions {
  event?: EventKind | undefined;
  timeout?: boolean;
  expires?: number | undefined;
  active?: number | undefined;
}

/**
 * The expectation as one JSON object. Fields, each only if known: event, tuple, mask, master, nat
 * (tuples as in json.ts), natDirection (`original` or `reply`), timeout (s), zone, flags (lower
 * case names), class, helper, function, id, active and expires (s).
 */
export function expectJson(expect: ExpectReader, options: ExpectJsonOptions = {}): string {
  const timeout = options.timeout !== false && expect.has(EXPECT_HAS_TIMEOUT);
  return JSON.stringify({
    event: options.event,
    tuple: expect.has(EXPECT_HAS_TUPLE) ? tupleObject(expect.tuple) : undefined,
    mask: expect.has(EXPECT_HAS_MASK) ? tupleObject(expect.mask) : undefined,
    master: expect.has(EXPECT_HAS_MASTER) ? tupleObject(expect.master) : undefined,
    nat: expect.has(EXPECT_HAS_NAT) ? tupleObject(expect.nat) : undefined,
    natDirection: expect.has(EXPECT_HAS_NAT_DIR)
      ? ['original', 'reply'][expect.natDirection]
      : undefined,
    timeout: timeout ? expect.timeout : undefined,
    zone: expect.has(EXPECT_HAS_ZONE) ? expect.zone : undefined,
    flags: expect.has(EXPECT_HAS_FLAGS)
      ? flagNames(expect).map((name) => name.toLowerCase())
      : undefined,
    class: expect.has(EXPECT_HAS_CLASS) ? expect.class : undefined,
    helper: expect.has(EXPECT_HAS_HELPER) ? expect.helper : undefined,
    function: expect.has(EXPECT_HAS_FN) ? expect.fn : undefined,
    id: expect.has(EXPECT_HAS_ID) ? expect.id : undefined,
    active: options.active,
    expires: options.expires,
  });
}
