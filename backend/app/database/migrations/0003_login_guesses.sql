-- Token buckets of the limit on failed logins, one table for all backends. Unlogged, and taken from with an asynchronous
-- commit: a login waits for no disk and no standby. A failover finds the table empty, which means full buckets.
CREATE UNLOGGED TABLE IF NOT EXISTS login_guesses (
  key   bytea PRIMARY KEY,
  level double precision NOT NULL,
  at    timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Takes a token from a bucket that holds `size` and fills evenly within a minute; false when none is there.
CREATE OR REPLACE FUNCTION take_login_guess(bucket bytea, size integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  INSERT INTO login_guesses AS g (key, level, at) VALUES (bucket, size - 1, clock_timestamp())
  ON CONFLICT (key) DO UPDATE SET
    level = least(size, g.level + size * extract(epoch FROM clock_timestamp() - g.at)::float8 / 60) - 1,
    at = clock_timestamp()
  WHERE least(size, g.level + size * extract(epoch FROM clock_timestamp() - g.at)::float8 / 60) >= 1;
  RETURN FOUND;
END
$$;

-- Returns a token that was not needed.
CREATE OR REPLACE FUNCTION return_login_guess(bucket bytea, size integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE login_guesses SET level = least(size, level + 1) WHERE key = bucket;
END
$$;
