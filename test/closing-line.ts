// A vitest reporter of one line, for people and machines that only read the end:
// `N passed, N failed, N skipped`.

import type { Reporter, TestModule } from 'vitest/node';

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) {
      let tests = 0;
      for (const test of module.children.allTests()) {
        counts[test.result().state]++;
        tests++;
      }
      // A file that could not be loaded has no tests to fail.
      if (tests === 0 && !module.ok()) counts.failed++;
    }
    const failed = counts.failed + errors.length;
    // After the default reporter's summary.
    process.on('exit', () => {
      console.log(`${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped`);
    });
  }
}
