// A flow as one line of text: the line of `conntrack`, of `conntrackd -i` and `-e`, of the flow log
// and of failed commits. One implementation, so an operator who knows one knows them all; fields
// and their order are those of the C programs, byte for byte. Attributes and their units come from
// linux/netfilter/nfnetlink_conntrack.h.
//
// Reads a wide Flow where it lies (see reader.ts) and returns a string without newline; keeps
// nothing and never blocks. A field is printed only if its attribute is known; what a caller must
// decide (timeout, id, labels, ages) is an option.

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
  SAW_COUNTERS_REPLY,
  SAW_SECCTX,
  SAW_SECMARK,
  SAW_TIME_EVENT,
  SAW_TIME_START,
  SAW_TIME_STOP,
  SAW_USE,
} from '../../assembly/layout.js';
import {
  EVENT_TAGS,
  type EventKind,
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPS_ASSURED,
  IPS_HW_OFFLOAD,
  IPS_OFFLOAD,
  IPS_SEEN_REPLY,
  type LabelMap,
  layer3Name,
  layer4Name,
  stateName,
} from './names.js';
import type { FlowReader, TupleReader } from './reader.js';
import { calendarTime, SECOND } from './time.js';

export { ExpectReader, FlowReader, TupleReader } from './reader.js';

export interface FlowTextOptions {
  /** Begin with the tag of this event. */
  event?: EventKind | undefined;
  /** Begin with the third layer's protocol (`-o extended`). */
  layer3?: boolean;
  /** False leaves out the seconds left, as in the caches of the daemon. */
  timeout?: boolean;
  /** Print the kernel's id of the flow (`-o id`). */
  id?: boolean;
  /** Print the names of labels by this map (`-o labels`). */
  labels?: LabelMap | undefined;
  /** Print the kernel's time of start and stop (`-o ktimestamp`). */
  ktimestamp?: boolean;
  /** Prefix with the time of the event: this time of receipt unless the kernel told. ns. */
  received?: bigint | undefined;
  /** Print who caused the event by its netlink port; `progname` adds the program if found. */
  userspace?: boolean;
  progname?: string | undefined;
  /** Seconds since the epoch that are "now" for the age of a living flow. Default: the clock. */
  now?: number;
  /** Seconds until a cache entry expires, printed if given. */
  expires?: number | undefined;
  /** Seconds since an entry was added to its cache, printed if given. */
  active?: number | undefined;
}

/** The flow's line, without a newline. */
export function flowText(flow: FlowReader, options: FlowTextOptions = {}): string {
  const fields: string[] = [];
  if (options.event !== undefined) fields.push(EVENT_TAGS[options.event]);
  protocolFields(fields, flow, options);
  tupleFields(fields, flow);
  attributeFields(fields, flow, options);
  if (options.userspace && flow.portid !== 0) {
    fields.push(`[USERSPACE] portid=${flow.portid}`);
    if (options.progname !== undefined) fields.push(`progname=${options.progname}`);
  }
  if (options.expires !== undefined) fields.push(`[expires in ${options.expires}s]`);
  if (options.active !== undefined) fields.push(`[active since ${options.active}s]`);
  return timePrefix(flow, options.received) + fields.join(' ');
}

function protocolFields(fields: string[], flow: FlowReader, options: FlowTextOptions): void {
  const { family, protocol } = flow.orig;
  if (options.layer3) fields.push(`${layer3Name(family).padEnd(8)} ${family}`);
  fields.push(`${layer4Name(protocol).padEnd(8)} ${protocol}`);
  if (options.timeout !== false && flow.has(HAS_TIMEOUT)) fields.push(`${flow.timeout}`);
  const state = flow.has(HAS_STATE) ? stateName(protocol, flow.state) : undefined;
  if (state !== undefined) fields.push(state);
}

function tupleFields(fields: string[], flow: FlowReader): void {
  const counted = flow.saw(SAW_COUNTERS_ORIG);
  fields.push(tupleText(flow.orig));
  if (flow.has(HAS_ZONE_ORIG)) fields.push(`zone-orig=${flow.zoneOrig}`);
  if (counted) fields.push(`packets=${flow.packetsOrig} bytes=${flow.bytesOrig}`);
  if (flow.has(HAS_STATUS) && (flow.status & IPS_SEEN_REPLY) === 0) fields.push('[UNREPLIED]');
  if (flow.has(HAS_REPLY)) fields.push(tupleText(flow.reply));
  if (flow.has(HAS_ZONE_REPLY)) fields.push(`zone-reply=${flow.zoneReply}`);
  if (counted && flow.saw(SAW_COUNTERS_REPLY)) {
    fields.push(`packets=${flow.packetsReply} bytes=${flow.bytesReply}`);
  }
}

function attributeFields(fields: string[], flow: FlowReader, options: FlowTextOptions): void {
  const standing = flow.has(HAS_STATUS) ? standingText(flow.status) : undefined;
  if (standing !== undefined) fields.push(standing);
  if (flow.has(HAS_MARK)) fields.push(`mark=${flow.mark}`);
  if (flow.saw(SAW_SECMARK)) fields.push(`secmark=${flow.secmark}`);
  if (flow.saw(SAW_SECCTX)) fields.push(`secctx=${flow.secctx}`);
  if (flow.has(HAS_ZONE)) fields.push(`zone=${flow.zone}`);
  const age = ageSeconds(flow, options.now);
  if (age !== undefined) fields.push(`delta-time=${age}`);
  if (options.ktimestamp) {
    if (flow.saw(SAW_TIME_START)) fields.push(`[start=${calendarTime(flow.timeStart)}]`);
    if (flow.saw(SAW_TIME_STOP)) fields.push(`[stop=${calendarTime(flow.timeStop)}]`);
  }
  if (flow.has(HAS_HELPER)) fields.push(`helper=${flow.helper}`);
  if (flow.saw(SAW_USE)) fields.push(`use=${flow.use}`);
  if (options.id && flow.has(HAS_ID)) fields.push(`id=${flow.id}`);
  if (options.labels !== undefined && flow.has(HAS_LABELS)) {
    const names = labelNames(flow, options.labels);
    // A set without any known name prints the bare word: the C tool does.
    fields.push(names.length > 0 ? `labels=${names.join(',')}` : 'labels');
  }
}

function timePrefix(flow: FlowReader, received: bigint | undefined): string {
  if (received === undefined) return '';
  const time = flow.saw(SAW_TIME_EVENT) ? flow.timeEvent : received;
  const micros = `${(time % SECOND) / 1000n}`.padStart(6, '0');
  return `[${`${time / SECOND}`.padEnd(8)}.${micros}]\t`;
}

/** Addresses and ports (or keys, or type, code and id) of a tuple; `tag` as in `mask-src=`. */
export function tupleText(tuple: TupleReader, tag = ''): string {
  return `${tag}src=${tuple.src} ${tag}dst=${tuple.dst}${layer4Text(tuple)}`;
}

function layer4Text(tuple: TupleReader): string {
  switch (tuple.protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
      return ` sport=${tuple.sport} dport=${tuple.dport}`;
    case IPPROTO_GRE:
      return ` srckey=0x${tuple.sport.toString(16)} dstkey=0x${tuple.dport.toString(16)}`;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return ` type=${tuple.icmpType} code=${tuple.icmpCode} id=${tuple.sport}`;
    default:
      return '';
  }
}

function standingText(status: number): string | undefined {
  if (status & IPS_HW_OFFLOAD) return '[HW_OFFLOAD]';
  if (status & IPS_OFFLOAD) return '[OFFLOAD]';
  return status & IPS_ASSURED ? '[ASSURED]' : undefined;
}

/**
 * Seconds that the flow has lived: until its stop if known, else until `now`. Both ends are cut to
 * seconds first. Undefined if the kernel does not stamp flows.
 */
export function ageSeconds(flow: FlowReader, now?: number): bigint | undefined {
  if (!flow.saw(SAW_TIME_START)) return undefined;
  const end = flow.saw(SAW_TIME_STOP)
    ? flow.timeStop / SECOND
    : BigInt(Math.trunc(now ?? Date.now() / 1000));
  return end - flow.timeStart / SECOND;
}

/** Names of the labels that are set, by bit number; bits without a name are left out. */
export function labelNames(flow: FlowReader, map: LabelMap): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 128; bit++) {
    const name = flow.label(bit) ? map.get(bit) : undefined;
    if (name !== undefined) names.push(name);
  }
  return names;
}
