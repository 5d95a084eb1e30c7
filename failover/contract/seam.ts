/**
 * A step of a safety rule that a test can take out, to show that the simulator notices when the rule is missing. In the
 * shipped programs it is the function that it was made of; only tests call `replace`.
 */
type Step = (...args: never[]) => unknown;

export type Seam<F extends Step> = F & {
  /** Puts another function in the place of this one, made from it. */
  replace(make: (own: F) => F): void;
  /** Puts the function back that it was made of. */
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
