-- What the keeper checks and makes again inside PostgreSQL on a leader (mustache; read by furnish.ts). Each object has
-- the place where it is checked and made (`anywhere`: any database; `home`: only the failover's own one), its name for
-- people, and the condition that must be true. $1 and $2 are the password verifiers of the monitor's and the replication
-- role; $3 to $6 are those of `lacks`; t has the object ids. `make`: the statements that make it; `replace`: what has its name is dropped before that.
-- The objects without statements are made by furnish.ts itself. They are made in this order.

--- ids
-- OFFSET 0 keeps this a query of its own, so that each id is looked up once.
SELECT (SELECT oid FROM pg_authid WHERE rolname = '{{{monitorRole}}}') AS monitor,
  (SELECT oid FROM pg_authid WHERE rolname = '{{{replicationRole}}}') AS replication,
  (SELECT oid FROM pg_authid WHERE rolname = '{{{keeperRole}}}') AS keeper,
  (SELECT oid FROM pg_database WHERE datname = '{{{home}}}') AS home, to_regnamespace('failover')::oid AS schema,
  to_regclass('failover.canary')::oid AS canary, to_regclass('{{{beat}}}')::oid AS beat,
  {{{applied}}} AS applied, (SELECT rolpassword FROM pg_authid WHERE rolname = $3::text::name) AS stored OFFSET 0

--- lacks
-- What was made at bootstrap belongs to people: it is told, and not made again. $3 is the application's role, $4 its
-- database; null: there are none yet. $6 is the verifier of the role's password in the program, $5 the verifier's digest.
CASE WHEN $3::text IS NULL THEN NULL
WHEN NOT EXISTS (SELECT FROM pg_authid WHERE rolname = $3::text::name AND rolcanlogin AND rolconnlimit <> 0
    AND (rolvaliduntil IS NULL OR rolvaliduntil > now()))
  THEN format('no client can log in as %I: a person renamed or dropped this role, or forbade it to log in', $3::text)
WHEN NOT EXISTS (SELECT FROM pg_database WHERE datname = $4::text::name AND datallowconn AND datconnlimit NOT IN (0, -2))
  THEN format('no client can enter the database %I: a person renamed, dropped or closed it', $4::text)
WHEN NOT has_database_privilege($3::text::name, $4::text::name, 'CONNECT')
  THEN format('%I may not enter the database %I: a person revoked CONNECT', $3::text, $4::text)
WHEN EXISTS ({{{withBarred}}} SELECT FROM pg_authid r JOIN barred USING (oid) WHERE rolname = $3::text::name)
  THEN format('no client can log in as %I: a person gave it the rights of a superuser, of REPLICATION or of the failover',
    $3::text)
WHEN t.applied = $5::text AND t.stored IS DISTINCT FROM $6::text
  THEN format('the password of %I was changed by SQL, and the program has another one: npm run failover -- password',
    $3::text) END

--- object anywhere: role {{{keeperRole}}}
EXISTS (SELECT FROM pg_authid WHERE oid = t.keeper AND rolcanlogin AND rolsuper)

--- object anywhere: role {{{monitorRole}}}
EXISTS (SELECT FROM pg_authid WHERE oid = t.monitor AND rolcanlogin AND rolinherit AND rolconnlimit = -1
  AND (rolvaliduntil IS NULL OR rolvaliduntil = 'infinity') AND rolpassword = $1::text)

--- object anywhere: role {{{replicationRole}}}
EXISTS (SELECT FROM pg_authid WHERE oid = t.replication AND rolcanlogin AND rolinherit AND rolconnlimit = -1
  AND (rolvaliduntil IS NULL OR rolvaliduntil = 'infinity') AND rolreplication AND rolpassword = $2::text)

--- object anywhere: {{{password}}}
-- The program's password is put in force when it has changed, and stays as SQL changed it otherwise.
$5::text IS NULL OR t.applied IS NOT DISTINCT FROM $5::text
  OR NOT EXISTS (SELECT FROM pg_authid WHERE rolname = $3::text::name)

--- object anywhere: database {{{home}}}
-- A lower connection limit might lock out the monitor or a standby.
EXISTS (SELECT FROM pg_database WHERE oid = t.home AND datallowconn AND (datconnlimit = -1 OR datconnlimit >= 20))

--- object anywhere: CONNECT to database {{{home}}}
has_database_privilege(t.monitor, t.home, 'CONNECT') AND has_database_privilege(t.replication, t.home, 'CONNECT')
--- make
GRANT CONNECT ON DATABASE {{{home}}} TO {{{monitorRole}}}, {{{replicationRole}}};

--- object home: grants of the internal roles
pg_has_role(t.monitor, 'pg_monitor', 'USAGE') AND pg_has_role(t.monitor, 'pg_use_reserved_connections', 'USAGE')
  AND pg_has_role(t.replication, 'pg_read_all_stats', 'USAGE')
  AND has_schema_privilege(t.monitor, 'pg_catalog', 'USAGE')
  AND has_schema_privilege(t.replication, 'pg_catalog', 'USAGE')
{{#grantedSettings}}
  AND has_parameter_privilege(t.monitor, '{{{.}}}', 'SET') AND has_parameter_privilege(t.replication, '{{{.}}}', 'SET')
{{/grantedSettings}}
{{#commonFunctions}}
  AND has_function_privilege(t.monitor, '{{{.}}}', 'EXECUTE')
  AND has_function_privilege(t.replication, '{{{.}}}', 'EXECUTE')
{{/commonFunctions}}
{{#rewindFunctions}}
  AND has_function_privilege(t.replication, '{{{.}}}', 'EXECUTE')
{{/rewindFunctions}}
--- make
GRANT pg_monitor, pg_use_reserved_connections TO {{{monitorRole}}} WITH INHERIT TRUE;
GRANT pg_read_all_stats TO {{{replicationRole}}} WITH INHERIT TRUE;
GRANT USAGE ON SCHEMA pg_catalog TO {{{monitorRole}}}, {{{replicationRole}}};
GRANT SET ON PARAMETER {{{grantedSettings}}} TO {{{monitorRole}}}, {{{replicationRole}}};
GRANT EXECUTE ON FUNCTION {{{commonFunctions}}} TO {{{monitorRole}}}, {{{replicationRole}}};
GRANT EXECUTE ON FUNCTION {{{rewindFunctions}}} TO {{{replicationRole}}};

--- object home: schema failover
t.schema IS NOT NULL
--- make
CREATE SCHEMA IF NOT EXISTS failover;

--- object home: table failover.canary
EXISTS (SELECT FROM pg_class WHERE oid = t.canary AND relkind = 'r' AND relpersistence = 'p'
    AND NOT relrowsecurity AND NOT relhastriggers AND NOT relhasrules AND NOT relhassubclass)
  AND (SELECT string_agg(attname || ' ' || CASE atttypid WHEN 20 THEN 'bigint' WHEN 25 THEN 'text'
      WHEN 1184 THEN 'timestamptz' ELSE '?' END || ' ' || attnotnull, ',' ORDER BY attnum)
    FROM pg_attribute WHERE attrelid = t.canary AND attnum > 0 AND NOT attisdropped)
    = 'term bigint true,node text true,at timestamptz true'
  AND (SELECT count(*) FROM pg_constraint WHERE conrelid = t.canary) = 1
  AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = t.canary AND contype = 'p' AND conkey = '{2}')
--- replace
CREATE TABLE failover.canary (term bigint NOT NULL, node text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
GRANT USAGE ON SCHEMA failover TO {{{monitorRole}}};
GRANT SELECT, INSERT, UPDATE ON failover.canary TO {{{monitorRole}}};

--- object home: sequence {{{beat}}}
EXISTS (SELECT FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE s.seqrelid = t.beat
  AND c.relpersistence = 'p' AND s.seqmin <= 1 AND s.seqmax >= {{{beatMax}}})
--- replace
-- It begins at ten counts per second since 1970. The heartbeat counts at that rate, too, so a new sequence begins higher
-- than the lost one ended.
CREATE SEQUENCE {{{beat}}};
SELECT setval('{{{beat}}}', floor(extract(epoch FROM clock_timestamp()) * 10)::bigint, false);

--- object home: grants in schema failover
has_schema_privilege(t.monitor, t.schema, 'USAGE') AND has_table_privilege(t.monitor, t.canary, 'SELECT')
  AND has_table_privilege(t.monitor, t.canary, 'INSERT') AND has_table_privilege(t.monitor, t.canary, 'UPDATE')
--- make
GRANT USAGE ON SCHEMA failover TO {{{monitorRole}}};
GRANT SELECT, INSERT, UPDATE ON failover.canary TO {{{monitorRole}}};
