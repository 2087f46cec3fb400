// Runs commands to their end in a namespace of the lab and tells how long each took: a process of its own
// there, so that no figure holds the time of ip-netns(8).
//
// Commands are JSON lines and answered by JSON lines. Everything blocks.

import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { answerCommands } from './answer.js';

export interface TimedCommand {
  program: string;
  args: string[];
  /** File for standard output. */
  output: string;
}

export interface TimedOutcome {
  status: number | null;
  /** From before the process was made until it had ended. */
  ms: number;
  stderr: string;
}

// What an environment makes Node load (NODE_OPTIONS, NODE_EXTRA_CA_CERTS) is no part of a command's start.
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('NODE_')),
);

function time({ program, args, output }: TimedCommand): TimedOutcome {
  const file = openSync(output, 'w');
  try {
    const start = performance.now();
    const { status, stderr, error } = spawnSync(program, args, {
      env,
      stdio: ['ignore', file, 'pipe'],
    });
    const ms = performance.now() - start;
    if (error) throw error;
    return { status, ms, stderr: String(stderr) };
  } finally {
    closeSync(file);
  }
}

await answerCommands(time);
