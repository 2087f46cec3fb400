// When the caches are compared with the kernel's table because events were lost. The comparison comes
// NetlinkOverrunResync seconds after the first loss, whatever is lost meanwhile: a stream of losses
// joins into one comparison after another and can postpone none. What is lost while one runs makes the
// next one due. A comparison that fails is tried again after the same delay.
//
// Runs on main; the comparison itself goes in slices (kernel/table.ts) and holds up nobody.

export interface ResyncParts {
  /** Seconds from a loss to the comparison; undefined: never. Asked at each loss. */
  delay: () => number | undefined;
  /** Compares once. */
  compare: () => Promise<unknown>;
  /** A comparison begins, or has failed. */
  begun: () => void;
  failed: (error: unknown) => void;
}

export class Resync {
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(private readonly parts: ResyncParts) {}

  /** Events were lost. */
  due(): void {
    const delay = this.parts.delay();
    if (delay === undefined || this.stopped || this.timer !== undefined) return;
    this.timer = setTimeout(() => void this.run(), delay * 1000);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private async run(): Promise<void> {
    this.timer = undefined;
    this.parts.begun();
    try {
      await this.parts.compare();
    } catch (error) {
      this.parts.failed(error);
      this.due();
    }
  }
}
