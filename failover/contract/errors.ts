/** What to do with what was thrown. */

/** What a failure says, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Lets work go on beside everything else. What it fails with is told elsewhere, or shows by itself: it is dropped here. */
export function inBackground(work: Promise<unknown>): void {
  work.catch(() => undefined);
}
