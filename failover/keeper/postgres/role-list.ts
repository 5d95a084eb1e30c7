/**
 * The list of the roles that may log in with their password. pg_hba.conf cannot ask whether a role is a superuser, so
 * the keeper of each node reads its own catalog and writes the names into a file that pg_hba.conf includes. A role that
 * is not in the file is refused. docs/roles.md describes it for people.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../contract/errors';
import { FIRST_OID, WITH_BARRED, WITH_POWERFUL } from '../../contract/role-sql';
import { writeWhole } from '../../disk/durable';
import { REPLICATORS_FILE, ROLES_FILE } from './config-files';
import type { Warning } from './data-folder';
import { type Session, sqlState } from './session';

/** Largest number of names. PostgreSQL compares each new session's role with one after the other. */
const ROLES_MAX = 20_000;
/** Shortest interval between two looks at the catalog, ms. A node at rest is looked at every 400 ms. */
const EVERY_MS = 900;
/** After an error PostgreSQL is not asked for this time, ms: a session may hold a lock on the catalog. */
const REST_MS = 5_000;
/** From this number of failures in a row on, they are logged. */
const FAILURES_TOLD = 2;

/** Changes with everything that the list depends on. */
const DIGEST = `
SELECT concat_ws(' ', r.n, r.h, m.n, m.h) AS digest
FROM (SELECT count(*) AS n, sum(hashnameextended(rolname, oid::int8 * 4 + rolsuper::int * 2 + rolreplication::int)) AS h
    FROM pg_authid) r,
  (SELECT count(*) AS n, sum(hashoidextended(roleid, member::int8 * 4 + inherit_option::int * 2 + set_option::int)) AS h
    FROM pg_auth_members) m`;

// A name comes as its bytes: it may have been made in a database of another encoding.
const ROLES = `${WITH_BARRED}
SELECT encode(namesend(rolname), 'hex') AS name
FROM pg_authid WHERE oid >= ${FIRST_OID} AND oid NOT IN (SELECT oid FROM barred) ORDER BY oid LIMIT ${ROLES_MAX + 1}`;

/**
 * The roles that may log in as clients of replication: with REPLICATION, and without the rights of a superuser or of
 * the failover's own roles.
 */
const REPLICATORS = `${WITH_POWERFUL}
SELECT encode(namesend(rolname), 'hex') AS name
FROM pg_authid WHERE rolreplication AND oid >= ${FIRST_OID} AND oid NOT IN (SELECT oid FROM powerful)
ORDER BY oid LIMIT ${ROLES_MAX + 1}`;

const ERRORS = 'SELECT error FROM pg_hba_file_rules() WHERE error IS NOT NULL LIMIT 1';

/**
 * A role's name, given as bytes, as one token of pg_hba.conf (PostgreSQL's hba.c, `next_token`). The quotes take the
 * special meaning from words like `all`, from `+`, `@`, commas, spaces and `#`. They do not take it from a leading `/`,
 * which makes the rest a regular expression. So such a name, and one that does not fit into a line, is written as the
 * regular expression that only this name matches.
 */
export function hbaToken(name: Buffer): string {
  const text = name.toString('utf8');
  const isPlain = !text.startsWith('/') && !/\p{Cc}/u.test(text) && Buffer.from(text).equals(name);
  const content = isPlain ? text : `/^${[...name].map(inExpression).join('')}$`;
  return `"${content.replaceAll('"', '""')}"`;
}

/** One byte of a name in a regular expression. hba.c matches bytes, because it does not know the encoding yet. */
function inExpression(byte: number): string {
  const char = String.fromCharCode(byte);
  return /[A-Za-z0-9_]/.test(char) ? char : `\\u${byte.toString(16).padStart(4, '0')}`;
}

/** True for a line that {@link hbaToken} may have made. */
export function isToken(line: string): boolean {
  return /^"(?!\/)(?:[^"\p{Cc}]|"")+"$/u.test(line) || /^"\/\^(?:[A-Za-z0-9_]|\\u00[0-9a-f]{2})+\$"$/.test(line);
}

/** The file's text. PostgreSQL needs at least one name, and no role has an empty one. */
export function renderRoles(tokens: readonly string[]): string {
  return ['# Written by the keeper: the roles that may log in with their password.', '""', ...tokens, ''].join('\n');
}

interface RoleListParts {
  /** Folder of the configuration. */
  conf: string;
  warning: Warning;
  /** Makes PostgreSQL read pg_hba.conf again. */
  reload: () => void;
  /**
   * Those that may log in as clients of replication, instead of those that may as clients.
   * @default false
   */
  replicators?: boolean;
}

export class RoleList {
  /** The names in the file, as tokens; null: this process has not written it yet. */
  private tokens: readonly string[] | null = null;
  /** The catalog's digest for which the list was made; null: the server was not asked yet. */
  private digest: string | null = null;
  private dueAtMs = Number.NEGATIVE_INFINITY;
  private asking: Promise<void> | null = null;
  /** Number of failures in a row. */
  private failures = 0;

  constructor(
    private readonly parts: RoleListParts,
    private readonly nowMs = () => performance.now(),
  ) {}

  /**
   * Writes the file before a start: with the names of the last life or, on a new node, the application's role alone,
   * until the server can be asked.
   */
  async begin(databaseUser: string): Promise<void> {
    this.forget();
    const { conf, replicators } = this.parts;
    this.tokens ??= (await storedIn(conf, this.file)) ?? (replicators ? [] : [hbaToken(Buffer.from(databaseUser))]);
    await mkdir(conf, { recursive: true, mode: 0o700 });
    await this.put(this.tokens);
  }

  private get file(): string {
    return this.parts.replicators ? REPLICATORS_FILE : ROLES_FILE;
  }

  /** The next look asks PostgreSQL, however short the last one is ago. */
  forget(): void {
    this.digest = null;
    this.soon();
  }

  soon(): void {
    this.dueAtMs = Number.NEGATIVE_INFINITY;
  }

  /**
   * Compares the list with the catalog, at most once in {@link EVERY_MS}. Never throws. Resolves at once, and goes on
   * in the background; with `waits`, before the first answer of a server, it resolves when the list is right.
   */
  async look(session: Session, waits: boolean): Promise<void> {
    if (this.asking === null && this.nowMs() >= this.dueAtMs) {
      this.dueAtMs = this.nowMs() + EVERY_MS;
      this.asking = this.refresh(session)
        .catch((error: unknown) => this.failed(error))
        .finally(() => {
          this.asking = null;
        });
    }
    if (waits && this.digest === null) await this.idle();
  }

  /** Resolves when no look is under way. */
  async idle(): Promise<void> {
    await this.asking;
  }

  private async refresh(session: Session): Promise<void> {
    const { digest } = await session.askOne<{ digest: string }>('role digest', DIGEST);
    this.failures = 0;
    if (digest === this.digest) return;
    const [name, text] = this.parts.replicators ? ['replicators', REPLICATORS] : ['roles', ROLES];
    const rows = await session.ask<{ name: string }>(name, text);
    const tokens = rows.slice(0, ROLES_MAX).map(({ name }) => hbaToken(Buffer.from(name, 'hex')));
    if (rows.length > ROLES_MAX) this.parts.warning.text = `only the first ${ROLES_MAX} roles may log in`;
    await this.replace(tokens, session);
    this.digest = digest;
  }

  /** Puts a list in force. PostgreSQL checks the file first; when it refuses it, the former list stays. */
  private async replace(tokens: readonly string[], session: Session): Promise<void> {
    const before = this.tokens;
    if (before !== null && before.join('\n') === tokens.join('\n')) return;
    await this.put(tokens);
    const [refused] = await session.query<{ error: string }>(ERRORS).catch(async (error: unknown) => {
      // Not known to be good, so it must not be there at the next start.
      await this.put(before ?? []);
      throw error;
    });
    if (refused !== undefined) {
      await this.put(before ?? []);
      this.parts.warning.text = `new roles cannot log in, PostgreSQL refuses the list of roles: ${refused.error}`;
      return;
    }
    this.tokens = tokens;
    this.parts.reload();
  }

  private async put(tokens: readonly string[]): Promise<void> {
    await writeWhole(this.parts.conf, this.file, renderRoles(tokens), 0o600, false);
  }

  /** The error of a broken session is not logged: the next look asks again. Others are logged when they repeat. */
  private failed(error: unknown): void {
    if (sqlState(error) === null && !(error instanceof Error && 'syscall' in error)) return;
    this.dueAtMs = this.nowMs() + REST_MS;
    this.failures += 1;
    if (this.failures < FAILURES_TOLD) return;
    this.parts.warning.text = `the list of the roles that may log in is not up to date: ${messageOf(error)}`;
  }
}

/** The names in the file of the last life; null: there is none. A line that is not whole is left out. */
async function storedIn(conf: string, file: string): Promise<string[] | null> {
  const text = await readFile(join(conf, file), 'utf8').catch(() => null);
  return text === null ? null : text.split('\n').filter(isToken);
}
