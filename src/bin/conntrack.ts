// conntrack: arguments to a command, nothing else. What a command needs is loaded when it is known.

import { runCommand } from '../cli/run.js';

runCommand(process.argv.slice(2), 'conntrack').then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    process.stderr.write(`conntrack: ${error instanceof Error ? error.stack : error}\n`);
    process.exit(1);
  },
);
