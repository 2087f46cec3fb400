// The life of the daemon: from a configuration file to readiness, and from a signal to the end.
//
//   parse ▸ log ▸ lock ▸ scheduler ▸ stations ▸ kernel table ▸ control socket ▸ ready
//
// Everything that can fail fails before "ready", with a reason on the terminal and exit status 1.
// SIGHUP reads the file again and opens the log files anew (rotation); SIGTERM and SIGINT end the
// daemon in order; SIGUSR1, SIGUSR2 and SIGPIPE mean nothing.

import { resolve } from 'node:path';
import { Turns } from '../cache/turns.js';
import { type Config, formatDiagnostic, loadConfig } from '../config/index.js';
import { ControlServer } from '../control/server.js';
import { ServiceManager } from '../kernel/notify.js';
import { errorText, setScheduler } from '../kernel/syscalls.js';
import { isDetached, terminal } from './detach.js';
import { isError, runtimeFaults } from './faults.js';
import { reasonText } from './flows.js';
import { Lock } from './lock.js';
import { Log } from './log.js';
import { planReload } from './reload.js';
import { makeRole, type Role } from './role.js';
import { Supervision, watchdogTime } from './supervision.js';
import { unsupported } from './unsupported.js';

/** ms after the start at which every thread of the process is there. */
const LATE_THREADS = 10_000;

/** Runs the daemon until it is told to end; resolves to the exit status. */
export async function runDaemon(config: Config): Promise<number> {
  const log = new Log();
  if (isDetached()) log.redirectConsole(terminal.write);
  const signals = new Signals();
  let lock: Lock | undefined;
  let role: Role | undefined;
  try {
    const { general } = config;
    log.retarget(general.logFile, general.syslog);
    for (const warning of unsupported(config)) log.warning(warning);
    if (!reportRuntimeFaults(config, log)) throw new Error('initialization failed');
    lock = Lock.take(general.lockFile);
    const ending = new Ending();
    role = makeRole(config, log, (reason) => ending.fail(reason));
    await role.node?.start();
    applyScheduler(config, log);
    const control = await openControl(config, role, log, ending);
    log.notice('initialization completed');
    const file = resolve(config.file);
    process.chdir('/');
    return await serve({ config, file, log, lock, role, control, ending, signals });
  } catch (error) {
    log.error(error instanceof Error ? error.message : String(error));
    log.error('conntrackd cannot start, please review your configuration');
    lock?.release();
    await role?.node?.stop().catch(() => undefined);
    return 1;
  }
}

/**
 * The process's signals, from the first moment on: what comes before the daemon is ready is kept
 * until then. Without a handler SIGHUP would end the process and SIGUSR1 open Node's debugger.
 */
class Signals {
  private readonly due = new Set<'end' | 'reload'>();
  private deliver: ((order: 'end' | 'reload') => void) | undefined;

  constructor() {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.give('end'));
    process.on('SIGHUP', () => this.give('reload'));
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE'] as const) {
      process.on(signal, () => undefined);
    }
  }

  /** Gives orders to `sink` from now on, those that came before included. */
  deliverTo(sink: (order: 'end' | 'reload') => void): void {
    this.deliver = sink;
    for (const order of this.due) sink(order);
    this.due.clear();
  }

  private give(order: 'end' | 'reload'): void {
    if (this.deliver === undefined) this.due.add(order);
    else this.deliver(order);
  }
}

/** What ends the daemon: a signal, the operator's -k, or a fault. */
class Ending {
  private resolve: (reason: string | undefined) => void = () => undefined;
  /** Resolves to the reason of a fault, or undefined for an orderly end. */
  readonly reached = new Promise<string | undefined>((resolve) => {
    this.resolve = resolve;
  });

  order(): void {
    this.resolve(undefined);
  }

  fail(reason: string): void {
    this.resolve(reason);
  }
}

interface Running {
  config: Config;
  /** The configuration file, an absolute path. */
  file: string;
  log: Log;
  lock: Lock;
  role: Role;
  control: ControlServer | undefined;
  ending: Ending;
  signals: Signals;
}

async function serve(running: Running): Promise<number> {
  const { log, lock, role, control, ending, signals } = running;
  const supervision = supervise(running);
  if (isDetached()) {
    log.notice('-- starting in daemon mode --');
    await terminal.ready();
    log.redirectConsole(undefined);
  } else {
    log.notice('-- starting in console mode --');
  }
  supervision.ready();
  const reloads = new Turns();
  signals.deliverTo((order) => {
    if (order === 'end') ending.order();
    else void reloads.run(() => reload(running, supervision));
  });
  // Without flows and without a control socket nothing else would keep the process.
  const alive = setInterval(() => undefined, 60_000);
  const fault = await ending.reached;
  clearInterval(alive);
  if (fault !== undefined) log.error(fault);
  await control?.close();
  await role.node?.stop();
  lock.release();
  log.notice('---- shutdown received ----');
  log.close();
  supervision.stopping();
  return fault === undefined ? 0 : 1;
}

function supervise({ config, log, role }: Running): Supervision {
  const { node } = role;
  const failed = (reason: string): void => log.limited('warning', 'notify', reason);
  const manager = config.general.systemd
    ? ServiceManager.find(process.env.NOTIFY_SOCKET, failed)
    : undefined;
  let watchdog: number | undefined;
  try {
    watchdog = watchdogTime(process.env, process.pid, isDetached() ? process.ppid : undefined);
  } catch (error) {
    log.warning(`failed to get watchdog details from systemd: ${reasonText(error)}`);
  }
  const supervised = { shards: node?.shards, status: () => role.status() };
  const supervision = new Supervision(manager, watchdog, supervised);
  const { interval } = supervision;
  if (manager === undefined) return supervision;
  if (node !== undefined) {
    if (interval !== undefined) {
      node.plane.longestSleep = Math.max(1, Math.min(node.plane.longestSleep, interval / 2));
    }
    node.plane.onTurn = (now) => supervision.progress(now);
  } else if (interval !== undefined) {
    // Without flows there is no data plane: the event loop is all that can stand still.
    setInterval(() => supervision.progress(performance.now()), interval).unref();
  }
  return supervision;
}

/** SIGHUP: log files anew, and what of a changed file can take effect at once. */
async function reload(running: Running, supervision: Supervision): Promise<void> {
  const { log, role, file } = running;
  supervision.reloading();
  try {
    const { config: wanted, diagnostics } = loadConfig(file);
    for (const diagnostic of diagnostics) {
      log[isError(diagnostic) ? 'error' : 'warning'](formatDiagnostic(diagnostic));
    }
    if (wanted === undefined) log.error('the configuration stays as it is: the file has errors');
    const plan = planReload(running.config, wanted ?? running.config);
    const { general } = plan.config;
    log.retarget(general.logFile, general.syslog);
    await role.node?.reconfigure(plan.config);
    running.config = plan.config;
    for (const name of plan.waiting) {
      log.warning(`${name} has changed in ${file}: takes effect at the next start`);
    }
    const applied = plan.applied.length > 0 ? plan.applied.join(', ') : 'nothing to change';
    if (wanted !== undefined) log.notice(`configuration reloaded: ${applied}`);
  } catch (error) {
    log.error(`reload failed: ${reasonText(error)}`);
  }
  supervision.ready();
}

async function openControl(
  config: Config,
  role: Role,
  log: Log,
  ending: Ending,
): Promise<ControlServer | undefined> {
  const path = config.general.unixPath;
  if (path === undefined) {
    log.warning('no UNIX { Path }: no client can reach this daemon');
    return undefined;
  }
  let server: ControlServer | undefined;
  const counters = { requests: 0, unknown: 0, readFailed: 0, failed: 0, aborted: 0 };
  const around = {
    log,
    control: () => server?.counters ?? counters,
    terminate: () => ending.order(),
  };
  server = await ControlServer.listen({
    path,
    handler: (code, reply) => role.carryOut(around, code, reply),
    onError: (error, code) =>
      log.limited('error', 'control', `request ${code} failed: ${describe(error)}`),
  });
  return server;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Checks the file against this machine; false when it cannot run. */
function reportRuntimeFaults(config: Config, log: Log): boolean {
  let fit = true;
  for (const diagnostic of runtimeFaults(config)) {
    const line = formatDiagnostic(diagnostic);
    if (isError(diagnostic)) {
      fit = false;
      log.error(line);
    } else {
      log.warning(line);
    }
  }
  return fit;
}

/**
 * The real-time class, if the file asks for one. Threads come to life during the first seconds, so it
 * is set twice. (The C daemon takes SCHED_RR 99 unasked. Ours does not need it, and a machine whose
 * highest priority belongs to a daemon is hard to save from it.)
 */
function applyScheduler({ general }: Config, log: Log): void {
  if (!general.schedulerSet) return;
  const { type, priority } = general.scheduler;
  const reason = setScheduler(type, priority);
  if (reason === 0) {
    setTimeout(() => setScheduler(type, priority), LATE_THREADS).unref();
    return;
  }
  log.warning(
    `scheduler configuration failed: ${errorText(reason)}. ` +
      'Continuing with system default scheduler.',
  );
}
