/** The config key `poolRoles`: further roles that have a port of the pooler, each with its SCRAM verifier. */
import { z } from 'zod';
import { ScramVerifier } from '../failover/contract/pooler';

/** Most roles beside the stack's own one: each is a process of its own. */
export const POOL_ROLES_MAX = 8;
/** PgBouncer keeps this name for its own console. */
export const CONSOLE_NAME = 'pgbouncer';

export const POOL_ROLES_ALLOWED =
  `a JSON object with at most ${POOL_ROLES_MAX} roles, each with its SCRAM-SHA-256 verifier ` +
  '(SELECT rolpassword FROM pg_authid)';

const isRole = (name: string): boolean =>
  name !== '' && Buffer.byteLength(name) <= 63 && !/\p{Cc}/u.test(name) && name !== CONSOLE_NAME;

/** The text that Pulumi passes. A message names the role and never its verifier. */
export const PoolRoles = z.string().transform((raw, context): Readonly<Record<string, string>> => {
  const refuse = (message: string) => {
    context.addIssue({ code: 'custom', message: `poolRoles: ${message}; must be ${POOL_ROLES_ALLOWED}` });
    return z.NEVER;
  };
  let given: unknown;
  try {
    given = JSON.parse(raw);
  } catch {
    return refuse('(hidden) is no JSON');
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return refuse('(hidden) is no object');
  const roles = Object.entries(given);
  if (roles.length > POOL_ROLES_MAX) return refuse(`${roles.length} roles are refused`);
  for (const [role, verifier] of roles) {
    if (!isRole(role)) return refuse(`the name ${JSON.stringify(role)} is refused`);
    if (!ScramVerifier.safeParse(verifier).success) return refuse(`the verifier of ${JSON.stringify(role)} is refused`);
  }
  return Object.fromEntries(roles.sort(([a], [b]) => (a < b ? -1 : 1))) as Record<string, string>;
});
