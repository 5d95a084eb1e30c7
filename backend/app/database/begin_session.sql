-- Settings of every session of the backend, independent of ALTER ROLE ... SET, ALTER DATABASE ... SET and the server's file. With
-- the pooler, PgBouncer sets the same ones on each new connection of the backends' own pool: stack/pooler-config.ts makes its
-- statement from the lines ('name', 'value') of this file. A name that
-- this PostgreSQL does not know is left out. default_transaction_read_only is not here: a person who sets it wants no writes.
-- Logins go on then, and a registration is refused with a sentence (RefusedError).
--
-- Its own transaction is never serializable, which a standby refuses, and its first statement is SET, so that a role's
-- statement_timeout does not end the next one.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET statement_timeout = 0;
SELECT pg_catalog.set_config(name, value, false)
FROM (VALUES
  -- PostgreSQL puts pg_catalog before it when it is not named.
  ('search_path', 'public'),
  ('client_encoding', 'UTF8'),
  -- psycopg reads no time in another form.
  ('datestyle', 'ISO, MDY'),
  -- A higher level would hide the warning that a commit is local only (S7).
  ('client_min_messages', 'notice'),
  -- A standby refuses serializable.
  ('default_transaction_isolation', 'read committed'),
  ('default_transaction_deferrable', 'off'),
  ('exit_on_error', 'off'),
  -- The deadlines of this program end a statement, and never by a cancel (S7).
  ('lock_timeout', '0'),
  -- A session that was severed while it waits for a lock ends within this time. Otherwise a table that a person has locked
  -- fills the server with the sessions of requests that were answered long ago.
  ('client_connection_check_interval', '1s'),
  ('transaction_timeout', '0'),
  ('idle_session_timeout', '0'),
  ('idle_in_transaction_session_timeout', '10min'),
  ('synchronous_commit', 'on')
) AS own (name, value)
-- A role or database that lowers synchronous_commit would give up the promise unnoticed (S7).
WHERE pg_catalog.current_setting(name, true) IS NOT NULL
  AND (name <> 'synchronous_commit' OR pg_catalog.current_setting('synchronous_commit') IN ('off', 'local'));
COMMIT
