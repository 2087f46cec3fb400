// Netlink messages byte by byte: a header, attributes, nests. Writes into memory that the caller
// owns and has made large enough (no request here exceeds MESSAGE_MAX); keeps nothing, never blocks.
// linux/netlink.h, linux/netfilter/nfnetlink.h. Integers of attributes are in network order.

/** No request is longer: two IPv6 tuples, both translations, labels with their mask. */
export const MESSAGE_MAX = 640;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
const NLA_F_NESTED = 0x8000;

export class MessageWriter {
  private start = 0;
  /** Where the next attribute goes; the end of the message. */
  at = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly view: DataView,
  ) {}

  /** Begins a message at `at`: nlmsghdr and nfgenmsg. */
  begin(at: number, type: number, flags: number, family: number, version = 0): void {
    const { view } = this;
    this.start = at;
    view.setUint16(at + 4, type, true);
    view.setUint16(at + 6, flags, true);
    view.setUint32(at + 8, 0, true);
    view.setUint32(at + 12, 0, true);
    view.setUint32(at + 16, family | (version << 8), true);
    this.at = at + 20;
  }

  /** Ends the message: its length and sequence number. Returns the length. */
  end(sequence: number): number {
    const length = this.at - this.start;
    this.view.setUint32(this.start, length, true);
    this.view.setUint32(this.start + 8, sequence, true);
    return length;
  }

  /** Opens a nest; `close` wants the result. */
  nest(type: number): number {
    const at = this.at;
    this.view.setUint16(at + 2, type | NLA_F_NESTED, true);
    this.at = at + 4;
    return at;
  }

  close(nest: number): void {
    this.view.setUint16(nest, this.at - nest, true);
  }

  u8(type: number, value: number): void {
    this.word(type, 5, (value & 0xff) * 0x1000000);
  }

  u16(type: number, value: number): void {
    this.word(type, 6, (value & 0xffff) * 0x10000);
  }

  u32(type: number, value: number): void {
    this.word(type, 8, value);
  }

  /** Two bytes as they are. */
  pair(type: number, first: number, second: number): void {
    this.word(type, 6, first * 0x1000000 + second * 0x10000);
  }

  private word(type: number, length: number, value: number): void {
    const { view, at } = this;
    view.setUint32(at, length | (type << 16), true);
    view.setUint32(at + 4, value);
    this.at = at + 8;
  }

  raw(type: number, value: Uint8Array): void {
    const { bytes, view, at } = this;
    const { length } = value;
    view.setUint32(at, (length + 4) | (type << 16), true);
    for (let i = 0; i < length; i++) bytes[at + 4 + i] = value[i]!;
    const end = at + 4 + length;
    this.at = (end + 3) & ~3;
    for (let i = end; i < this.at; i++) bytes[i] = 0;
  }
}
