/** Helpers for errors. */

/** The message of an error, also if the thrown value is not an Error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Runs work that its caller does not wait for. `failed` is called with the error if it throws, and `ended` at the end
 * in any case. Leave `failed` out when the error is reported elsewhere or shows by itself.
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
