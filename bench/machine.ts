// What the figures were measured on: without it they mean nothing.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../lab/require.js';

export interface Machine {
  date: string;
  cores: number;
  processor: string;
  memoryGiB: number;
  kernel: string;
  node: string;
  flowtwin: string;
  /** Version of the C daemon, if it is installed. */
  conntrackd: string | undefined;
  /** Load average of the last minute before the run: above 1 the machine had other work. */
  load: number;
}

export function describeMachine(): Machine {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  return {
    date: new Date().toISOString(),
    cores: cpus().length,
    processor: cpus()[0]?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    flowtwin: (manifest as { version: string }).version,
    conntrackd: versionOf('conntrackd'),
    load: loadavg()[0]!,
  };
}

function versionOf(program: string): string | undefined {
  try {
    const text = execFileSync(program, ['-v'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return /v(\d+\.\d+\.\d+)/.exec(text)?.[1];
  } catch {
    return undefined;
  }
}

export function machineText(machine: Machine): string {
  const { cores, processor, memoryGiB, kernel, node, flowtwin, conntrackd, load, date } = machine;
  return (
    `${cores} × ${processor}, ${memoryGiB} GiB, Linux ${kernel}, Node ${node}; ` +
    `Flowtwin ${flowtwin}, conntrackd ${conntrackd ?? 'not installed'}; ` +
    `load before the run ${load.toFixed(1)}; ${date}`
  );
}
