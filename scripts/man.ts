// The manual pages, made of the pages of docs/: one text for the reader of either. Package `marked`
// reads the Markdown, this turns its tokens into the macros of man(7). `npm run build` runs it, and a
// test says whether the pages under man/ are current.
//
// A table becomes a list: the first column is the tag, the last one the text, what stands between
// follows the tag. Lines of the source stay lines, so a change of one is a change of one.
//
//   node dist/scripts/man.js          writes the pages that are not current

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lexer, type Token, type Tokens } from 'marked';

export interface Page {
  readonly name: string;
  readonly section: 5 | 8;
  /** The page of docs/ it is made of. */
  readonly source: string;
  /** What whatis(1) says. */
  readonly about: string;
  readonly seeAlso: readonly string[];
}

export const PAGES: readonly Page[] = [
  {
    name: 'conntrackd',
    section: 8,
    source: 'conntrackd.md',
    about: 'replicate the connection tracking state of a firewall',
    seeAlso: ['conntrackd.conf(5)', 'conntrack(8)', 'nft(8)'],
  },
  {
    name: 'conntrackd.conf',
    section: 5,
    source: 'configuration.md',
    about: 'configuration file of conntrackd',
    seeAlso: ['conntrackd(8)', 'conntrack(8)', 'systemd.service(5)'],
  },
  {
    name: 'conntrack',
    section: 8,
    source: 'conntrack.md',
    about: 'show and change the connection tracking tables of the kernel',
    seeAlso: ['conntrackd(8)', 'nft(8)'],
  },
];

/** The page as text for man(1). `release` is shown in its footer. */
export function manPage(page: Page, markdown: string, release: string): string {
  const { name, section, about, seeAlso } = page;
  const references = seeAlso.map((text) => text.replace(/^(.*)(\(\d\))$/, '\\fB$1\\fR$2'));
  const text = lexer(markdown)
    .filter((token) => !(token.type === 'heading' && token.depth === 1))
    .map((token) => block(token))
    .join('');
  return [
    `.\\" Made of docs/${page.source} by \`npm run build\`: edit that page.\n`,
    `.TH ${name.toUpperCase()} ${section} "" "Flowtwin ${release}"\n`,
    `.SH NAME\n${name} \\- ${about}\n`,
    '.SH DESCRIPTION\n',
    text.replace(/^\.PP\n/, ''),
    `.SH SEE ALSO\n${references.join(', ')}\n`,
  ].join('');
}

function block(token: Token): string {
  switch (token.type) {
    case 'space':
      return '';
    case 'heading':
      return heading(token as Tokens.Heading);
    case 'paragraph':
      return `.PP\n${lines(inline(token.tokens ?? []))}`;
    case 'text':
      return lines(inline(token.tokens ?? [token]));
    case 'code':
      return `.PP\n.RS 4\n.EX\n${lines(verbatim(token.text as string), true)}.EE\n.RE\n`;
    case 'list':
      return list(token as Tokens.List);
    case 'table':
      return table(token as Tokens.Table);
    case 'blockquote':
      return `.PP\n.RS 4\n${(token.tokens ?? []).map(block).join('')}.RE\n`;
    default:
      // What a page of docs/ does not use, a manual page need not know.
      throw new Error(`no manual page can be made of ${token.type}: ${token.raw}`);
  }
}

function heading({ depth, tokens }: Tokens.Heading): string {
  const text = inline(tokens).trim();
  return depth === 2 ? `.SH ${text.toUpperCase()}\n` : `.SS ${text}\n`;
}

function list({ items, ordered, start }: Tokens.List): string {
  if (items.every(({ raw }) => /^[-*] \[.*\]\(#/.test(raw))) return ''; // a table of contents
  const shown = items.map((item, i) => {
    const mark = ordered ? `${Number(start || 1) + i}. 4` : '\\(bu 2';
    const [first = '', ...rest] = item.tokens.map(block);
    return `.IP ${mark}\n${first.replace(/^\.PP\n/, '')}${rest.join('')}`;
  });
  return shown.join('');
}

function table({ header, rows }: Tokens.Table): string {
  return rows.map((row) => entry(header, row)).join('');
}

/** A row: tag, qualities, text. */
function entry(header: readonly Tokens.TableCell[], row: readonly Tokens.TableCell[]): string {
  const [tag = '', ...cells] = row.map(({ tokens }) => inline(tokens).trim());
  const text = cells.pop() ?? '';
  const between = cells.flatMap((cell, i) => {
    const title = inline(header[i + 1]?.tokens ?? []).trim();
    if (cell === '') return [];
    return [title === '' || title === 'value' ? cell : `${title}: ${cell}`];
  });
  const aside = between.length === 0 ? '' : `  (${between.join('; ')})`;
  const name = tag.includes('\\f') || tag === '' ? tag : `\\fB${tag}\\fR`;
  return `.TP\n${lines(`${name}${aside}`)}${lines(text === '' ? '\\&' : text)}`;
}

function inline(tokens: readonly Token[]): string {
  return tokens.map(span).join('');
}

function span(token: Token): string {
  const inner = (): string => inline('tokens' in token ? (token.tokens ?? []) : []);
  switch (token.type) {
    case 'text':
      return 'tokens' in token && token.tokens ? inner() : plain(unescaped(token.text as string));
    case 'escape':
      return plain(token.text as string);
    case 'codespan':
      return `\\fB${verbatim(unescaped(token.text as string))}\\fR`;
    case 'strong':
      return `\\fB${inner().replaceAll('\\fR', '\\fB')}\\fR`;
    case 'em':
      return `\\fI${inner()}\\fR`;
    case 'link':
      return inner();
    case 'br':
      return '\n.br\n';
    default:
      throw new Error(`no manual page can be made of ${token.type}: ${token.raw}`);
  }
}

/** The entities that the package writes. */
function unescaped(text: string): string {
  const entities = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' };
  return text.replace(/&(lt|gt|quot|#39|amp);/g, (entity) => entities[entity as '&lt;']);
}

function plain(text: string): string {
  return text.replaceAll('\\', '\\e').replace(/(?<![\w])-(?=[\w-])/g, '\\-');
}

function verbatim(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll("'", '\\(aq');
}

/** Whole lines; none of them looks like a macro. Empty ones count only in verbatim text. */
function lines(text: string, empty = false): string {
  return text
    .split('\n')
    .filter((line) => empty || line.trim() !== '')
    .map((line) => (line !== '.br' && /^[.']/.test(line) ? `\\&${line}` : line))
    .map((line) => `${line}\n`)
    .join('');
}

/** Every page, made anew: its path below `root` and its text. */
export function manPages(root: string): { path: string; text: string }[] {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  return PAGES.map((page) => ({
    path: `man/${page.name}.${page.section}`,
    text: manPage(page, readFileSync(join(root, 'docs', page.source), 'utf8'), version),
  }));
}

function write(root: string): void {
  mkdirSync(join(root, 'man'), { recursive: true });
  for (const { path, text } of manPages(root)) {
    const file = join(root, path);
    if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
    writeFileSync(file, text);
    console.log(`wrote ${path}`);
  }
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] === self) write(dirname(dirname(dirname(self))));
