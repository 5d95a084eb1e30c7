/**
 * A seam is a function that a test can replace, to show that the simulator notices when a step of a safety rule is
 * missing. The shipped programs always run the original function; only tests call `replace`.
 */
type Step = (...args: never[]) => unknown;

export type Seam<F extends Step> = F & {
  /** Replaces the function by one that is made from it. */
  replace(make: (own: F) => F): void;
  /** Restores the original function. */
  restore(): void;
};

export function seam<F extends Step>(own: F): Seam<F> {
  let current = own;
  const call = ((...args: Parameters<F>) => current(...args)) as F;
  return Object.assign(call, {
    replace: (make: (own: F) => F) => {
      current = make(own);
    },
    restore: () => {
      current = own;
    },
  });
}
