// A service manager for tests: the notification socket of sd_notify(3) and what arrived on it.

import { rmSync } from 'node:fs';
import { unixAddress } from '../src/kernel/notify.js';
import {
  AF_UNIX,
  addressOf,
  bind,
  close,
  MSG_DONTWAIT,
  recv,
  SOCK_DGRAM,
  socket,
} from '../src/kernel/syscalls.js';

const DATAGRAM = 4096;

export class Manager {
  readonly #fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  readonly #heard: string[] = [];

  /** Listens at `name`: a path, or `@` and an abstract name (of this network namespace). */
  constructor(readonly name: string) {
    bind(this.#fd, unixAddress(name)!);
  }

  /** Every datagram so far, in order. */
  heard(): readonly string[] {
    const at = addressOf(this.#memory);
    for (;;) {
      const length = recv(this.#fd, at, DATAGRAM, MSG_DONTWAIT);
      if (length < 0) return this.#heard;
      this.#heard.push(Buffer.from(this.#memory.buffer, 0, length).toString());
    }
  }

  /** How many datagrams hold this assignment. */
  count(assignment: string): number {
    return this.heard().filter((text) => text.split('\n').includes(assignment)).length;
  }

  close(): void {
    close(this.#fd);
    if (!this.name.startsWith('@')) rmSync(this.name, { force: true });
  }
}
