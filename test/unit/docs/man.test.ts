// The manual pages: current, complete, and taken by groff without a word.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { manPage, manPages, PAGES } from '../../../scripts/man.js';
import { EXTENSIONS } from '../../../src/config/index.js';
import { usageText } from '../../../src/control/commands.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const pages = manPages(ROOT);
const groff = spawnSync('groff', ['--version']).status === 0;

/** What a reader sees, without fonts and blanks. */
function read(path: string): string {
  const text = readFileSync(join(ROOT, path), 'utf8');
  return text
    .replace(/\\f[BIR]/g, '')
    .replaceAll('\\-', '-')
    .replace(/\s+/g, ' ');
}

describe.each(pages)('$path', ({ path, text }) => {
  test('is what docs/ says: else `npm run build` and commit it', () => {
    expect(readFileSync(join(ROOT, path), 'utf8')).toBe(text);
  });

  test.runIf(groff)('is taken by groff without a warning', () => {
    const options = ['-man', '-Tutf8', '-Kutf8', '-ww', '-z', join(ROOT, path)];
    const { stderr, status } = spawnSync('groff', options, { encoding: 'utf8' });
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  });
});

test('conntrackd(8) has every option and view of the program', () => {
  const page = read('man/conntrackd.8');
  const options = usageText('conntrackd').match(/(?<=^ {2}|, )--?\w+/gm) ?? [];
  expect(options.length).toBeGreaterThan(15);
  expect(options.filter((option) => !page.includes(option))).toEqual([]);
  for (const view of ['network', 'cache', 'runtime', 'link', 'rsqueue', 'process', 'queue']) {
    expect(page).toContain(`.TP ${view} `);
  }
});

test('conntrackd.conf(5) marks our extensions', () => {
  const page = read('man/conntrackd.conf.5');
  for (const { name, doc } of EXTENSIONS) {
    expect(page).toMatch(new RegExp(`\\.TP ${name} \\([^)]*\\) extension\\. `));
    expect(page).toContain(doc.replaceAll('`', ''));
  }
});

test('what looks like a macro, an escape or an option in the text stays text', () => {
  const page = { ...PAGES[0]!, name: 'x' };
  const text = manPage(page, "# X\n\nA `\\n` and `-o`\n.SH not a macro\n'quoted'\n", '1');
  expect(text).toContain('A \\fB\\en\\fR and \\fB\\-o\\fR\n\\&.SH not a macro\n\\&');
});

test('what no manual page can show is an error, not a gap', () => {
  expect(() => manPage(PAGES[0]!, '# X\n\n![picture](x.png)\n', '1')).toThrow('image');
});

test('the package brings them along', () => {
  const { man, files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  expect(man).toEqual(pages.map(({ path }) => path));
  expect(files).toContain('man');
});
