/*
 * Checks that need more than one directive: combinations within the file (`crossChecks`, part of the
 * parse) and the file against the machine (`checkRuntime`, by the daemon before it opens anything).
 *
 * The daemon passes in what it knows of the machine; nothing here asks the system.
 */

import type { Config, Link } from './config.js';
import { type Diagnostic, nearestWord, type Severity } from './diagnostic.js';
import type { Draft } from './draft.js';
import type { Parser } from './parser.js';

/** Combinations that make no sense; drops what cannot take effect from the draft. */
export function crossChecks(p: Parser, draft: Draft): void {
  const { general, sync } = draft;
  if (general.unixSection !== undefined && general.unixPath === undefined) {
    p.warn(
      general.unixSection,
      "`UNIX' without `Path': no client will be able to reach the daemon",
      'add `Path /var/run/conntrackd.ctl`',
    );
  }
  if (general.schedulerType !== undefined && (general.schedulerPriority ?? 0) === 0) {
    p.warn(
      general.schedulerAt!,
      `scheduler configuration: the kernel refuses ${general.schedulerType} with priority 0`,
      'add a `Priority` from 1 to 99; without it the system default scheduler is used',
    );
  }
  if (sync.at !== undefined) crossCheckSync(p, draft);
}

function crossCheckSync(p: Parser, draft: Draft): void {
  const { sync } = draft;
  if (sync.modes.size === 0) {
    p.warn(
      sync.at!,
      'No synchronization mode specified. Defaulting to FT-FW mode.',
      'add `Mode FTFW { }`',
    );
  }
  if (sync.commitTimeout !== undefined && sync.disableExternalCache === true) {
    p.warn(
      sync.commitTimeoutAt!,
      "`CommitTimeout' can't be combined with `DisableExternalCache', ignoring this option. " +
        'Fix your configuration file.',
    );
    sync.commitTimeout = undefined;
  }
  // Only NOTRACK can say it, but another Mode of the same file may win.
  const reliable = sync.modes.has('FTFW') || sync.modes.has('ALARM');
  if (sync.disableInternalCache === true && reliable) {
    p.warn(sync.modeAt!, "`DisableInternalCache' works in mode NOTRACK only, ignoring");
    sync.disableInternalCache = false;
  }
  if (sync.disableInternalCache === true) crossCheckBypass(p, draft);
}

/** What needs the internal cache, with `DisableInternalCache`. */
function crossCheckBypass(p: Parser, { general, sync }: Draft): void {
  if (general.pollSecs !== undefined && general.pollSecs > 0) {
    p.warn(
      sync.modeAt!,
      "`DisableInternalCache' can't be combined with `PollSecs', ignoring",
      'without events and without a cache to compare with, no change of a flow would be seen',
    );
    sync.disableInternalCache = false;
  }
}

/** What the daemon knows of a network device. */
export interface InterfaceState {
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  readonly up: boolean;
}

type Report = (
  severity: Severity,
  line: number,
  token: string,
  message: string,
  hint?: string,
) => void;

function checkLink(
  link: Link,
  interfaces: ReadonlyMap<string, InterfaceState>,
  report: Report,
): void {
  for (const fault of link.faults) report('error', link.line, link.kind, fault);
  const name = link.interface;
  if (name === undefined) {
    const message = `can't open channel socket: this \`${link.kind}' link names no \`Interface'`;
    report('error', link.line, link.kind, message, 'add `Interface NAME`: it is mandatory');
    return;
  }
  const device = interfaces.get(name);
  if (device === undefined) {
    const close = nearestWord(name, interfaces.keys());
    const hint = close === undefined ? undefined : `did you mean \`${close}\`?`;
    report('warning', link.line, name, `${name} is an invalid interface`, hint);
    report('error', link.line, name, `can't open channel socket: No such device (${name})`);
    return;
  }
  if (!device.up) report('warning', link.line, name, `dedicated link interface ${name} is down`);
}

/**
 * Finds what would keep the daemon from opening its links on this machine. Errors mean that it
 * cannot start. Diagnostics have the line of the link and no column.
 */
export function checkRuntime(
  config: Config,
  interfaces: ReadonlyMap<string, InterfaceState>,
): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const report: Report = (severity, line, token, message, hint) => {
    const place = { file: config.file, line, column: 0, token, source: '' };
    diagnostics.push({ severity, message, ...place, ...(hint === undefined ? {} : { hint }) });
  };
  const { sync } = config;
  if (sync === undefined) return diagnostics;
  if (sync.links.length === 0) {
    const message = "can't open channel socket: section `Sync' has no dedicated link";
    report('error', sync.line, 'Sync', message, 'add a `Multicast`, `UDP` or `TCP` section');
  }
  for (const link of sync.links) checkLink(link, interfaces, report);
  return diagnostics;
}
