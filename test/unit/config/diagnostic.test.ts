/*
 * What an administrator sees of a mistake: its place, its line, and how to put it right.
 */

import { describe, expect, test } from 'vitest';
import { nearestWord } from '../../../src/config/diagnostic.js';
import { type Diagnostic, formatDiagnostic, parseConfig } from '../../../src/config/index.js';

function only(text: string): Diagnostic {
  const { diagnostics } = parseConfig(text, '/etc/conntrackd/conntrackd.conf');
  expect(diagnostics).toHaveLength(1);
  return diagnostics[0]!;
}

describe('places', () => {
  test.each([
    ['General {\n  HashSize abc\n}\n', 2, 12, 'abc'],
    ['General {\n\tHashSize\n}\n', 3, 1, '}'],
    ['General {\n  HashSize 1\n', 3, 1, ''],
    ['General {\n  HashSize 1', 2, 13, ''],
    ['General { }\r\nFoo { }\r\n', 2, 1, 'Foo'],
    ['# \u00e9\nGeneral { # \ud83d\ude00\n x }', 3, 2, 'x'],
    ['\ufeffrubbish', 1, 1, 'rubbish'],
    ['General { LogFile "/x" }', 1, 19, '"'],
    ['General {\n\n\n  UNIX {\n    Path relative\n', 5, 10, 'relative'],
  ])('%j', (text, line, column, token) => {
    const d = only(text);
    expect(d).toMatchObject({ severity: 'error', line, column, token });
    expect(d.message).toBe(
      `parsing config file in line (${line}), symbol '${token}': syntax error`,
    );
  });

  test('warnings of earlier lines precede the error of a later one', () => {
    const { config, diagnostics } = parseConfig(
      'General {\n UNIX { Backlog 20 Path /x }\n Syslog kern\n Foo\n}',
      'c.conf',
    );
    expect(config).toBeUndefined();
    expect(diagnostics.map((d) => [d.severity, d.line])).toEqual([
      ['warning', 2],
      ['warning', 3],
      ['error', 4],
    ]);
  });
});

describe('hints', () => {
  test.each([
    ['General { HashLimt 5 }', 'did you mean `HashLimit`?'],
    ['General { Lockfile /x }', 'did you mean `LockFile`?'],
    ['general { }', 'did you mean `General`?'],
    ['Helper { Type ftp inet tcp { Policy ftp { ExpecTimeout 3 } } }', '`ExpectTimeout`'],
    ['General { Filter { Protocol Acept { } } }', 'did you mean `Accept`?'],
    ['General { Filter { State Accept { ESTABLISHD for TCP } } }', '`ESTABLISHED`'],
    ['General { Filter { State Accept { ESTABLISHED } } }', '`for TCP`'],
    ['Stats { NetlinkEventsReliable on }', 'it belongs in `General`'],
    ['HashSize 5', 'outside all sections; it belongs in `General`'],
    ['Sync { TCPWindowTracking on }', 'it belongs in `Options`'],
    ['General { HashSize = 5 }', 'only, without `=`'],
    ['General { HashSize 5; }', 'without `;`'],
    ['General { LogFile "/x" }', 'without quotes'],
    ['General { NetlinkBufferSize 2M }', 'no suffix like K or M'],
    ['General { HashSize 0x400 }', 'no 0x'],
    ['General { PollSecs 1.5 }', 'no fraction'],
    ['General { Systemd true }', '`Systemd` takes `on` or `off`'],
    ['General { LockFile x }', 'an absolute path'],
    ['General { HashSize\n}', '`HashSize` takes a number, but none follows in line 1'],
    ['General { HashSize 1\n', 'the closing brace of `General` (line 1) is missing'],
    ['Sync {\n UDP {\n', 'the closing brace of `UDP` (line 2) is missing'],
    ['General { } }', 'a closing brace too many'],
    ['General HashSize 1', '`General` is a section'],
    ['Sync { Mode FT-FW { } }', '`FTFW`, `ALARM` and `NOTRACK`'],
    ['General { HashSize\u00a05 }', 'only ASCII'],
    ['General { Filter { Address Ignore { IPv4_address 10.0.0.0/8.0 } } }', '10.0.0.0/8'],
    ['General { Workers many }', '`Workers` takes a number or `auto`'],
    ['Helper { Type fpt inet tcp { } }', 'did you mean `ftp`?'],
    ['Helper { Type ftp inet udp { } }', 'exists for tcp, not for udp'],
  ])('%j', (text, hint) => {
    expect(only(text).hint).toContain(hint);
  });

  test('words that resemble nothing get no suggestion', () => {
    expect(only('General { Xyzzy on }').hint).toBeUndefined();
    expect(nearestWord('Port', ['Path', 'Group'])).toBeUndefined();
    expect(nearestWord('Intreface', ['Interface', 'Multicast'])).toBe('Interface');
    expect(nearestWord('x'.repeat(1000), ['Interface'])).toBeUndefined();
  });
});

describe('formatDiagnostic', () => {
  test("file, place, the daemon's text, line, caret and hint", () => {
    expect(formatDiagnostic(only('General {\n\tHashLimt 5\n}\n')).split('\n')).toEqual([
      '/etc/conntrackd/conntrackd.conf:2:2: error: ' +
        "parsing config file in line (2), symbol 'HashLimt': syntax error",
      '    \tHashLimt 5',
      '    \t^~~~~~~~',
      '    hint: did you mean `HashLimit`?',
    ]);
  });

  test('a whole-file diagnostic has no place', () => {
    const d: Diagnostic = {
      severity: 'error',
      message: 'm',
      file: 'f',
      line: 0,
      column: 0,
      token: '',
      source: '',
    };
    expect(formatDiagnostic(d)).toBe('f: error: m');
    expect(formatDiagnostic({ ...d, line: 3 })).toBe('f:3: error: m');
  });

  test('a very long line is cut to the place of the error', () => {
    const text = `General { ${'HashSize 1 '.repeat(200)} Foo ${'HashSize 1 '.repeat(200)} }`;
    const [, source, caret] = formatDiagnostic(only(text)).split('\n');
    expect(source!.length).toBeLessThan(120);
    expect(source!.slice(caret!.indexOf('^'), caret!.lastIndexOf('~') + 1)).toBe('Foo');
  });

  test('control characters do not reach the terminal', () => {
    const shown = formatDiagnostic(only('General { \u001b[31m }'));
    expect(shown).not.toContain('\u001b');
    expect(shown).toContain('\\x1b');
  });
});
