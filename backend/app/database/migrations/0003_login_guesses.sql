-- Token buckets of the limit on failed logins, one table for all backends. Unlogged: counting waits for no standby, and a
-- failover finds the table empty, which means full buckets.
CREATE UNLOGGED TABLE IF NOT EXISTS public.login_guesses (
  key   bytea PRIMARY KEY,
  level double precision NOT NULL,
  at    timestamptz NOT NULL
) WITH (fillfactor = 50);
