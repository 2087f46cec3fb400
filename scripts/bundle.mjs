// Makes one file of the conntrack command: `node scripts/bundle.mjs` after the build. Seventy modules
// that are looked up, read and linked one by one are a third of the time of a short command.
//
//   dist/src/bin/conntrack.js + its imports ──▶ dist/src/bin/conntrack.cjs         all code, one script
//                                               dist/src/bin/conntrack.cjs.cache   V8's bytecode of it
//
// The bytecode holds for the Node that made it; another one notices (its version and flags are part
// of it) and compiles the script. It is made in a process of its own that has run the command, so that
// it holds the functions a command needs and not the outermost one only.

import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const ENTRY = join(ROOT, 'dist/src/bin/conntrack.js');
const BUNDLE = join(ROOT, 'dist/src/bin/conntrack.cjs');
const CACHE = `${BUNDLE}.cache`;

/**
 * The package koffi finds out which C library Node was linked with by reading Node's program file,
 * which takes longer than loading it. Here the usual one is tried first; the package is the fallback.
 */
const DIRECT_KOFFI = `
let koffi;
try {
  koffi = require('@koromix/koffi-linux-' + process.arch + '/linux_' + process.arch + '/koffi.node');
} catch {
  koffi = require('koffi');
}
module.exports = koffi;
`;

const koffi = {
  name: 'koffi',
  resolveId: (id, importer) =>
    id === 'koffi' && !importer?.startsWith('\0') ? '\0koffi.cjs' : undefined,
  load: (id) => (id === '\0koffi.cjs' ? DIRECT_KOFFI : undefined),
};

rmSync(CACHE, { force: true }); // never bytecode beside a script that is not its own
const bundle = await rolldown({
  input: ENTRY,
  platform: 'node',
  external: (id, importer) => id === 'koffi' && importer?.startsWith('\0') === true,
  plugins: [koffi],
  logLevel: 'warn',
});
await bundle.write({
  file: `${BUNDLE}.new`,
  format: 'cjs',
  codeSplitting: false,
  sourcemap: false,
  minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
});
renameSync(`${BUNDLE}.new`, BUNDLE);

// A list takes the way through most of the program, whether it may ask the kernel or not. What it
// says is of no interest here.
spawnSync(process.execPath, [join(ROOT, 'bin/conntrack'), '-L', '-p', 'tcp', '-s', '127.0.0.1'], {
  env: { ...process.env, CONNTRACK_KEEP_BYTECODE: CACHE },
  stdio: 'ignore',
});
if (!existsSync(CACHE)) {
  console.error('the bundled conntrack command does not run');
  process.exit(1);
}
