// A dedicated link that is not open: its interface was removed, and its successor is not there or
// has no address yet. Takes everything and gives nothing, until links.ts puts a real one in its
// place. Owns nothing.

import type { InterfaceInfo } from '../kernel/links.js';
import type { DedicatedLink, LinkKind } from './link.js';

export class ClosedLink implements DedicatedLink {
  readonly kind: LinkKind;
  readonly device: string;
  readonly ready = false;
  readonly bytesSent: number;
  readonly packetsSent: number;
  readonly bytesReceived: number;
  readonly packetsReceived: number;
  readonly receiveErrors: number;
  sendErrors: number;

  /** In the place of `link`, with the counters that it had. */
  constructor(
    link: DedicatedLink,
    readonly info: InterfaceInfo,
  ) {
    this.kind = link.kind;
    this.device = link.device;
    this.bytesSent = link.bytesSent;
    this.packetsSent = link.packetsSent;
    this.bytesReceived = link.bytesReceived;
    this.packetsReceived = link.packetsReceived;
    this.receiveErrors = link.receiveErrors;
    this.sendErrors = link.sendErrors;
  }

  watch(): void {}

  receive(): number {
    return 0;
  }

  send(from: number, to: number): number {
    this.sendErrors += to - from;
    return to;
  }

  tend(): void {}

  leave(): void {}

  close(): void {}
}
