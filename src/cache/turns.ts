// One at a time: work that shares a buffer waits for its turn.

/** Runs asynchronous sections strictly one after the other, in the order of their arrival. */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  run<T>(section: () => Promise<T>): Promise<T> {
    const result = this.last.then(section, section);
    this.last = result.catch(() => undefined);
    return result;
  }
}
