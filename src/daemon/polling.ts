// PollSecs: instead of following events, the kernel's table is read every few seconds. What is new or
// changed is told to the peers, what has vanished is buried. A flow that lives shorter than the
// interval is never seen. A read that takes longer than the interval delays the next one.
//
// Runs on main; the read itself goes in slices (kernel/table.ts) and never holds up the data plane.

export class Polling {
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  /** `read` compares the caches with the kernel once; `failed` hears why it could not. */
  constructor(
    private readonly seconds: number,
    private readonly read: () => Promise<unknown>,
    private readonly failed: (error: unknown) => void,
  ) {}

  start(): void {
    this.timer = setTimeout(() => void this.poll(), this.seconds * 1000);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async poll(): Promise<void> {
    const start = performance.now();
    await this.read().catch(this.failed);
    if (this.stopped) return;
    const left = this.seconds * 1000 - (performance.now() - start);
    this.timer = setTimeout(() => void this.poll(), Math.max(0, left));
  }
}
