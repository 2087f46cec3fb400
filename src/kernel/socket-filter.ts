// A classic BPF program for the event socket: the kernel drops what the filter of the configuration
// would drop anyway, before it costs us buffer space and a wake-up. It is compiled from the same bytes
// that the shards ask (assembly/filter-layout.ts), and the shards stay the judges: the program lets
// through whatever it does not understand. It sees one netlink message at a time:
//
//   not of ctnetlink ─▶ pass           own requests ─▶ drop
//   protocol in set? ─▶ state in set (never asked of a DESTROY)? ─▶ client, then server listed?
//
// A set becomes the sorted list of numbers at which "in" and "out" alternate, and that list a binary
// search of compare-and-jump; addresses of IPv6 are searched word by word, equal words once. There are
// only forward jumps, so the work of an event is bounded. Pure; nothing is kept, nothing blocks.
//
// Sources: linux/filter.h, linux/bpf_common.h (codes, SKF_AD_NLATTR), linux/netlink.h,
// linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h (attributes).

import * as F from '../../assembly/filter-layout.js';

/** BPF_MAXINSNS of linux/bpf_common.h. */
export const MOST_INSTRUCTIONS = 4096;
/** Bytes of a struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
export const INSTRUCTION_SIZE = 8;

// BPF_CLASS | BPF_SIZE | BPF_MODE or BPF_OP | BPF_SRC.
const LOAD = 0x00; // A = k
const LOAD_X = 0x01; // X = k
const STORE = 0x02; // M[k] = A
const RECALL = 0x60; // A = M[k]
const LOAD_WORD = 0x20; // A = word at k
const LOAD_BYTE = 0x30; // A = byte at k; the ancillary loads too
const LOAD_WORD_AT = 0x40; // A = word at X + k
const LOAD_BYTE_AT = 0x50; // A = byte at X + k
const TO_X = 0x07; // X = A
const JUMP = 0x05;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER = 0x25;
const JUMP_AT_LEAST = 0x35;
const RETURN = 0x06;

const SKF_AD_NLATTR = 0xfffff00c; // attribute of type X from offset A on: A = its offset or 0
const SKF_AD_NLATTR_NEST = 0xfffff010; // the same inside the nest at offset A

const AT_OPERATION = 4; // low byte of nlmsg_type
const AT_SUBSYSTEM = 5; // its high byte
const AT_PORT = 12; // nlmsg_pid
const AT_ATTRIBUTES = 20; // behind nlmsghdr and nfgenmsg
const ATTRIBUTE_HEADER = 4;
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_DELETE = 2;

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_PROTOINFO = 4;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V6_SRC = 3;
const CTA_PROTO_NUM = 1;
const CTA_PROTOINFO_TCP = 1;
const CTA_PROTOINFO_TCP_STATE = 1;

export interface SocketFilter {
  /** struct sock_filter[]; empty when there is nothing to drop. */
  program: Uint8Array<ArrayBuffer>;
  /** False when the addresses would make the program too long and are left to user space. */
  addresses: boolean;
}

export interface SocketFilterOptions {
  /** Compiled filter (cache/filter.ts); left out: no flow is dropped by its looks. */
  filter?: Uint8Array | undefined;
  /** Netlink ports of our own sockets whose events are dropped; 0: none. */
  ports?: readonly number[];
  /** False leaves the addresses out from the start. */
  addresses?: boolean;
}

/** The program for the event socket. */
export function compileSocketFilter(options: SocketFilterOptions): SocketFilter {
  const { filter, addresses = true } = options;
  const ports = (options.ports ?? []).filter((port) => port !== 0);
  if (filter === undefined && ports.length === 0) return { program: new Uint8Array(0), addresses };
  const program = build(filter, ports, addresses);
  if (program !== undefined) return { program, addresses };
  return { program: build(filter, ports, false) ?? new Uint8Array(0), addresses: false };
}

/** The program's bytes, or undefined when it is too long. */
function build(
  filter: Uint8Array | undefined,
  ports: readonly number[],
  addresses: boolean,
): Uint8Array<ArrayBuffer> | undefined {
  const code = new Assembly();
  code.put(LOAD_BYTE, AT_SUBSYSTEM);
  code.jump(JUMP_EQUAL, NFNL_SUBSYS_CTNETLINK, undefined, code.pass);
  if (ports.length > 0) code.put(LOAD_WORD, AT_PORT); // loads are big-endian, ports in host order
  for (const port of ports) code.jump(JUMP_EQUAL, swapped(port), code.drop, undefined);
  if (filter !== undefined) {
    const view = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
    protocolPart(code, setEdges(filter, F.FILTER_PROTOCOLS));
    statePart(code, setEdges(filter, F.FILTER_STATES));
    const rule = view.getUint32(F.FILTER_RULE, true);
    if (addresses && rule !== F.FILTER_ANY) addressPart(code, view, rule === F.FILTER_ACCEPT);
  }
  return code.finish();
}

function protocolPart(code: Assembly, edges: Edges): void {
  if (edges.all) return;
  code.find([CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_NUM], code.pass);
  const next = new Label();
  byteSearch(code, edges, next);
  code.place(next);
}

function statePart(code: Assembly, edges: Edges): void {
  if (edges.all) return;
  const next = new Label();
  code.put(LOAD_BYTE, AT_OPERATION);
  code.jump(JUMP_EQUAL, IPCTNL_MSG_CT_DELETE, next, undefined);
  code.find([CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE], next);
  byteSearch(code, edges, next);
  code.place(next);
}

/** Goes on at `next` when the byte of the attribute that was found is in the set, else drops. */
function byteSearch(code: Assembly, { first, edges }: Edges, next: Label): void {
  code.put(TO_X, 0);
  const load = (): void => code.put(LOAD_BYTE_AT, ATTRIBUTE_HEADER);
  search(code, { edges, level: 0, inside: first, load, yes: next, no: code.drop });
}

/** Is the client listed, or the server? See filter.ts of the assembly for whose addresses they are. */
function addressPart(code: Assembly, view: DataView, accept: boolean): void {
  const listed = accept ? code.pass : code.drop;
  const unlisted = accept ? code.drop : code.pass;
  const edges4 = rangeEdges(view, F.FILTER_COUNT4, F.FILTER_AT4, F.RANGE4_SIZE);
  const edges6 = rangeEdges(view, F.FILTER_COUNT6, F.FILTER_AT6, F.RANGE6_SIZE);
  const server = new Label();
  sourcePart(code, CTA_TUPLE_ORIG, code.pass, edges4, edges6, listed, server);
  code.place(server);
  sourcePart(code, CTA_TUPLE_REPLY, unlisted, edges4, edges6, listed, unlisted);
}

/** Is the source of the tuple listed? `absent`: where to go without such a tuple. */
function sourcePart(
  code: Assembly,
  tuple: number,
  absent: Label,
  edges4: readonly Edge[],
  edges6: readonly Edge[],
  yes: Label,
  no: Label,
): void {
  const load = (level: number): void => code.put(LOAD_WORD_AT, ATTRIBUTE_HEADER + 4 * level);
  const v6 = new Label();
  code.find([tuple, CTA_TUPLE_IP], absent);
  code.put(STORE, 0);
  code.inNest(CTA_IP_V4_SRC, v6);
  code.put(TO_X, 0);
  search(code, { edges: edges4, level: 0, inside: false, load, yes, no });
  code.place(v6);
  code.put(RECALL, 0);
  code.inNest(CTA_IP_V6_SRC, code.pass); // a family that nobody knows
  code.put(TO_X, 0);
  search(code, { edges: edges6, level: 0, inside: false, load, yes, no });
}

// ------------------------------------------------------------------------------ sets and ranges

/** Where a set begins or ends: the first number of the other kind, as 32-bit words, high first. */
type Edge = readonly number[];

interface Edges {
  /** Is 0 in the set? */
  first: boolean;
  /** Is every number? */
  all: boolean;
  edges: Edge[];
}

/** Edges of a set of 256 bits. */
function setEdges(filter: Uint8Array, at: number): Edges {
  const holds = (n: number): boolean => ((filter[at + (n >> 3)]! >> (n & 7)) & 1) !== 0;
  const edges: Edge[] = [];
  for (let n = 1; n < 256; n++) if (holds(n) !== holds(n - 1)) edges.push([n]);
  return { first: holds(0), all: holds(0) && edges.length === 0, edges };
}

/** Edges of sorted, disjoint ranges. */
function rangeEdges(view: DataView, countAt: number, listAt: number, size: number): Edge[] {
  const edges: Edge[] = [];
  const count = view.getUint32(countAt, true);
  const list = view.getUint32(listAt, true);
  for (let i = 0; i < count; i++) {
    const at = list + i * size;
    edges.push(words(view, at, size));
    const behind = after(words(view, at + size / 2, size));
    if (behind !== undefined) edges.push(behind);
  }
  return edges;
}

/** An address at either end of a range of `size` bytes. */
function words(view: DataView, at: number, size: number): Edge {
  if (size === F.RANGE4_SIZE) return [view.getUint32(at, true)];
  const halves = [view.getBigUint64(at, true), view.getBigUint64(at + 8, true)];
  return halves.flatMap((half) => [Number(half >> 32n), Number(half & 0xffff_ffffn)]);
}

/** The next address; undefined behind the last. */
function after(edge: Edge): Edge | undefined {
  const next = [...edge];
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = (next[i]! + 1) % 2 ** 32;
    if (next[i] !== 0) return next;
  }
  return undefined;
}

// --------------------------------------------------------------------------------------- search

interface Search {
  /** Sorted; all equal in the words before `level`, as is the number asked for. */
  edges: readonly Edge[];
  level: number;
  /** Is what lies before the first edge in the set? */
  inside: boolean;
  /** Loads a word of the number asked for into A. */
  load: (level: number) => void;
  yes: Label;
  no: Label;
}

/** Edges that share a word. */
interface Group {
  word: number;
  edges: Edge[];
  /** Edges before this group. */
  before: number;
}

/** Ends in `yes` or `no`. */
function search(code: Assembly, task: Search): void {
  const groups: Group[] = [];
  task.edges.forEach((edge, before) => {
    const word = edge[task.level]!;
    if (groups.at(-1)?.word === word) groups.at(-1)!.edges.push(edge);
    else groups.push({ word, edges: [edge], before });
  });
  if (groups.length === 0) {
    code.go(target(task, 0));
    return;
  }
  task.load(task.level);
  searchGroups(code, task, groups);
}

/** Finds the word in A among `groups`, of which there is at least one. */
function searchGroups(code: Assembly, task: Search, groups: readonly Group[]): void {
  const middle = groups.length >> 1;
  const { word, edges, before } = groups[middle]!;
  const left = groups.slice(0, middle);
  const right = groups.slice(middle + 1);
  const past = before + edges.length;
  const above = right.length === 0 ? target(task, past) : new Label();
  const below = left.length === 0 ? target(task, before) : new Label();
  const exact = isLast(edges[0]!, task.level) && edges.length === 1;
  if (exact) {
    code.jump(JUMP_AT_LEAST, word, above, below);
  } else {
    const equal = new Label();
    code.jump(JUMP_GREATER, word, above, undefined);
    code.jump(JUMP_EQUAL, word, equal, below);
    code.place(equal);
    const here = isLast(edges[0]!, task.level) ? 1 : 0;
    const inside = task.inside !== ((before + here) % 2 === 1);
    search(code, { ...task, edges: edges.slice(here), level: task.level + 1, inside });
  }
  if (left.length > 0) {
    code.place(below);
    searchGroups(code, task, left);
  }
  if (right.length > 0) {
    code.place(above);
    searchGroups(code, task, right);
  }
}

/** Are all words behind `level` zero, so that every number with these words is at it or past it? */
function isLast(edge: Edge, level: number): boolean {
  return edge.slice(level + 1).every((word) => word === 0);
}

function target({ inside, yes, no }: Search, crossed: number): Label {
  return inside !== (crossed % 2 === 1) ? yes : no;
}

// ------------------------------------------------------------------------------------- assembly

/** A place in the program, known once the code before it is. */
class Label {
  /** Index of the instruction it stands before. */
  at = -1;
}

interface Instruction {
  code: number;
  k: number;
  /** Conditional jumps: undefined is the next instruction. `yes` alone: an unconditional one. */
  yes?: Label | undefined;
  no?: Label | undefined;
  conditional: boolean;
  /** Jumps that need an instruction of their own, as they go further than 255. */
  farYes: boolean;
  farNo: boolean;
}

/** Instructions with labels, all ahead; far jumps are found when all is known. */
class Assembly {
  readonly pass = new Label();
  readonly drop = new Label();
  private readonly list: Instruction[] = [];

  put(code: number, k: number): void {
    this.list.push({ code, k, conditional: false, farYes: false, farNo: false });
  }

  jump(code: number, k: number, yes: Label | undefined, no: Label | undefined): void {
    this.list.push({ code, k, yes, no, conditional: true, farYes: false, farNo: false });
  }

  go(to: Label): void {
    this.list.push({ code: JUMP, k: 0, yes: to, conditional: false, farYes: false, farNo: false });
  }

  place(label: Label): void {
    label.at = this.list.length;
  }

  /** A = offset of the attribute at the end of `path`; to `absent` when there is none. */
  find(path: readonly number[], absent: Label): void {
    this.put(LOAD, AT_ATTRIBUTES);
    path.forEach((type, depth) => {
      if (depth > 0) {
        this.inNest(type, absent);
        return;
      }
      this.put(LOAD_X, type);
      this.put(LOAD_BYTE, SKF_AD_NLATTR);
      this.jump(JUMP_EQUAL, 0, absent, undefined);
    });
  }

  /** A = offset of the attribute inside the nest at A. */
  inNest(type: number, absent: Label): void {
    this.put(LOAD_X, type);
    this.put(LOAD_BYTE, SKF_AD_NLATTR_NEST);
    this.jump(JUMP_EQUAL, 0, absent, undefined);
  }

  /** The program, or undefined when it is too long. */
  finish(): Uint8Array<ArrayBuffer> | undefined {
    this.place(this.pass);
    this.put(RETURN, 0xffffffff);
    this.place(this.drop);
    this.put(RETURN, 0);
    if (this.list.length > MOST_INSTRUCTIONS) return undefined;
    let positions = this.positions();
    while (this.stretch(positions)) positions = this.positions();
    const total = positions.at(-1)!;
    return total > MOST_INSTRUCTIONS ? undefined : this.encode(positions, total);
  }

  /** Where each instruction begins, and the end. */
  private positions(): number[] {
    const positions = [0];
    for (const { farYes, farNo } of this.list) {
      positions.push(positions.at(-1)! + 1 + (farYes ? 1 : 0) + (farNo ? 1 : 0));
    }
    return positions;
  }

  /** Gives jumps that do not reach an instruction of their own; true when there was one. */
  private stretch(positions: readonly number[]): boolean {
    let stretched = false;
    this.list.forEach((instruction, i) => {
      if (!instruction.conditional) return;
      const reaches = (label: Label | undefined): boolean =>
        label === undefined || positions[label.at]! - positions[i]! - 1 <= 255;
      if (!instruction.farYes && !reaches(instruction.yes)) {
        instruction.farYes = true;
        stretched = true;
      }
      if (!instruction.farNo && !reaches(instruction.no)) {
        instruction.farNo = true;
        stretched = true;
      }
    });
    return stretched;
  }

  private encode(positions: readonly number[], total: number): Uint8Array<ArrayBuffer> {
    // A buffer of its own: the kernel is given its address.
    const bytes = new Uint8Array(new ArrayBuffer(total * INSTRUCTION_SIZE));
    const view = new DataView(bytes.buffer);
    const write = (at: number, code: number, jt: number, jf: number, k: number): void => {
      view.setUint16(at * INSTRUCTION_SIZE, code, true);
      view.setUint8(at * INSTRUCTION_SIZE + 2, jt);
      view.setUint8(at * INSTRUCTION_SIZE + 3, jf);
      view.setUint32(at * INSTRUCTION_SIZE + 4, k, true);
    };
    this.list.forEach(({ code, k, yes, no, conditional, farYes, farNo }, i) => {
      const at = positions[i]!;
      const next = positions[i + 1]!;
      const place = (label: Label | undefined): number =>
        label === undefined ? next : positions[label.at]!;
      if (!conditional) {
        write(at, code, 0, 0, yes === undefined ? k : place(yes) - at - 1);
        return;
      }
      const noJump = at + 1 + (farYes ? 1 : 0);
      const jt = farYes ? 0 : place(yes) - at - 1;
      const jf = farNo ? noJump - at - 1 : place(no) - at - 1;
      write(at, code, jt, jf, k);
      if (farYes) write(at + 1, JUMP, 0, 0, place(yes) - at - 2);
      if (farNo) write(noJump, JUMP, 0, 0, place(no) - noJump - 1);
    });
    return bytes;
  }
}

function swapped(word: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, word, true);
  return view.getUint32(0, false);
}
