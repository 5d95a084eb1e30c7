"""Finds out by a commit that writes WAL whether the database takes writes, and through which node."""

import asyncio
import logging
import time
from dataclasses import dataclass

from psycopg import Error, InterfaceError, OperationalError
from psycopg.errors import ReadOnlySqlTransaction

from app.database.connection import Connection
from app.database.failures import CommittedLocallyError, RefusedError
from app.database.gateway import Gateway, refused
from app.database.users import check_tables
from app.errors import ApiError

log = logging.getLogger(__name__)

PROBE_SECONDS = 1.0
FRESH_SECONDS = 0.5
"""At most one commit is made in this time, however many requests ask."""

# A transactional message is WAL without a table. Its commit waits for the standby as a registration's does.
PROBE = """
SELECT coalesce(nullif(current_setting('cluster_name'), ''), host(inet_server_addr()), 'local'),
  current_setting('transaction_read_only') = 'on'
FROM pg_logical_emit_message(true, 'backend', 'ready')
"""


@dataclass(frozen=True)
class Probe:
    """A commit was made on ``node`` and took ``commit_ms``; ``node`` is None when it was not.

    ``refusal`` says why the backend cannot do its work although the database is there.
    """

    node: str | None
    commit_ms: float
    at: float
    refusal: ApiError | None = None


class Readiness:
    """Runs one probe at a time; requests that come meanwhile share its answer."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = asyncio.Lock()
        self._last = Probe(None, 0, at=-FRESH_SECONDS)

    async def probe(self) -> Probe:
        """The newest answer, at most ``FRESH_SECONDS`` old."""
        async with self._lock:
            if time.monotonic() - self._last.at >= FRESH_SECONDS:
                # A task of its own: a client that leaves must not cancel a commit (S7).
                task = self._gateway.background(self._ask())
                await asyncio.wait({task})
                self._last = task.result()
            return self._last

    async def _ask(self) -> Probe:
        begun = time.monotonic()
        node: str | None = None
        problem = self._gateway.schema_problem
        try:
            node = await self._gateway.once(_commit, PROBE_SECONDS)
        except (InterfaceError, OperationalError, CommittedLocallyError):
            log.debug("no commit within the limit")
        except Error as error:
            problem = error
        if not self._gateway.schema_known.is_set() or problem is not None:
            node = None
        now = time.monotonic()
        refusal = None if node is not None or problem is None else refused(problem)
        return Probe(node, round((now - begun) * 1000, 1), now, refusal)


async def _commit(connection: Connection) -> str:
    row = await (await connection.execute(PROBE)).fetchone()
    assert row is not None  # noqa: S101 - one row always
    if row[1]:  # a message is written all the same
        raise RefusedError(ReadOnlySqlTransaction())
    await check_tables(connection)
    return str(row[0])
