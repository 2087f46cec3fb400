// The ends of the lab's traffic, run as an own process inside the client's or server's namespace:
//
//   node endpoint.js server PORT...              echoes TCP and UDP on the ports
//   node endpoint.js client PLAN                 PLAN is JSON, see `Group`
//
// Both write one JSON object a line on stdout, the first is {"type":"ready",...}, and read one
// JSON command a line on stdin, see `Command`. The end of stdin ends the process, so no endpoint
// outlives its lab, unless it was told to stay.
//
// A TCP connection sends numbered lines and expects exactly these back in order; a line that comes
// back wrong makes it `corrupt`. `stallMs` is the longest time that a connection waited for the
// next echo while it had lines under way. Nothing blocks; one timer drives all connections.

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

/** Several connections of one kind. */
export interface Group {
  name: string;
  proto: 'tcp' | 'udp';
  host: string;
  port: number;
  count: number;
  /** Milliseconds between two lines of one connection; 0: one line at the start, not measured. */
  everyMs: number;
}

/** What is known of one connection. Times in milliseconds. */
export interface ConnectionReport {
  group: string;
  localPort: number;
  state: 'connecting' | 'open' | 'closed' | 'corrupt';
  error?: string;
  sent: number;
  echoed: number;
  stallMs: number;
}

export type Command =
  | { do: 'report' | 'reset' | 'pause' | 'resume' | 'tally' | 'stay' }
  | { do: 'probe'; ms: number }
  | { do: 'close'; group: string };

/** Sums over all connections, cheap enough to ask for often. */
export interface Tally {
  open: number;
  echoed: number;
  /** Longest present wait for an echo. */
  waitingMs: number;
  /** Longest wait since the last reset. */
  stallMs: number;
}

abstract class Connection {
  state: ConnectionReport['state'] = 'connecting';
  error: string | undefined;
  sent = 0;
  echoed = 0;
  stallMs = 0;
  due = 0;
  /** Since when the next echo is awaited; undefined: nothing is under way. */
  waitingSince: number | undefined;

  constructor(readonly group: Group) {}

  abstract open(): Promise<void>;
  abstract close(): void;
  abstract get localPort(): number;
  protected abstract transmit(line: string): void;

  send(now: number): void {
    this.waitingSince ??= now;
    this.transmit(`${this.sent++}\n`);
  }

  /** How long the next echo has been missing. */
  waiting(now: number): number {
    return this.waitingSince === undefined ? 0 : now - this.waitingSince;
  }

  protected arrived(sequence: number): void {
    const now = performance.now();
    this.stallMs = Math.max(this.stallMs, this.waiting(now));
    this.echoed++;
    this.waitingSince = sequence + 1 < this.sent ? now : undefined;
  }

  fail(error: Error): void {
    if (this.state === 'corrupt') return;
    this.state = 'closed';
    this.error ??= error.message;
  }

  report(): ConnectionReport {
    return {
      group: this.group.name,
      localPort: this.localPort,
      state: this.state,
      ...(this.error === undefined ? {} : { error: this.error }),
      sent: this.sent,
      echoed: this.echoed,
      stallMs: Math.max(this.stallMs, this.waiting(performance.now())),
    };
  }
}

class TcpConnection extends Connection {
  #socket: Socket | undefined;
  #rest = '';

  get localPort(): number {
    return this.#socket?.localPort ?? 0;
  }

  open(): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ host: this.group.host, port: this.group.port, noDelay: true });
      this.#socket = socket;
      socket.setEncoding('latin1');
      socket.once('connect', () => {
        this.state = 'open';
        resolve();
      });
      socket.on('data', (text) => this.#read(String(text)));
      socket.once('error', (error) => {
        this.fail(error);
        resolve();
      });
      socket.once('close', () => this.fail(new Error('closed by the peer')));
    });
  }

  close(): void {
    this.error = 'closed on request';
    this.#socket?.end();
  }

  protected transmit(line: string): void {
    this.#socket?.write(line);
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line !== String(this.echoed)) {
        this.error = `expected line ${this.echoed}, got ${JSON.stringify(line)}`;
        this.state = 'corrupt';
        this.#socket?.destroy();
        return;
      }
      this.arrived(this.echoed);
    }
  }
}

class UdpConnection extends Connection {
  #socket: UdpSocket | undefined;

  get localPort(): number {
    return this.state === 'open' ? (this.#socket?.address().port ?? 0) : 0;
  }

  open(): Promise<void> {
    return new Promise((resolve) => {
      const socket = createSocket(this.group.host.includes(':') ? 'udp6' : 'udp4');
      this.#socket = socket;
      // ICMP errors arrive here too; a lost datagram is no reason to give up.
      socket.on('error', () => {});
      socket.on('message', (message) => this.arrived(Number.parseInt(message.toString(), 10)));
      socket.connect(this.group.port, this.group.host, () => {
        this.state = 'open';
        resolve();
      });
    });
  }

  close(): void {
    this.#socket?.close();
    this.fail(new Error('closed on request'));
  }

  protected transmit(line: string): void {
    this.#socket?.send(line);
  }
}

/** How many connections are opened at the same time. */
const OPENING = 32;
const TICK_MS = 5;

class Client {
  readonly #connections: Connection[];
  #paused = false;

  constructor(plan: readonly Group[]) {
    this.#connections = plan.flatMap((group) =>
      Array.from({ length: group.count }, () =>
        group.proto === 'tcp' ? new TcpConnection(group) : new UdpConnection(group),
      ),
    );
  }

  async start(): Promise<void> {
    const queue = [...this.#connections];
    const open = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        // A connection that nobody answers is part of some plans: it must not hold up the rest.
        await Promise.race([next.open(), delay(1500)]);
        const now = performance.now();
        if (next.state === 'open') next.send(now);
        // Spread over the interval, so that the lines do not leave in bursts.
        next.due = now + next.group.everyMs * (0.5 + Math.random());
      }
    };
    await Promise.all(Array.from({ length: OPENING }, open));
    setInterval(() => this.#tick(), TICK_MS);
  }

  #tick(): void {
    if (this.#paused) return;
    const now = performance.now();
    for (const connection of this.#connections) {
      const { everyMs } = connection.group;
      if (everyMs === 0 || connection.state !== 'open' || now < connection.due) continue;
      connection.due = Math.max(connection.due + everyMs, now);
      connection.send(now);
    }
  }

  async obey(command: Command): Promise<object> {
    switch (command.do) {
      case 'report':
        return { connections: this.#connections.map((connection) => connection.report()) };
      case 'tally':
        return this.#tally();
      case 'probe':
        return { answered: await this.#probe(command.ms) };
      case 'reset':
        for (const connection of this.#connections) connection.stallMs = 0;
        return {};
      case 'close':
        for (const connection of this.#connections) {
          if (connection.group.name === command.group) connection.close();
        }
        return {};
      case 'stay':
        return {};
      case 'pause':
      case 'resume':
        this.#paused = command.do === 'pause';
        return {};
    }
  }

  #tally(): Tally {
    const now = performance.now();
    const tally: Tally = { open: 0, echoed: 0, waitingMs: 0, stallMs: 0 };
    for (const connection of this.#connections) {
      if (connection.state === 'open') tally.open++;
      tally.echoed += connection.echoed;
      if (connection.group.everyMs === 0) continue;
      tally.waitingMs = Math.max(tally.waitingMs, connection.waiting(now));
      tally.stallMs = Math.max(tally.stallMs, connection.stallMs);
    }
    tally.stallMs = Math.max(tally.stallMs, tally.waitingMs);
    return tally;
  }

  /** Sends a line on every open connection; which groups and how many answered within `ms`. */
  async #probe(ms: number): Promise<Record<string, number>> {
    const before = new Map<Connection, number>();
    for (const connection of this.#connections) {
      if (connection.state !== 'open' || connection.group.everyMs === 0) continue;
      // A TCP echo counts only for a line sent from now on; a datagram may be lost, so any echo.
      const target = connection.group.proto === 'tcp' ? connection.sent : connection.echoed;
      before.set(connection, target);
      connection.send(performance.now());
    }
    const answered = (connection: Connection, target: number) => connection.echoed > target;
    const end = performance.now() + ms;
    while (performance.now() < end && ![...before].every(([c, target]) => answered(c, target))) {
      await delay(TICK_MS);
    }
    const counts: Record<string, number> = {};
    for (const [connection, target] of before) {
      const { name } = connection.group;
      counts[name] = (counts[name] ?? 0) + Number(answered(connection, target));
    }
    return counts;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function serve(ports: readonly number[]): Promise<void> {
  await Promise.all(ports.flatMap((port) => [serveTcp(port), serveUdp(port)]));
}

function serveTcp(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer({ noDelay: true }, (socket) => {
      socket.on('error', () => socket.destroy());
      socket.pipe(socket);
    });
    server.once('error', reject);
    server.listen(port, '::', 1024, resolve);
  });
}

function serveUdp(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp6');
    socket.once('error', reject);
    socket.on('message', (message, from) => {
      socket.send(message, from.port, from.address, () => {});
    });
    socket.bind(port, resolve);
  });
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(role: string | undefined, args: readonly string[]): Promise<void> {
  const client = role === 'client' ? new Client(JSON.parse(args[0] ?? '[]')) : undefined;
  let stay = false;
  const input = createInterface({ input: process.stdin });
  input.once('close', () => stay || process.exit(0));
  if (client) await client.start();
  else await serve(args.map(Number));
  say({ type: 'ready' });
  for await (const line of input) {
    const command = JSON.parse(line) as Command;
    stay ||= command.do === 'stay';
    say({ type: command.do, ...(await client?.obey(command)) });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(process.argv[2], process.argv.slice(3));
}
