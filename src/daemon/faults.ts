// The file against this machine, before anything is opened: for the start and for --check.

import { type Config, checkRuntime, type Diagnostic } from '../config/index.js';
import { readInterface } from '../kernel/links.js';

/** What of the file does not fit this machine; errors mean that the daemon cannot start. */
export function runtimeFaults(config: Config): Diagnostic[] {
  const interfaces = new Map<string, { index: number; mtu: number; up: boolean }>();
  for (const { interface: name } of config.sync?.links ?? []) {
    const info = name === undefined ? undefined : readInterface(name);
    if (name === undefined || info === undefined) continue;
    interfaces.set(name, { index: info.index, mtu: info.mtu, up: info.status !== 'DOWN' });
  }
  return checkRuntime(config, interfaces);
}

export function isError(diagnostic: Diagnostic): boolean {
  return diagnostic.severity === 'error';
}
