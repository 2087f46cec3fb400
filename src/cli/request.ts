// What a command line asks for, as values: parse.ts fills it, check.ts judges it, the commands read
// it. Plain data.

import type { LabelMap } from '../report/names.js';
import type { Address, Translation } from './address.js';
import { type CommandName, O, type OptionName, type Table } from './options.js';
import { PLACES, type Protocol, type ProtocolChoice } from './protocols.js';
import type { Mark, StatusList } from './values.js';

/** Addresses of one direction, as far as given. */
export interface Ends {
  src: Address | undefined;
  dst: Address | undefined;
}

/** What a command line asks for. A value counts only if its bit in `given` or `places` is set. */
export class Request {
  command: CommandName | undefined;
  table: Table = 'conntrack';
  /** Bits of the options that were given. */
  given = 0;
  /** Bits of the protocol's options that were given. */
  places = 0;
  family = 0;
  choice: ProtocolChoice | undefined;
  readonly orig: Ends = { src: undefined, dst: undefined };
  readonly reply: Ends = { src: undefined, dst: undefined };
  readonly tuple: Ends = { src: undefined, dst: undefined };
  readonly mask: Ends = { src: undefined, dst: undefined };
  srcNat: Translation | undefined;
  dstNat: Translation | undefined;
  anyNat: Translation | undefined;
  timeout = 0;
  readonly status: StatusList = { set: 0, clear: 0 };
  mark: Mark = { value: 0, mask: undefined };
  zone = 0;
  origZone = 0;
  replyZone = 0;
  id = 0;
  secmark = 0;
  events = 0;
  output = 0;
  bufferSize = 0;
  label: Uint8Array | undefined;
  labelAdd: Uint8Array | undefined;
  /** All labels if undefined while --label-del was given. */
  labelDel: Uint8Array | undefined;
  labelMap: LabelMap | undefined;
  /** Values of the protocol's options, by place. */
  readonly values = new Uint32Array(PLACES.length);
  interval = 1;
  sort = '';

  has(name: OptionName): boolean {
    return (this.given & (1 << O[name])) !== 0;
  }

  get protocol(): Protocol | undefined {
    return this.choice?.protocol;
  }
}
