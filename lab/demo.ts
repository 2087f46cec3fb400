// `npm start`: two firewalls, hundreds of live TCP connections, one firewall dies, none is lost.
//
// Makes the lab (topology.ts), runs a daemon on each firewall, opens connections through fw1, lets
// fw1 die as in a power failure, makes fw2 take over and shows what the connections noticed. All of
// it lives in network namespaces of its own and is gone afterwards, unless --keep is given.
// The status is 0 only if every connection survived.

import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { C, Daemon, OURS, type Program } from './daemon.js';
import { type Netns, Run, removeKept } from './namespace.js';
import { waitReplicated } from './replication.js';
import { requirePrograms, requireRoot } from './require.js';
import { Screen } from './screen.js';
import { comeBack, killHard, type TakeoverTimes, takeOver } from './takeover.js';
import { CLIENT, GATEWAY, PORT, SERVER, Topology } from './topology.js';
import { type Endpoint, type Group, startClient, startServer } from './traffic.js';

const USAGE = `npm start [-- options]
  --connections N   live TCP connections (default 200)
  --without         control experiment: take over without the replicated flows
  --keep            leave the lab running and say what can be tried in it
  --remove          remove labs that were kept
  --active P        program on fw1: ours or C (default ours)
  --backup P        program on fw2: ours or C (default ours)
  --help            this text
`;

interface Options {
  connections: number;
  without: boolean;
  keep: boolean;
  active: Program;
  backup: Program;
}

/** How often each connection sends a line. */
const LINE_MS = 20;
/** How long traffic is shown before the failure and after it. */
const BEFORE_MS = 3000;
const AFTER_MS = 3000;
/** How long a connection may need to answer after the take-over before it counts as lost. */
const SURVIVE_MS = 10_000;

interface Lab {
  run: Run;
  topology: Topology;
  fw1: Daemon;
  fw2: Daemon;
  server: Endpoint;
  client: Endpoint;
}

interface Result {
  flows: number;
  times: TakeoverTimes;
  outageMs: number;
  stallMs: number;
  survived: number;
  returnedMs: number | undefined;
}

const screen = new Screen(process.stdout);

/** A share of the connections for each way through the firewall. */
function plan(connections: number): Group[] {
  const ways: [string, string, number][] = [
    ['plain', SERVER.v4, PORT.plain],
    ['source NAT', SERVER.v4, PORT.snat],
    ['destination NAT', GATEWAY.cli.v4, PORT.dnat],
    ['marked', SERVER.v4, PORT.marked],
    ['IPv6', SERVER.v6, PORT.plain],
  ];
  return ways.map(([name, host, port], index) => ({
    name,
    proto: 'tcp',
    host,
    port,
    everyMs: LINE_MS,
    count: Math.floor((connections + index) / ways.length),
  }));
}

async function build(options: Options): Promise<Lab> {
  const start = performance.now();
  const run = Run.start();
  const topology = new Topology(run);
  screen.step('lab', `client, server, fw1, fw2 in namespaces ${run.prefix}-*, ${since(start)}`);
  const began = performance.now();
  const daemon = (program: Program, node: Topology['fw1']) =>
    new Daemon(run, { program, node, peer: topology.peer(node) });
  const fw1 = daemon(options.active, topology.fw1);
  const fw2 = daemon(options.backup, topology.fw2);
  await Promise.all([fw1.start(), fw2.start()]);
  const pids = [fw1, fw2].map(({ label, pid }) => `${label} pid ${pid}`).join(', ');
  screen.step('daemons', `${pids}, FTFW over UDP, ${since(began)}`);
  const groups = plan(options.connections);
  const server = await startServer(topology);
  const client = await startClient(topology, groups);
  const shares = groups.map(({ name, count }) => `${count} ${name}`).join(', ');
  screen.step('connections', `${options.connections} TCP through fw1: ${shares}`);
  return { run, topology, fw1, fw2, server, client };
}

/** Shows the traffic for a while. */
async function watch(lab: Lab, label: string, ms: number, backup: Daemon): Promise<void> {
  const every = 200;
  let before = { at: performance.now(), echoed: (await lab.client.tally()).echoed };
  const end = before.at + ms;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, every));
    const tally = await lab.client.tally();
    const { internal, external } = await backup.caches();
    const at = performance.now();
    const rate = Math.round(((tally.echoed - before.echoed) * 1000) / (at - before.at));
    before = { at, echoed: tally.echoed };
    screen.status(
      label,
      `${tally.open} open | ${number(rate)} lines/s | waiting ${tally.waitingMs.toFixed(0)} ms | ` +
        `${backup.node.name}: ${external.active} external, ${internal.active} internal`,
    );
  }
}

async function fail(lab: Lab, options: Options): Promise<Result> {
  const { topology, fw1, fw2, client } = lab;
  const flows = await waitReplicated(fw1, fw2, options.connections);
  screen.step('replicated', `${flows} flows in fw2's external cache, equal to fw1's`);
  await watch(lab, 'running', BEFORE_MS, fw2);
  await client.reset();
  const died = performance.now();
  await killHard(topology, fw1);
  screen.step('fw1 dies', screen.paint('red', 'daemon killed, all its links down'));
  const times = await takeOver(topology, fw2, { commit: !options.without });
  const outageMs = performance.now() - died - times.flush - times.reread - times.bulk;
  const how = options.without ? 'without the replicated flows' : 'flows committed, addresses moved';
  screen.step('fw2 takes over', `${how}, ${ms(times.commit + times.move)}`);
  await watch(lab, 'running', AFTER_MS, fw2);
  const answered = await client.probe(SURVIVE_MS);
  const survived = Object.values(answered).reduce((sum, count) => sum + count, 0);
  const { stallMs } = await client.tally();
  const returnedMs = options.without ? undefined : await bringBack(lab, survived);
  return { flows, times, outageMs, stallMs, survived, returnedMs };
}

/** fw1 returns as the backup and gets the flows back. */
async function bringBack({ topology, fw1, fw2 }: Lab, flows: number): Promise<number> {
  const start = performance.now();
  await comeBack(topology, fw1);
  const held = await waitReplicated(fw2, fw1, flows);
  const took = performance.now() - start;
  screen.step('fw1 returns', `as the backup; ${held} flows resynchronised, ${ms(took)}`);
  return took;
}

function summarise(result: Result, options: Options): boolean {
  const { times, survived } = result;
  const all = survived === options.connections;
  const count = `${survived}/${options.connections}`;
  screen.table('Summary', [
    ['flows replicated', number(result.flows)],
    [
      'takeover',
      `${ms(times.commit + times.move)} (commit ${ms(times.commit)}, addresses ${ms(times.move)})`,
    ],
    ['from failure to traffic', `${ms(result.outageMs)} (the failure is known at once here)`],
    [
      'then, beside traffic',
      `caches ${ms(times.flush)}, table ${ms(times.reread)}, bulk ${ms(times.bulk)}`,
    ],
    ['longest stall of a connection', options.without ? '-' : ms(result.stallMs)],
    ...(result.returnedMs === undefined
      ? []
      : [['fw1 back as the backup', ms(result.returnedMs)] as const]),
    ['connections survived', screen.paint(all ? 'green' : 'red', count)],
  ]);
  if (options.without) {
    screen.line();
    screen.line(
      '  This was the control experiment: fw2 knew no flow, so its rules dropped them all.',
    );
  } else if (all) {
    screen.line();
    screen.line(`  Without replication: ${screen.paint('dim', 'npm start -- --without')}`);
  }
  screen.line();
  return all;
}

/** What can be tried in a lab that stays. */
function explainKept({ run, topology, fw1, fw2 }: Lab): void {
  const inside = (ns: Netns, command: string) => `${ns.prefix.join(' ')} ${command}`;
  const ask = ({ node, program, config }: Daemon, option: string) =>
    inside(node.ns, `${program.path} -C ${config} ${option}`);
  const rows: [string, string][] = [
    ['statistics of fw2', ask(fw2, '-s')],
    ['its internal cache', ask(fw2, '-i')],
    ['external cache of fw1', ask(fw1, '-e')],
    ["fw2's kernel table", inside(topology.fw2.ns, 'conntrack -L')],
    ['a new flow', inside(topology.client, `ping -c 3 ${SERVER.v4}`)],
    ['logs', `tail -f ${fw1.directory}/log ${fw2.directory}/log`],
    ['remove it', 'npm start -- --remove'],
  ];
  screen.line(`  The lab ${run.prefix} stays; the client is ${CLIENT.v4}, fw2 is active. Try:`);
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, command] of rows) screen.line(`  ${name.padEnd(width)}   ${command}`);
  screen.line();
}

async function keep(lab: Lab): Promise<void> {
  await Promise.all([lab.server.stay(), lab.client.stay()]);
  lab.run.keep();
  explainKept(lab);
}

function ms(value: number): string {
  return value < 10 ? `${value.toFixed(1)} ms` : `${value.toFixed(0)} ms`;
}

function since(start: number): string {
  return ms(performance.now() - start);
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function parseOptions(): Options {
  const { values } = parseArgs({
    options: {
      connections: { type: 'string', default: '200' },
      without: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      remove: { type: 'boolean', default: false },
      active: { type: 'string', default: 'ours' },
      backup: { type: 'string', default: 'ours' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  if (values.remove) {
    requireRoot();
    requirePrograms(['ip']);
    const removed = removeKept();
    screen.line(removed.length > 0 ? `removed ${removed.join(', ')}` : 'nothing to remove');
    process.exit(0);
  }
  const connections = Number(values.connections);
  if (!Number.isInteger(connections) || connections < 1 || connections > 5000) {
    throw new Error('--connections takes a number from 1 to 5000');
  }
  const { without, keep } = values;
  const [active, backup] = [programOf(values.active), programOf(values.backup)];
  return { connections, without, keep, active, backup };
}

function programOf(name: string): Program {
  const program = [OURS, C].find((one) => one.name.toLowerCase() === name.toLowerCase());
  if (!program) throw new Error(`${name}: the programs are called ours and C`);
  return program;
}

async function main(): Promise<void> {
  const options = parseOptions();
  requireRoot();
  const daemons = [options.active, options.backup];
  requirePrograms(['ip', 'nft', ...(daemons.includes(C) ? ['conntrackd'] : [])]);
  if (daemons.includes(OURS) && !existsSync(OURS.path)) throw new Error(`${OURS.path} is missing`);
  screen.line(screen.paint('bold', 'Flowtwin: a firewall dies, its connections live on'));
  screen.line();
  const lab = await build(options);
  const all = summarise(await fail(lab, options), options);
  if (options.keep) await keep(lab);
  else lab.run.remove();
  process.exit(all ? 0 : 1);
}

main().catch((error: unknown) => {
  screen.line();
  process.stderr.write(`flowtwin: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
