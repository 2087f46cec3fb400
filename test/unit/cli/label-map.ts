// A label map for tests, in a file of its own: commands take its path by --labelmap.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directory = mkdtempSync(join(tmpdir(), 'flowtwin-labels-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Bits 1 foo, 2 bar, 127 last. */
export const LABEL_MAP_FILE = join(directory, 'connlabel.conf');
writeFileSync(LABEL_MAP_FILE, '# names\n1 foo\n2\tbar\n0x7f last  \n');
