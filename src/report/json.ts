// A flow as one JSON object, for programs: stable names, numbers as numbers, one object a line.
// Reads a wide Flow in place, keeps nothing, never blocks. A field is there only if known:
//
//   event                 "new", "update" or "destroy"
//   original, reply,      tuples: layer3 ("ipv4", "ipv6"), protocol (number), layer4 (its name),
//   master                src, dst, then sport and dport, or srckey and dstkey (numbers), or type,
//                         code and id. original and reply also have zone, packets and bytes
//   nat                   src, dst, sport, dport that the flow is translated to
//   state                 "ESTABLISHED", ... of TCP, SCTP and DCCP
//   status                names of the IPS_* bits that are set, in lower case
//   timeout               seconds left
//   mark, secmark, zone, use, id, portid        numbers; secctx, helper: text
//   labels                names; a label without a name as its number
//   start, stop, time     ISO 8601 in UTC with nanoseconds: first packet, end, the event
//   age                   seconds from start to stop or now
//   active, expires       seconds in the cache, seconds until the entry expires
//
// Counters are 64 bits wide and are written with all their digits.

import {
  HAS_HELPER,
  HAS_ID,
  HAS_LABELS,
  HAS_MARK,
  HAS_MASTER,
  HAS_NAT_DPORT,
  HAS_NAT_DST,
  HAS_NAT_SPORT,
  HAS_NAT_SRC,
  HAS_ORIG,
  HAS_REPLY,
  HAS_STATE,
  HAS_STATUS,
  HAS_TIMEOUT,
  HAS_ZONE,
  HAS_ZONE_ORIG,
  HAS_ZONE_REPLY,
  KNOWN_ICMP,
  KNOWN_PORTS,
  SAW_COUNTERS_ORIG,
  SAW_COUNTERS_REPLY,
  SAW_SECCTX,
  SAW_SECMARK,
  SAW_TIME_EVENT,
  SAW_TIME_START,
  SAW_TIME_STOP,
  SAW_USE,
} from '../../assembly/layout.js';
import { ageSeconds } from './flow.js';
import {
  bitNames,
  type EventKind,
  IPPROTO_GRE,
  type LabelMap,
  layer3Name,
  layer4Name,
  STATUS_NAMES,
  stateName,
} from './names.js';
import type { FlowReader, TupleReader } from './reader.js';
import { isoTime } from './time.js';

export interface FlowJsonOptions {
  event?: EventKind | undefined;
  /** False leaves out the seconds left, as in the caches of the daemon. */
  timeout?: boolean;
  /** False leaves out the netlink port: of a dump it is the reader's own. */
  portid?: boolean;
  labels?: LabelMap | undefined;
  /** Seconds since the epoch that are "now" for the age of a living flow. Default: the clock. */
  now?: number;
  expires?: number | undefined;
  active?: number | undefined;
}

/** The flow's object as text, without a newline. */
export function flowJson(flow: FlowReader, options: FlowJsonOptions = {}): string {
  const timeout = options.timeout !== false && flow.has(HAS_TIMEOUT);
  const age = ageSeconds(flow, options.now);
  return jsonText({
    event: options.event,
    original: flow.has(HAS_ORIG) ? origObject(flow) : undefined,
    reply: flow.has(HAS_REPLY) ? replyObject(flow) : undefined,
    master: flow.has(HAS_MASTER) ? tupleObject(flow.master) : undefined,
    nat: natObject(flow),
    state: flow.has(HAS_STATE) ? stateName(flow.orig.protocol, flow.state) : undefined,
    status: flow.has(HAS_STATUS)
      ? bitNames(flow.status, STATUS_NAMES).map((name) => name.toLowerCase())
      : undefined,
    timeout: timeout ? flow.timeout : undefined,
    mark: flow.has(HAS_MARK) ? flow.mark : undefined,
    secmark: flow.saw(SAW_SECMARK) ? flow.secmark : undefined,
    secctx: flow.saw(SAW_SECCTX) ? flow.secctx : undefined,
    zone: flow.has(HAS_ZONE) ? flow.zone : undefined,
    helper: flow.has(HAS_HELPER) ? flow.helper : undefined,
    labels: flow.has(HAS_LABELS) ? labelList(flow, options.labels) : undefined,
    use: flow.saw(SAW_USE) ? flow.use : undefined,
    id: flow.has(HAS_ID) ? flow.id : undefined,
    portid: flow.portid === 0 || options.portid === false ? undefined : flow.portid,
    start: flow.saw(SAW_TIME_START) ? isoTime(flow.timeStart) : undefined,
    stop: flow.saw(SAW_TIME_STOP) ? isoTime(flow.timeStop) : undefined,
    time: flow.saw(SAW_TIME_EVENT) ? isoTime(flow.timeEvent) : undefined,
    age: age === undefined ? undefined : Number(age),
    active: options.active,
    expires: options.expires,
  });
}

/** A JSON object with values of these kinds. */
export type Fields = { [name: string]: Value };
type Value = Scalar | undefined | readonly (Scalar | Fields)[] | Fields;
type Scalar = string | number | bigint | boolean;

/** A tuple as an object: the fields named above. */
export function tupleObject(tuple: TupleReader): Fields {
  const { protocol, known } = tuple;
  const fields: Fields = {
    layer3: layer3Name(tuple.family),
    protocol,
    layer4: layer4Name(protocol),
    src: tuple.src,
    dst: tuple.dst,
  };
  if (known & KNOWN_ICMP) {
    fields.type = tuple.icmpType;
    fields.code = tuple.icmpCode;
    fields.id = tuple.sport;
  } else if (known & KNOWN_PORTS) {
    fields[protocol === IPPROTO_GRE ? 'srckey' : 'sport'] = tuple.sport;
    fields[protocol === IPPROTO_GRE ? 'dstkey' : 'dport'] = tuple.dport;
  }
  return fields;
}

function origObject(flow: FlowReader): Fields {
  const counted = flow.saw(SAW_COUNTERS_ORIG);
  return {
    ...tupleObject(flow.orig),
    zone: flow.has(HAS_ZONE_ORIG) ? flow.zoneOrig : undefined,
    packets: counted ? flow.packetsOrig : undefined,
    bytes: counted ? flow.bytesOrig : undefined,
  };
}

function replyObject(flow: FlowReader): Fields {
  const counted = flow.saw(SAW_COUNTERS_REPLY);
  return {
    ...tupleObject(flow.reply),
    zone: flow.has(HAS_ZONE_REPLY) ? flow.zoneReply : undefined,
    packets: counted ? flow.packetsReply : undefined,
    bytes: counted ? flow.bytesReply : undefined,
  };
}

function natObject(flow: FlowReader): Fields | undefined {
  const any = HAS_NAT_SRC | HAS_NAT_DST | HAS_NAT_SPORT | HAS_NAT_DPORT;
  if ((flow.present & any) === 0) return undefined;
  return {
    src: flow.has(HAS_NAT_SRC) ? flow.natSrc : undefined,
    dst: flow.has(HAS_NAT_DST) ? flow.natDst : undefined,
    sport: flow.has(HAS_NAT_SPORT) ? flow.natSport : undefined,
    dport: flow.has(HAS_NAT_DPORT) ? flow.natDport : undefined,
  };
}

function labelList(flow: FlowReader, map: LabelMap | undefined): (string | number)[] {
  const labels: (string | number)[] = [];
  for (let bit = 0; bit < 128; bit++) {
    if (flow.label(bit)) labels.push(map?.get(bit) ?? bit);
  }
  return labels;
}

/** JSON.stringify cannot write bigint; this writes it with all digits. Drops undefined fields. */
export function jsonText(fields: Fields): string {
  const members: string[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) members.push(`${JSON.stringify(name)}:${valueText(value)}`);
  }
  return `{${members.join(',')}}`;
}

function valueText(value: Exclude<Value, undefined>): string {
  if (typeof value === 'bigint') return `${value}`;
  if (Array.isArray(value)) return `[${value.map(valueText).join(',')}]`;
  if (typeof value === 'object') return jsonText(value as Fields);
  return JSON.stringify(value);
}
