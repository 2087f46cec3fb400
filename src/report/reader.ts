// Windows on the wide forms of assembly/layout.ts: a reader is a DataView and an offset, never a
// copy. The memory belongs to whoever filled it (a shard's scratch area, a test's buffer) and must
// stay as it is while a report is made; after a WebAssembly memory has grown, `attach` the new
// view. Nothing here blocks. Numbers leave as numbers, 64-bit ones as bigint, ports in host order.

import {
  EXPECT_CLASS,
  EXPECT_FLAGS,
  EXPECT_FN,
  EXPECT_HELPER,
  EXPECT_ID,
  EXPECT_MASK,
  EXPECT_MASTER,
  EXPECT_MESSAGE,
  EXPECT_MESSAGE_FLAGS,
  EXPECT_NAT,
  EXPECT_NAT_DIR,
  EXPECT_PORTID,
  EXPECT_PRESENT,
  EXPECT_TIMEOUT,
  EXPECT_TUPLE,
  EXPECT_ZONE,
  FLOW_BYTES_ORIG,
  FLOW_BYTES_REPLY,
  FLOW_DCCP_ROLE,
  FLOW_HELPER,
  FLOW_ID,
  FLOW_LABELS,
  FLOW_MARK,
  FLOW_MASTER,
  FLOW_MESSAGE,
  FLOW_MESSAGE_FLAGS,
  FLOW_NAT_DPORT,
  FLOW_NAT_DST,
  FLOW_NAT_SPORT,
  FLOW_NAT_SRC,
  FLOW_OBSERVED,
  FLOW_ORIG,
  FLOW_PACKETS_ORIG,
  FLOW_PACKETS_REPLY,
  FLOW_PORTID,
  FLOW_PRESENT,
  FLOW_REPLY,
  FLOW_SECCTX,
  FLOW_SECCTX_MAX,
  FLOW_SECMARK,
  FLOW_STATE,
  FLOW_STATUS,
  FLOW_TIME_EVENT,
  FLOW_TIME_START,
  FLOW_TIME_STOP,
  FLOW_TIMEOUT,
  FLOW_USE,
  FLOW_VTAG_ORIG,
  FLOW_VTAG_REPLY,
  FLOW_ZONE,
  FLOW_ZONE_ORIG,
  FLOW_ZONE_REPLY,
  TUPLE_DPORT,
  TUPLE_DST,
  TUPLE_ICMP_CODE,
  TUPLE_ICMP_TYPE,
  TUPLE_KNOWN,
  TUPLE_L3,
  TUPLE_L4,
  TUPLE_SPORT,
  TUPLE_SRC,
} from '../../assembly/layout.js';
import { ipv4Text, ipv6Text } from './address.js';
import { AF_INET6, type EventKind } from './names.js';

/** What both wide forms share: a place in memory. */
class Window {
  protected view: DataView;
  protected base: number;

  constructor(view: DataView, offset = 0) {
    this.view = view;
    this.base = offset;
  }

  /** Looks at another record of the same memory. */
  at(offset: number): this {
    this.base = offset;
    return this;
  }

  /** Looks at a new view, for example after the memory has grown. */
  attach(view: DataView): this {
    this.view = view;
    return this;
  }

  protected u32(at: number): number {
    return this.view.getUint32(this.base + at, true);
  }

  protected u64(at: number): bigint {
    return this.view.getBigUint64(this.base + at, true);
  }

  protected u16(at: number): number {
    return this.view.getUint16(this.base + at, true);
  }

  /** The characters up to a NUL, at most `max`: names of the kernel are plain ASCII. */
  protected text(at: number, max: number): string {
    let text = '';
    for (let i = 0; i < max; i++) {
      const byte = this.view.getUint8(this.base + at + i);
      if (byte === 0) break;
      text += String.fromCharCode(byte);
    }
    return text;
  }

  protected raw(at: number, family: number): Uint8Array {
    const { buffer, byteOffset } = this.view;
    return new Uint8Array(buffer, byteOffset + this.base + at, family === AF_INET6 ? 16 : 4);
  }

  protected address(at: number, family: number): string {
    if (family === AF_INET6) return ipv6Text(this.view, this.base + at);
    return ipv4Text(this.view, this.base + at);
  }
}

/** One tuple of a record. */
export class TupleReader extends Window {
  get family(): number {
    return this.view.getUint8(this.base + TUPLE_L3);
  }
  get protocol(): number {
    return this.view.getUint8(this.base + TUPLE_L4);
  }
  /** KNOWN_* bits. */
  get known(): number {
    return this.view.getUint8(this.base + TUPLE_KNOWN);
  }
  /** The address as it is on the wire, 4 or 16 bytes of the same memory. */
  get srcBytes(): Uint8Array {
    return this.raw(TUPLE_SRC, this.family);
  }
  get dstBytes(): Uint8Array {
    return this.raw(TUPLE_DST, this.family);
  }
  get src(): string {
    return this.address(TUPLE_SRC, this.family);
  }
  get dst(): string {
    return this.address(TUPLE_DST, this.family);
  }
  /** Source port, GRE source key or ICMP id. */
  get sport(): number {
    return this.view.getUint16(this.base + TUPLE_SPORT);
  }
  /** Destination port or GRE destination key. */
  get dport(): number {
    return this.view.getUint16(this.base + TUPLE_DPORT);
  }
  get icmpType(): number {
    return this.view.getUint8(this.base + TUPLE_ICMP_TYPE);
  }
  get icmpCode(): number {
    return this.view.getUint8(this.base + TUPLE_ICMP_CODE);
  }
}

/** IPCTNL_MSG_CT_DELETE and IPCTNL_MSG_EXP_DELETE (linux/netfilter/nfnetlink_conntrack.h). */
const MESSAGE_DELETE = 2;
/** NLM_F_CREATE | NLM_F_EXCL (linux/netlink.h): how the kernel marks a new entry. */
const CREATED = 0x600;

function eventKind(type: number, flags: number): EventKind {
  if ((type & 0xff) === MESSAGE_DELETE) return 'destroy';
  return flags & CREATED ? 'new' : 'update';
}

/** A wide flow in memory. A getter is meaningful only if its HAS_ or SAW_ bit is set. */
export class FlowReader extends Window {
  readonly orig: TupleReader;
  readonly reply: TupleReader;
  readonly master: TupleReader;

  constructor(view: DataView, offset = 0) {
    super(view, offset);
    this.orig = new TupleReader(view, offset + FLOW_ORIG);
    this.reply = new TupleReader(view, offset + FLOW_REPLY);
    this.master = new TupleReader(view, offset + FLOW_MASTER);
  }

  override at(offset: number): this {
    this.orig.at(offset + FLOW_ORIG);
    this.reply.at(offset + FLOW_REPLY);
    this.master.at(offset + FLOW_MASTER);
    return super.at(offset);
  }

  override attach(view: DataView): this {
    for (const tuple of [this.orig, this.reply, this.master]) tuple.attach(view);
    return super.attach(view);
  }

  /** True if every one of these HAS_* bits is set. */
  has(bits: number): boolean {
    return (this.u32(FLOW_PRESENT) & bits) === bits;
  }
  /** True if every one of these SAW_* bits is set. */
  saw(bits: number): boolean {
    return (this.u32(FLOW_OBSERVED) & bits) === bits;
  }
  /** HAS_* bits. */
  get present(): number {
    return this.u32(FLOW_PRESENT);
  }
  /** What the message that this flow was read from told: meaningless for a flow of a dump. */
  get event(): EventKind {
    return eventKind(this.u16(FLOW_MESSAGE), this.u16(FLOW_MESSAGE_FLAGS));
  }
  get status(): number {
    return this.u32(FLOW_STATUS);
  }
  /** Seconds left. */
  get timeout(): number {
    return this.u32(FLOW_TIMEOUT);
  }
  get mark(): number {
    return this.u32(FLOW_MARK);
  }
  get id(): number {
    return this.u32(FLOW_ID);
  }
  get zone(): number {
    return this.u16(FLOW_ZONE);
  }
  get zoneOrig(): number {
    return this.u16(FLOW_ZONE_ORIG);
  }
  get zoneReply(): number {
    return this.u16(FLOW_ZONE_REPLY);
  }
  /** TCP, SCTP or DCCP state, by the protocol of the original tuple. */
  get state(): number {
    return this.view.getUint8(this.base + FLOW_STATE);
  }
  /** 0 client, 1 server. */
  get dccpRole(): number {
    return this.view.getUint8(this.base + FLOW_DCCP_ROLE);
  }
  /** SCTP verification tags as `conntrack` writes them: with their bytes reversed. */
  get vtagOrig(): number {
    return this.view.getUint32(this.base + FLOW_VTAG_ORIG);
  }
  get vtagReply(): number {
    return this.view.getUint32(this.base + FLOW_VTAG_REPLY);
  }
  get use(): number {
    return this.u32(FLOW_USE);
  }
  get secmark(): number {
    return this.u32(FLOW_SECMARK);
  }
  get secctx(): string {
    return this.text(FLOW_SECCTX, FLOW_SECCTX_MAX);
  }
  get helper(): string {
    return this.text(FLOW_HELPER, 16);
  }
  /** Netlink port of the process that caused the event, 0 for packets and timers. */
  get portid(): number {
    return this.u32(FLOW_PORTID);
  }
  get packetsOrig(): bigint {
    return this.u64(FLOW_PACKETS_ORIG);
  }
  get bytesOrig(): bigint {
    return this.u64(FLOW_BYTES_ORIG);
  }
  get packetsReply(): bigint {
    return this.u64(FLOW_PACKETS_REPLY);
  }
  get bytesReply(): bigint {
    return this.u64(FLOW_BYTES_REPLY);
  }
  /** Nanoseconds since the epoch, as the next two. */
  get timeStart(): bigint {
    return this.u64(FLOW_TIME_START);
  }
  get timeStop(): bigint {
    return this.u64(FLOW_TIME_STOP);
  }
  get timeEvent(): bigint {
    return this.u64(FLOW_TIME_EVENT);
  }
  /** True if label `bit` (0..127) is set. */
  label(bit: number): boolean {
    return ((this.view.getUint8(this.base + FLOW_LABELS + (bit >> 3)) >> (bit & 7)) & 1) === 1;
  }
  /** All labels, 16 bytes of the same memory. */
  get labelBytes(): Uint8Array {
    return new Uint8Array(this.view.buffer, this.view.byteOffset + this.base + FLOW_LABELS, 16);
  }
  get natSrc(): string {
    return this.address(FLOW_NAT_SRC, this.orig.family);
  }
  get natDst(): string {
    return this.address(FLOW_NAT_DST, this.orig.family);
  }
  get natSport(): number {
    return this.view.getUint16(this.base + FLOW_NAT_SPORT);
  }
  get natDport(): number {
    return this.view.getUint16(this.base + FLOW_NAT_DPORT);
  }
}

/** A wide expectation in memory. A getter is meaningful only if its EXPECT_HAS_ bit is set. */
export class ExpectReader extends Window {
  readonly tuple: TupleReader;
  readonly mask: TupleReader;
  readonly master: TupleReader;
  readonly nat: TupleReader;

  constructor(view: DataView, offset = 0) {
    super(view, offset);
    this.tuple = new TupleReader(view, offset + EXPECT_TUPLE);
    this.mask = new TupleReader(view, offset + EXPECT_MASK);
    this.master = new TupleReader(view, offset + EXPECT_MASTER);
    this.nat = new TupleReader(view, offset + EXPECT_NAT);
  }

  override at(offset: number): this {
    this.tuple.at(offset + EXPECT_TUPLE);
    this.mask.at(offset + EXPECT_MASK);
    this.master.at(offset + EXPECT_MASTER);
    this.nat.at(offset + EXPECT_NAT);
    return super.at(offset);
  }

  override attach(view: DataView): this {
    for (const tuple of [this.tuple, this.mask, this.master, this.nat]) tuple.attach(view);
    return super.attach(view);
  }

  /** True if every one of these EXPECT_HAS_* bits is set. */
  has(bits: number): boolean {
    return (this.u32(EXPECT_PRESENT) & bits) === bits;
  }
  get event(): EventKind {
    return eventKind(this.u16(EXPECT_MESSAGE), this.u16(EXPECT_MESSAGE_FLAGS));
  }
  get timeout(): number {
    return this.u32(EXPECT_TIMEOUT);
  }
  get id(): number {
    return this.u32(EXPECT_ID);
  }
  get flags(): number {
    return this.u32(EXPECT_FLAGS);
  }
  get class(): number {
    return this.u32(EXPECT_CLASS);
  }
  get natDirection(): number {
    return this.u32(EXPECT_NAT_DIR);
  }
  get zone(): number {
    return this.u16(EXPECT_ZONE);
  }
  get portid(): number {
    return this.u32(EXPECT_PORTID);
  }
  get helper(): string {
    return this.text(EXPECT_HELPER, 16);
  }
  get fn(): string {
    return this.text(EXPECT_FN, 32);
  }
}
