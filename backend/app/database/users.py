"""The table ``users``."""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Error
from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from app.database.connection import Connection
from app.database.failures import CommittedLocallyError
from app.database.gateway import Gateway, ReplicaUnavailableError
from app.logs import describe
from app.metrics import Metrics
from app.security.rate_limit import Buckets

log = logging.getLogger(__name__)

# On a retry the row may be there already, by an attempt whose answer was lost. DO UPDATE finds it by its id before any
# other unique index is looked at, and writes WAL, so that this commit too waits for the standby (S7).
INSERT_USER = """
INSERT INTO public.users (username, email, password_hash, registration_id)
VALUES (%(username)s, %(email)s, %(password_hash)s, %(registration_id)s)
ON CONFLICT (registration_id) DO UPDATE SET registration_id = EXCLUDED.registration_id
RETURNING id, username, email, created_at, password_hash, xmax = 0 AS inserted
"""

# pg_current_wal_lsn fails on a standby, so that an old password is never checked against an old row. A bucket fills
# evenly within a minute; a login that finds less than one token in it has to wait. Both sides of each operator have
# exactly the types of PostgreSQL's own one, here and below: an operator that somebody makes in public for a nearer pair
# of types would be taken instead.
SELECT_FOR_LOGIN = """
SELECT id, password_hash, lsn, wait_seconds
FROM (
  SELECT pg_current_wal_lsn()::text AS lsn, (
    SELECT greatest(0, max(ceil(60::float8 * (1::float8 - level) / size::float8
      - extract(epoch FROM clock_timestamp() - at)::float8)))::integer
    FROM public.login_guesses JOIN (VALUES
      (%(account_key)s::bytea, %(account_size)s::integer), (%(address_key)s::bytea, %(address_size)s::integer)
    ) AS bucket (key, size) USING (key)
  ) AS wait_seconds
) AS leader LEFT JOIN public.users ON username = %(name)s OR email = %(name)s
ORDER BY username = %(name)s DESC NULLS LAST LIMIT 1
"""

# A level may fall below zero: guesses that are checked at the same time all count, and later logins wait for them.
# Both rows in one statement, the account's always first, so that no two of these wait for each other.
COUNT_FAILURE = """
INSERT INTO public.login_guesses AS failures (key, level, at) VALUES
  (%(account_key)s, %(account_size)s::integer - 1, clock_timestamp()),
  (%(address_key)s, %(address_size)s::integer - 1, clock_timestamp())
ON CONFLICT (key) DO UPDATE SET at = EXCLUDED.at, level = EXCLUDED.level + least(0::float8,
  failures.level - EXCLUDED.level - 1::float8
  + (EXCLUDED.level + 1::float8) * extract(epoch FROM EXCLUDED.at - failures.at)::float8 / 60::float8)
"""

# After a minute without another failure, a bucket that was above zero is full, which is what a missing row means.
SWEEP_FAILURES = """
DELETE FROM public.login_guesses
WHERE at < clock_timestamp() - interval '1 minute' * (1::float8 + greatest(0::float8, -level))
"""

# Only the count is written here. It may be lost, so the commit waits neither for a disk nor for a standby.
COUNT_ASYNCHRONOUSLY = "SET LOCAL synchronous_commit = off"
# A database that a person has set to read-only takes no user's data, but guesses count there, too.
COUNT_ANYWAY = "SET LOCAL transaction_read_only = off"
COUNT_SECONDS = 2
SWEEP_EVERY = 500
"""Failed logins of this process from one sweep to the next."""

SELECT_USER = "SELECT id, username, email, created_at FROM public.users WHERE id = %s"

# No position (not in recovery): the read endpoint fell back to the leader, which is always fresh.
IS_FRESH = "SELECT coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, true)"

UPGRADE_HASH = "UPDATE public.users SET password_hash = %s WHERE id = %s AND password_hash = %s"


@dataclass(frozen=True)
class User:
    """The fields that may be shown to the user."""

    id: int
    username: str
    email: str
    created_at: datetime


@dataclass(frozen=True)
class Registered(User):
    """A registration's row; ``inserted`` is false when an earlier attempt had made it."""

    password_hash: str
    inserted: bool


@dataclass(frozen=True)
class LoginRow:
    """What a login needs: id and hash are None for an unknown name; ``lsn`` is the leader's position.

    ``wait_seconds`` is above 0 when too many logins failed lately; then no password may be checked.
    """

    id: int | None
    password_hash: str | None
    lsn: str
    wait_seconds: int


class TakenError(Exception):
    """Username or email belongs to another person; ``field`` says which."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Users:
    """Reads and writes of ``users``."""

    def __init__(self, gateway: Gateway, metrics: Metrics) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._failures = 0

    async def register(self, registration_id: UUID, username: str, email: str, password_hash: str) -> Registered:
        """Add a user, once for each ``registration_id`` however often it is tried. Raises :class:`TakenError`."""
        values = {
            "username": username,
            "email": email,
            "password_hash": password_hash,
            "registration_id": registration_id,
        }

        async def insert(connection: Connection) -> Registered:
            cursor = connection.cursor(row_factory=class_row(Registered))
            try:
                await cursor.execute(INSERT_USER, values)
            except UniqueViolation:
                # The row may be from an earlier attempt of this registration, which was committing at the same moment:
                # PostgreSQL met its username before its id. Now it is committed, so this time its id is found.
                await cursor.execute(INSERT_USER, values)
            row = await cursor.fetchone()
            assert row is not None  # noqa: S101 - DO UPDATE returns a row always
            return row

        try:
            row = await self._gateway.write("register", insert)
        except UniqueViolation as error:
            constraint = error.diag.constraint_name or ""
            raise TakenError("email" if "email" in constraint else "username") from None
        if not row.inserted:
            self._metrics.confirmed.inc()
        return row

    async def for_login(self, name: str, buckets: Buckets) -> LoginRow:
        """Look a user up by username or email, on the leader: a login is never answered from old data."""

        async def select(connection: Connection) -> LoginRow:
            cursor = connection.cursor(row_factory=class_row(LoginRow))
            row = await (await cursor.execute(SELECT_FOR_LOGIN, {"name": name, **asdict(buckets)})).fetchone()
            assert row is not None  # noqa: S101 - a left join from one row
            return row

        return await self._gateway.read("login", select)

    async def count_failure(self, buckets: Buckets) -> None:
        """Count a failed login, in one attempt. A failover loses the count; an answer that waits would be worse."""
        self._failures += 1
        sweeps = self._failures % SWEEP_EVERY == 0

        async def count(connection: Connection) -> None:
            async with connection.pipeline(), connection.transaction():
                await connection.execute(COUNT_ANYWAY)
                await connection.execute(COUNT_ASYNCHRONOUSLY)
                await connection.execute(COUNT_FAILURE, asdict(buckets))
                if sweeps:
                    await connection.execute(SWEEP_FAILURES)

        try:
            await self._gateway.once(count, COUNT_SECONDS)
        except (Error, CommittedLocallyError) as error:
            log.info("a failed login was not counted", extra={"fields": {"cause": describe(error)}})

    async def upgrade_hash(self, user_id: int, old_hash: str, new_hash: str) -> None:
        """Replace a password hash that has outdated parameters, unless it changed meanwhile."""

        async def update(connection: Connection) -> None:
            await connection.execute(UPGRADE_HASH, [new_hash, user_id, old_hash])

        await self._gateway.write("upgrade_hash", update)

    async def by_id(self, user_id: int, lsn: str) -> User | None:
        """A user as of the leader's position ``lsn`` or later (read your writes).

        A replica answers where it has replayed that far; else, and whenever it has no such row, the leader does.
        """
        try:
            user, result = await self._gateway.read_replica(lambda c: _select_if_fresh(c, user_id, lsn))
        except ReplicaUnavailableError:
            user, result = None, "unavailable"
        self._metrics.replica_reads.labels(result).inc()
        return user or await self._gateway.read("me", lambda c: _select(c, user_id))


async def check_tables(connection: Connection) -> None:
    """Have PostgreSQL plan each statement, and run none. Raises its error when a table does not fit or is forbidden."""
    values: dict[str, Any] = {"username": "", "email": "", "password_hash": "", "registration_id": None, "name": ""}
    values |= {"account_key": b"", "account_size": 1, "address_key": b"", "address_size": 1}
    for statement in (INSERT_USER, SELECT_FOR_LOGIN, COUNT_FAILURE):
        await connection.execute(f"EXPLAIN {statement}".encode(), values)


async def _select(connection: Connection, user_id: int) -> User | None:
    cursor = connection.cursor(row_factory=class_row(User))
    return await (await cursor.execute(SELECT_USER, [user_id])).fetchone()


async def _select_if_fresh(connection: Connection, user_id: int, lsn: str) -> tuple[User | None, str]:
    # Two statements, the position first: within one, the row's snapshot would be older than the position. One
    # transaction, so that a pooler or a balancer cannot send them to two nodes; a pipeline, so it is one round trip.
    async with connection.pipeline(), connection.transaction():
        fresh = await connection.execute(IS_FRESH, [lsn])
        cursor = connection.cursor(row_factory=class_row(User))
        await cursor.execute(SELECT_USER, [user_id])
        is_fresh = await fresh.fetchone()
        user = await cursor.fetchone()
    if is_fresh is None or not is_fresh[0]:
        return None, "behind"
    return user, "answered" if user else "not_found"
