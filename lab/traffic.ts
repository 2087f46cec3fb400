// Real traffic through the firewalls: the processes at both ends, as seen from the lab.
//
// The ends are `endpoint.js` from the compiled tree, one process per namespace, spoken to by JSON
// lines (see endpoint.ts). ICMP and ICMPv6 echo come from ping(8). All of them end with the run:
// their stdin closes, and the removal of a namespace kills what is left inside.

import type { ChildProcess } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Command, ConnectionReport, Group, Tally } from './endpoint.js';
import type { Netns } from './namespace.js';
import { compiled } from './require.js';
import { GATEWAY, PORT, SERVER, type Topology } from './topology.js';
import { waitFor } from './wait.js';

export type { ConnectionReport, Group, Tally } from './endpoint.js';

/** Ports that the server's endpoint answers on. */
export const SERVER_PORTS: readonly number[] = [
  PORT.plain,
  PORT.udp,
  PORT.zone,
  PORT.marked,
  PORT.label,
  PORT.snat,
  PORT.dnatTarget,
  PORT.helper,
];

/** One endpoint process. Commands are answered in order. */
export class Endpoint {
  readonly #process: ChildProcess;
  readonly #lines: Interface;
  readonly #waiting: ((line: Record<string, unknown>) => void)[] = [];
  #stderr = '';
  #ended = false;

  private constructor(child: ChildProcess) {
    this.#process = child;
    this.#lines = createInterface({ input: child.stdout! });
    this.#lines.on('line', (line) => this.#waiting.shift()?.(JSON.parse(line)));
    child.stdin!.on('error', () => {});
    child.stderr!.on('data', (chunk) => {
      this.#stderr += String(chunk);
    });
    child.once('exit', () => {
      this.#ended = true;
      for (const give of this.#waiting.splice(0)) give({ type: 'ended' });
    });
  }

  /** Starts an endpoint and waits until it is ready. */
  static async start(ns: Netns, role: 'client' | 'server', args: string[]): Promise<Endpoint> {
    const child = ns.spawn(process.execPath, [compiled('endpoint.js'), role, ...args], {
      detached: true,
    });
    const endpoint = new Endpoint(child);
    await endpoint.#answer('ready');
    return endpoint;
  }

  /** State and counters of each connection. */
  async report(): Promise<ConnectionReport[]> {
    return ((await this.#command({ do: 'report' })) as { connections: ConnectionReport[] })
      .connections;
  }

  async tally(): Promise<Tally> {
    return (await this.#command({ do: 'tally' })) as unknown as Tally;
  }

  /** A line on every open connection: how many of each group were answered within `ms`. */
  async probe(ms: number): Promise<Record<string, number>> {
    return ((await this.#command({ do: 'probe', ms })) as { answered: Record<string, number> })
      .answered;
  }

  /** Forgets the stalls seen so far. */
  async reset(): Promise<void> {
    await this.#command({ do: 'reset' });
  }

  /** Stops or restarts the sending of lines; connections stay open. */
  async pause(): Promise<void> {
    await this.#command({ do: 'pause' });
  }

  async resume(): Promise<void> {
    await this.#command({ do: 'resume' });
  }

  /** Closes the connections of one group in order. */
  async close(group: string): Promise<void> {
    await this.#command({ do: 'close', group });
  }

  /** Goes on when this process ends; only the removal of the lab ends it then. */
  async stay(): Promise<void> {
    await this.#command({ do: 'stay' });
  }

  /** Ends the process at once. */
  stop(): void {
    this.#process.kill('SIGKILL');
    this.#lines.close();
  }

  #command(command: Command): Promise<Record<string, unknown>> {
    this.#process.stdin!.write(`${JSON.stringify(command)}\n`);
    return this.#answer(command.do);
  }

  async #answer(type: string): Promise<Record<string, unknown>> {
    const line = this.#ended
      ? { type: 'ended' }
      : await new Promise<Record<string, unknown>>((resolve) => this.#waiting.push(resolve));
    if (line.type === type) return line;
    throw new Error(`endpoint: ${line.type} instead of ${type}\n${this.#stderr}`);
  }
}

/** Answers on the ports of the rule set and on `more`. */
export function startServer(topology: Topology, more: readonly number[] = []): Promise<Endpoint> {
  return Endpoint.start(topology.server, 'server', [...SERVER_PORTS, ...more].map(String));
}

export function startClient(topology: Topology, plan: readonly Group[]): Promise<Endpoint> {
  return Endpoint.start(topology.client, 'client', [JSON.stringify(plan)]);
}

/**
 * Long-lived connections of every kind the rule set knows, both families: plain, with mark, zone,
 * label and helper, through SNAT and DNAT, TCP and UDP. `count` of each.
 */
export function variety(count = 2, everyMs = 100): Group[] {
  const groups: Group[] = [];
  const add = (name: string, proto: 'tcp' | 'udp', host: string, port: number) =>
    groups.push({ name, proto, host, port, count, everyMs });
  for (const family of ['v4', 'v6'] as const) {
    const server = SERVER[family];
    add(`tcp-${family}`, 'tcp', server, PORT.plain);
    add(`tcp-${family}-mark`, 'tcp', server, PORT.marked);
    add(`tcp-${family}-zone`, 'tcp', server, PORT.zone);
    add(`tcp-${family}-label`, 'tcp', server, PORT.label);
    add(`tcp-${family}-helper`, 'tcp', server, PORT.helper);
    add(`tcp-${family}-snat`, 'tcp', server, PORT.snat);
    add(`tcp-${family}-dnat`, 'tcp', GATEWAY.cli[family], PORT.dnat);
    add(`udp-${family}`, 'udp', server, PORT.udp);
    add(`udp-${family}-snat`, 'udp', server, PORT.snat);
    add(`udp-${family}-dnat`, 'udp', GATEWAY.cli[family], PORT.dnat);
  }
  return groups;
}

/** Connections that nobody answers: SYN_SENT and unreplied flows. */
export function unanswered(count = 2): Group[] {
  return (['tcp', 'udp'] as const).map((proto) => ({
    name: `${proto}-silent`,
    proto,
    host: SERVER.v4,
    port: PORT.silent,
    count,
    everyMs: 0,
  }));
}

/** Connections that `close` ends, to leave TIME_WAIT behind. */
export function shortLived(count = 2): Group {
  return {
    name: 'tcp-short',
    proto: 'tcp',
    host: SERVER.v4,
    port: PORT.plain,
    count,
    everyMs: 0,
  };
}

/** A running ping: one flow with a fixed ICMP identifier. */
export class Ping {
  readonly #process: ChildProcess;
  #output = '';

  constructor(ns: Netns, host: string, everyMs = 200) {
    const interval = (everyMs / 1000).toFixed(3);
    this.#process = ns.spawn('ping', ['-n', '-i', interval, host], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    this.#process.stdout!.on('data', (chunk) => {
      this.#output += String(chunk);
    });
  }

  /** Echo replies so far. */
  get replies(): number {
    return this.#output.match(/icmp_seq=\d+ ttl=/g)?.length ?? 0;
  }

  /** Resolves when more replies than now have come. */
  async progress(timeout = 5000): Promise<void> {
    const before = this.replies;
    await waitFor(() => this.replies > before, { for: 'an ICMP echo reply', timeout });
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }
}

export function startPings(topology: Topology): Ping[] {
  return [SERVER.v4, SERVER.v6].map((host) => new Ping(topology.client, host));
}

/** Creates flows straight in a kernel's table by a restore file of conntrack(8) commands. */
export async function loadFlows(ns: Netns, file: string): Promise<void> {
  await ns.exec('conntrack', ['-R', file]);
}
