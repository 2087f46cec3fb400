// A flow as one XML element, `conntrackd -i -x` and `conntrack -o xml`. One complete <flow> element
// a line, without declaration or root: readers of the daemon parse every line as a document of its
// own; the command-line tool wraps them. Reads a wide Flow in place, keeps nothing, never blocks.
//
// Differs from the C programs in one point, on purpose: the state of an SCTP or DCCP flow bears its
// own name (they look it up in the table of TCP). Text from outside is escaped.

import {
  HAS_HELPER,
  HAS_ID,
  HAS_LABELS,
  HAS_MARK,
  HAS_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_TIMEOUT,
  HAS_ZONE,
  HAS_ZONE_ORIG,
  HAS_ZONE_REPLY,
  SAW_COUNTERS_ORIG,
  SAW_SECCTX,
  SAW_SECMARK,
  SAW_TIME_START,
  SAW_TIME_STOP,
  SAW_USE,
} from '../../assembly/layout.js';
import { ageSeconds, labelNames } from './flow.js';
import {
  AF_INET,
  AF_INET6,
  type EventKind,
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPS_ASSURED,
  IPS_SEEN_REPLY,
  type LabelMap,
  layer3Name,
  layer4Name,
  stateName,
} from './names.js';
import type { FlowReader, TupleReader } from './reader.js';
import { SECOND, twoDigits } from './time.js';

export interface FlowXmlOptions {
  /** Written as the attribute `type` of the element. */
  event?: EventKind | undefined;
  /** False leaves out the seconds left, as in the caches of the daemon. */
  timeout?: boolean;
  /** Write the names of labels by this map. */
  labels?: LabelMap | undefined;
  /** Write the kernel's time of start and stop. */
  ktimestamp?: boolean;
  /** Write this moment, in local time, as <when>. */
  when?: Date | undefined;
  /** Seconds since the epoch that are "now" for the age of a living flow. Default: the clock. */
  now?: number;
}

/** The flow's element, without a newline. */
export function flowXml(flow: FlowReader, options: FlowXmlOptions = {}): string {
  const type = options.event === undefined ? '' : ` type="${options.event}"`;
  const counted = flow.saw(SAW_COUNTERS_ORIG);
  const orig =
    tupleXml(flow.orig) +
    (flow.has(HAS_ZONE_ORIG) ? tag('zone', flow.zoneOrig) : '') +
    (counted ? countersXml(flow.packetsOrig, flow.bytesOrig) : '');
  const reply =
    (flow.has(HAS_REPLY) ? tupleXml(flow.reply) : UNKNOWN_TUPLE) +
    (flow.has(HAS_ZONE_REPLY) ? tag('zone', flow.zoneReply) : '') +
    (counted ? countersXml(flow.packetsReply, flow.bytesReply) : '');
  return (
    `<flow${type}><meta direction="original">${orig}</meta>` +
    `<meta direction="reply">${reply}</meta>${independentXml(flow, options)}` +
    (options.when === undefined ? '' : whenXml(options.when)) +
    (flow.has(HAS_HELPER) ? tag('helper', escaped(flow.helper)) : '') +
    '</flow>'
  );
}

/** How the reply of a flow looks that came from the peer: only NAT tells it from the mirror. */
const UNKNOWN_TUPLE =
  '<layer3 protonum="0" protoname="unknown"><src></src><dst></dst></layer3>' +
  '<layer4 protonum="0" protoname="unknown"></layer4>';

function tupleXml(tuple: TupleReader): string {
  const { src, dst, protocol } = tuple;
  return (
    `${layer3Open(tuple)}${tag('src', src)}${tag('dst', dst)}</layer3>` +
    `${layer4Open(protocol)}${portsXml(tuple)}</layer4>`
  );
}

/** The opening tag of the third layer of a tuple. */
export function layer3Open(tuple: TupleReader): string {
  const known = tuple.family === AF_INET || tuple.family === AF_INET6;
  return `<layer3 protonum="${known ? tuple.family : 0}" protoname="${layer3Name(tuple.family)}">`;
}

/** The opening tag of the fourth layer. */
export function layer4Open(protocol: number): string {
  return `<layer4 protonum="${protocol}" protoname="${layer4Name(protocol)}">`;
}

/** Ports or keys of a tuple; nothing for ICMP and for protocols without ports. */
export function portsXml(tuple: TupleReader): string {
  switch (tuple.protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
      return tag('sport', tuple.sport) + tag('dport', tuple.dport);
    case IPPROTO_GRE:
      return (
        tag('srckey', `0x${tuple.sport.toString(16)}`) +
        tag('dstkey', `0x${tuple.dport.toString(16)}`)
      );
    default:
      return '';
  }
}

function countersXml(packets: bigint, bytes: bigint): string {
  return `<counters>${tag('packets', packets)}${tag('bytes', bytes)}</counters>`;
}

/**
 * Seconds that the flow has lived. Of a flow that has ended the C library cuts the difference of the
 * two stamps to seconds here, not each stamp first as in the text: scripts may compare.
 */
function deltaTime(flow: FlowReader, now?: number): bigint | undefined {
  if (!flow.saw(SAW_TIME_START) || !flow.saw(SAW_TIME_STOP)) return ageSeconds(flow, now);
  return (flow.timeStop - flow.timeStart) / SECOND;
}

function independentXml(flow: FlowReader, options: FlowXmlOptions): string {
  const state = flow.has(HAS_STATE) ? stateName(flow.orig.protocol, flow.state) : undefined;
  const age = deltaTime(flow, options.now);
  const inner = [
    state === undefined ? '' : tag('state', state),
    options.timeout !== false && flow.has(HAS_TIMEOUT) ? tag('timeout', flow.timeout) : '',
    flow.has(HAS_MARK) ? tag('mark', flow.mark) : '',
    options.labels !== undefined && flow.has(HAS_LABELS) ? labelsXml(flow, options.labels) : '',
    flow.saw(SAW_SECMARK) ? tag('secmark', flow.secmark) : '',
    flow.saw(SAW_SECCTX) ? tag('secctx', escaped(flow.secctx)) : '',
    flow.has(HAS_ZONE) ? tag('zone', flow.zone) : '',
    flow.saw(SAW_USE) ? tag('use', flow.use) : '',
    flow.has(HAS_ID) ? tag('id', flow.id) : '',
    statusXml(flow),
    options.ktimestamp ? timestampXml(flow) : '',
    age === undefined ? '' : tag('deltatime', age),
  ].join('');
  // A known status keeps the element even if it says nothing: flows of the external cache.
  if (inner === '' && !flow.has(HAS_STATUS)) return '';
  return `<meta direction="independent">${inner}</meta>`;
}

function statusXml(flow: FlowReader): string {
  if (!flow.has(HAS_STATUS)) return '';
  const assured = flow.status & IPS_ASSURED ? '<assured/>' : '';
  return assured + (flow.status & IPS_SEEN_REPLY ? '' : '<unreplied/>');
}

function labelsXml(flow: FlowReader, map: LabelMap): string {
  const labels = labelNames(flow, map).map((name) => tag('label', escaped(name)));
  return tag('labels', labels.join(''));
}

function timestampXml(flow: FlowReader): string {
  if (!flow.saw(SAW_TIME_START)) return '';
  const stop = flow.saw(SAW_TIME_STOP) ? tag('stop', flow.timeStop) : '';
  return `<timestamp>${tag('start', flow.timeStart)}${stop}</timestamp>`;
}

/** Local time as <when>: the hour bare, minutes and seconds with two digits, Sunday is 1. */
export function whenXml(when: Date): string {
  return (
    `<when>${tag('hour', when.getHours())}${tag('min', twoDigits(when.getMinutes()))}` +
    `${tag('sec', twoDigits(when.getSeconds()))}${tag('wday', when.getDay() + 1)}` +
    `${tag('day', when.getDate())}${tag('month', when.getMonth() + 1)}` +
    `${tag('year', when.getFullYear())}</when>`
  );
}

/** `<name>content</name>`; the content is markup or already escaped. */
export function tag(name: string, content: string | number | bigint): string {
  return `<${name}>${content}</${name}>`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
};

/** Text from outside made safe for an element. */
export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character] ?? character);
}
