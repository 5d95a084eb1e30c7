/** Exit codes of the commands of `npm run failover`. Scripts may rely on the numbers (docs/cli.md). */

export const EXIT = {
  /** Done; `status`: writes go through; `doctor`: nothing is wrong. */
  ok: 0,
  /** Refused, failed or not confirmed; `status`: writes do not go through; `doctor`: something is broken. */
  failed: 1,
  /** Wrong arguments, or no such stack. */
  usage: 2,
  /** The monitor does not answer. */
  unreachable: 3,
  /** The token could not be read, or the monitor does not accept it. */
  token: 4,
  /** `doctor`: it works, but something needs attention before the next fault. */
  attention: 5,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An error that ends the command with a message for the person on stderr. */
export class Failed extends Error {
  constructor(
    readonly code: ExitCode,
    message: string,
  ) {
    super(message);
    this.name = 'Failed';
  }
}
