/*
 * Configuration: the text of conntrackd.conf in, a checked and typed `Config` or diagnostics out.
 *
 *   text ── lexer ──▶ tokens ── grammar ──▶ draft ── checks ──▶ config
 *
 * The daemon and every client invocation read the same file in the same way. `parseConfig` touches
 * nothing but its arguments and the system's protocol database (read once, at the first name that
 * needs it) and does not throw; `loadConfig` reads one file, synchronously, at the start of the
 * program. The result is frozen and belongs to nobody.
 *
 * Reference of the language: docs/configuration.md.
 */

import { readFileSync } from 'node:fs';
import { crossChecks } from './checks.js';
import { type Config, finish } from './config.js';
import type { Diagnostic } from './diagnostic.js';
import { parserOf, readDraft } from './grammar.js';
import { SyntaxFault } from './parser.js';

export { checkRuntime, type InterfaceState } from './checks.js';
export type * from './config.js';
export { type Diagnostic, formatDiagnostic, type Severity } from './diagnostic.js';
export { EXTENSIONS, type Extension } from './extensions.js';

export const DEFAULT_CONFIG_FILE = '/etc/conntrackd/conntrackd.conf';

export interface ConfigResult {
  /** Undefined if and only if a diagnostic is an error. */
  readonly config: Config | undefined;
  /** In the order of the file; warnings of earlier lines precede the error of a later one. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Parses the text of a configuration file; `file` only names it in diagnostics. */
export function parseConfig(text: string | Uint8Array, file: string): ConfigResult {
  const source = typeof text === 'string' ? text : new TextDecoder().decode(text);
  const p = parserOf(source, file);
  let config: Config | undefined;
  try {
    const draft = readDraft(p);
    crossChecks(p, draft);
    config = finish(draft, file, p.written);
  } catch (error) {
    // A syntax error has been reported; the parser does not go on after it.
    if (!(error instanceof SyntaxFault)) throw error;
  }
  const failed = p.diagnostics.some((d) => d.severity === 'error');
  return { config: failed ? undefined : config, diagnostics: p.diagnostics };
}

/** Reads and parses a file. A file that cannot be read is an error diagnostic. */
export function loadConfig(path: string): ConfigResult {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const diagnostic: Diagnostic = {
      severity: 'error',
      message: `can't open config file \`${path}'`,
      file: path,
      line: 0,
      column: 0,
      token: '',
      source: '',
      hint: error instanceof Error ? error.message : String(error),
    };
    return { config: undefined, diagnostics: [diagnostic] };
  }
  return parseConfig(bytes, path);
}
