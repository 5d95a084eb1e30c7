/**
 * SQL about roles that the keeper, the command line and doctor share. Every session that uses it has `pg_catalog` as
 * its search path.
 */
import { createHash } from 'node:crypto';
import { KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE } from './naming';

/** The failover's own roles, as a list of SQL literals. */
const OWN_ROLES = [KEEPER_ROLE, MONITOR_ROLE, REPLICATION_ROLE].map((role) => `'${role}'`).join(', ');

/**
 * Begins a query in which `barred` has the ids of the roles that may not log in over the network: superusers, roles
 * with REPLICATION, the failover's own roles, and each role that can use the rights of one of these, directly or
 * through others. A membership that only lets a role grant (`ADMIN`) does not count: PostgreSQL lets only a superuser
 * grant a superuser's role.
 */
export const WITH_BARRED = `WITH RECURSIVE barred (oid) AS (
  SELECT oid FROM pg_authid WHERE rolsuper OR rolreplication OR rolname IN (${OWN_ROLES})
  UNION SELECT m.member FROM pg_auth_members m JOIN barred b ON b.oid = m.roleid WHERE m.inherit_option OR m.set_option)`;

/**
 * As {@link WITH_BARRED}, as `powerful`, without the roles that only have REPLICATION or the rights of one that has.
 */
export const WITH_POWERFUL = `WITH RECURSIVE powerful (oid) AS (
  SELECT oid FROM pg_authid WHERE rolsuper OR rolname IN (${OWN_ROLES})
  UNION SELECT m.member FROM pg_auth_members m JOIN powerful p ON p.oid = m.roleid
  WHERE m.inherit_option OR m.set_option)`;

/** Lower ids belong to PostgreSQL's own roles (its `FirstNormalObjectId`). */
export const FIRST_OID = 16_384;

/**
 * The digest of the program's password verifier that was put in force last, as text; null: none was. It is the comment
 * of the keeper's own role, because that is stored with the password, is replicated with it, and is the same in every
 * database. It tells nothing about the password.
 */
export const APPLIED_PASSWORD = `shobj_description((SELECT oid FROM pg_authid WHERE rolname = '${KEEPER_ROLE}'), 'pg_authid')`;

const DIGEST_HEAD = 'password sha256:';

/** The digest of a verifier, as {@link APPLIED_PASSWORD} has it. */
export function passwordDigest(verifier: string): string {
  return `${DIGEST_HEAD}${createHash('sha256').update(verifier).digest('hex')}`;
}

/**
 * SQL expression on a row of pg_authid: true when its password is not the one that the program put in force last; null
 * when the program has put none in force.
 */
export const PASSWORD_BY_SQL = `coalesce('${DIGEST_HEAD}' || encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex'), '') <> ${APPLIED_PASSWORD}`;

/** Statement after which the keeper of the leader puts the program's password in force. */
export const FORGET_PASSWORD = `COMMENT ON ROLE ${KEEPER_ROLE} IS NULL`;
