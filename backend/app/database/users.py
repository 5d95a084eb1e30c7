"""The table ``users``."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg import Error
from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from app.database.connection import Connection
from app.database.failures import CommittedLocallyError
from app.database.gateway import Gateway, ReplicaUnavailableError
from app.logs import describe
from app.metrics import Metrics
from app.security.rate_limit import Guess

log = logging.getLogger(__name__)

# On a retry the row may be there already, by an attempt whose answer was lost. DO UPDATE finds it by its id before any
# other unique index is looked at, and writes WAL, so that this commit too waits for the standby (S7).
INSERT_USER = """
INSERT INTO users (username, email, password_hash, registration_id)
VALUES (%(username)s, %(email)s, %(password_hash)s, %(registration_id)s)
ON CONFLICT (registration_id) DO UPDATE SET registration_id = EXCLUDED.registration_id
RETURNING id, username, email, created_at, password_hash, xmax = 0 AS inserted
"""

# pg_current_wal_lsn fails on a standby, so that an old password is never checked against an old row. The token is taken
# before the password is checked, so that many guesses at once do not all pass. The account's bucket comes first: going
# on with an account whose bucket is empty does not empty the address's, which others may share.
SELECT_FOR_LOGIN = """
SELECT id, password_hash, lsn, allowed
FROM (
  SELECT pg_current_wal_lsn()::text AS lsn, CASE
    WHEN take_login_guess(%(account_key)s, %(account_size)s) THEN take_login_guess(%(address_key)s, %(address_size)s)
    ELSE false END AS allowed
) AS guess LEFT JOIN users ON username = %(name)s OR email = %(name)s
ORDER BY username = %(name)s DESC NULLS LAST LIMIT 1
"""

# One after the other: two logins that wait for each other's row would be a deadlock.
RETURN_GUESS = (
    "SELECT return_login_guess(%(account_key)s, %(account_size)s)",
    "SELECT return_login_guess(%(address_key)s, %(address_size)s)",
)
RETURN_GUESS_SECONDS = 2

# After a minute a bucket is full, which is what a missing row means.
SWEEP_GUESSES = "DELETE FROM login_guesses WHERE at < clock_timestamp() - interval '1 minute'"
SWEEP_EVERY = 1000
"""Logins of this process from one sweep to the next."""

SELECT_USER = "SELECT id, username, email, created_at FROM users WHERE id = %s"

# No position (not in recovery): the read endpoint fell back to the leader, which is always fresh.
IS_FRESH = "SELECT coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, true)"

UPGRADE_HASH = "UPDATE users SET password_hash = %s WHERE id = %s AND password_hash = %s"


@dataclass(frozen=True)
class User:
    """What may be shown to the user."""

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

    ``allowed`` is false when too many logins failed lately; then nothing may be checked.
    """

    id: int | None
    password_hash: str | None
    lsn: str
    allowed: bool


class TakenError(Exception):
    """Username or email belongs to another person; ``field`` tells which."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Users:
    """Reads and writes of ``users``."""

    def __init__(self, gateway: Gateway, metrics: Metrics) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._logins = 0

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
                # It may be our own row: an attempt that we lost sight of was committing at the same moment, and its
                # username was met before its id. By now it is committed, so the id is found this time.
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

    async def for_login(self, name: str, guess: Guess) -> LoginRow:
        """Look a user up by username or email, on the leader, and take a token of the limit on failed logins.

        A login is never answered from old data. One that is tried again in a failover may take a second token.
        """
        self._logins += 1
        if self._logins % SWEEP_EVERY == 0:
            self._in_background(SWEEP_GUESSES)

        async def select(connection: Connection) -> LoginRow:
            cursor = connection.cursor(row_factory=class_row(LoginRow))
            row = await (await cursor.execute(SELECT_FOR_LOGIN, {"name": name, **asdict(guess)})).fetchone()
            assert row is not None  # noqa: S101 - a left join from one row
            return row

        return await self._gateway.read("login", select)

    def return_guess(self, guess: Guess) -> None:
        """The password was right, or was never checked: the guess does not count. Nobody waits for it."""
        self._in_background(*RETURN_GUESS, values=asdict(guess))

    def _in_background(self, *statements: LiteralString, values: Mapping[str, object] | None = None) -> None:
        async def execute(connection: Connection) -> None:
            for statement in statements:
                await connection.execute(statement, values)

        async def attempt() -> None:
            try:
                await self._gateway.once(execute, RETURN_GUESS_SECONDS)
            except (Error, CommittedLocallyError) as error:
                log.info("the buckets of failed logins were not updated", extra={"fields": {"cause": describe(error)}})

        self._gateway.background(attempt())

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
