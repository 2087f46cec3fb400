// The best of many: a heap that keeps the highest scores it was offered and forgets the rest, so that
// a million candidates cost no more memory than the rows that are shown.

export interface Best<T> {
  /** Offers a candidate; `keep` makes what is stored, only if it is good enough. */
  offer(candidate: T, keep: () => T): void;
  /** What was kept, best first. */
  sorted(): T[];
}

/** Keeps the `most` candidates of the highest score. */
export function best<T>(most: number, score: (candidate: T) => number): Best<T> {
  // A binary heap with the worst on top: it is the one to go.
  const items: T[] = [];
  const scores: number[] = [];
  const swap = (i: number, k: number): void => {
    [items[i], items[k]] = [items[k]!, items[i]!];
    [scores[i], scores[k]] = [scores[k]!, scores[i]!];
  };
  const rise = (i: number): void => {
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (scores[parent]! <= scores[i]!) return;
      swap(i, parent);
      i = parent;
    }
  };
  const sink = (i: number): void => {
    for (;;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < items.length && scores[child]! < scores[least]!) least = child;
      }
      if (least === i) return;
      swap(i, least);
      i = least;
    }
  };
  return {
    offer(candidate, keep) {
      const value = score(candidate);
      if (items.length < most) {
        items.push(keep());
        scores.push(value);
        rise(items.length - 1);
      } else if (most > 0 && value > scores[0]!) {
        items[0] = keep();
        scores[0] = value;
        sink(0);
      }
    },
    sorted() {
      const order = items.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]!);
      return order.map((i) => items[i]!);
    },
  };
}
