/** What to do with what was thrown. */

/** What a failure says, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Runs work that its caller does not wait for. `failed` gets what it threw; `ended` is called behind it, in any case.
 * Without `failed` an error is told elsewhere, or shows by itself.
 */
export function inBackground(
  work: () => Promise<unknown>,
  failed: (error: unknown) => void = () => undefined,
  ended: () => void = () => undefined,
): void {
  work()
    .catch(failed)
    .finally(ended)
    .catch(() => undefined);
}
