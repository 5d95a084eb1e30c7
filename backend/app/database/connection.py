"""Connections to PostgreSQL: always through HAProxy, at ``HAPROXY_URL``.

``HAPROXY_URL`` (for example ``postgresql://blink_user:…@haproxy:5432/blink_db``) comes from the environment or from the
file ``/etc/backend/secrets/haproxy_url``; ``HAPROXY_READ_URL`` names the read-only endpoint in the same way.

The password of that URL may be changed while the backend runs: ``learn-password`` (in the image) writes the new one to
a file, and from then on :class:`Passwords` tries both.

The pool is psycopg's. After a failed connect or a failed check it waits for one second at least, too long for a
failover that takes a fraction of a second. So :class:`Connection` dials again by itself after milliseconds, and
:func:`lease` looks for a closed socket itself.
"""

import asyncio
import logging
import os
import random
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import ConnParam
from psycopg.errors import Diagnostic
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from app.config import Settings
from app.metrics import Metrics

log = logging.getLogger(__name__)

CONNECT_SECONDS_MAX = 30
"""HAProxy holds a new connection while no leader is open (``holdTimeout``, 30 s). A held connection is no failure."""
DIAL_DELAY_SECONDS = 0.02
DIAL_DELAY_SECONDS_MAX = 0.5
COMPLAIN_EVERY_SECONDS = 10

BEGIN_SESSION = Path(__file__).with_name("begin_session.sql").read_text(encoding="utf-8")
"""The first statements of every session."""


class Passwords:
    """The password of the URL and, when there is one, the new password that ``learn-password`` wrote.

    The backend learns the new password before the role is changed. Until the change the old password opens
    connections, afterwards the new one. The password that opened the last connection is tried first.
    """

    def __init__(self, told_file: Path) -> None:
        self._told_file = told_file
        self._prefers_told = False

    async def connect(self, conninfo: str, options: dict[str, Any]) -> "Connection":
        """Dial once with each known password. Stop when it fails for another reason than the password."""
        told = self._told()
        ways: list[tuple[bool, dict[str, Any]]] = [(False, options)]
        if told is not None:
            ways.append((True, {**options, "password": told}))
            ways.sort(key=lambda way: way[0] != self._prefers_told)
        for is_last, (is_told, way) in ((way is ways[-1], way) for way in ways):
            try:
                connection = await Connection.plain_connect(conninfo, **way)
            except psycopg.OperationalError as error:
                if is_last or not _came_to_the_password(error):
                    raise
            else:
                self._prefers_told = is_told
                return connection
        raise AssertionError("there is always one way")

    def _told(self) -> str | None:
        try:
            return self._told_file.read_text() or None
        except FileNotFoundError:
            return None


def _came_to_the_password(error: psycopg.OperationalError) -> bool:
    """True when the server asked for the password before it refused: libpq reports no SQLSTATE of a failed connect."""
    return error.pgconn is not None and bool(error.pgconn.used_password)


class Dialler:
    """Opens the connections of one pool, a few at a time, and tries again until it is closed."""

    def __init__(self, pool: str, parallel: int, passwords: Passwords, metrics: Metrics) -> None:
        self._pool = pool
        self._passwords = passwords
        self._metrics = metrics
        self._slots = asyncio.Semaphore(parallel)
        self._dials: set[asyncio.Task[Connection]] = set()
        self._closed = False
        self._complained_at = float("-inf")

    def close(self) -> None:
        """Give up every connection under way. No query has been sent on them."""
        self._closed = True
        for dial in self._dials:
            dial.cancel()

    async def connect(self, conninfo: str, options: dict[str, Any]) -> "Connection":
        """Dial until a connection stands or :meth:`close` is called."""
        delay = DIAL_DELAY_SECONDS
        while not self._closed:
            dial = asyncio.create_task(self._dial(conninfo, options))
            self._dials.add(dial)
            try:
                connection = await dial
            except psycopg.Error as error:
                self._metrics.connects.labels(self._pool, "failed").inc()
                self._complain(error)
            except asyncio.CancelledError:
                dial.cancel()
                if not self._closed:
                    raise
                break
            else:
                self._metrics.connects.labels(self._pool, "made").inc()
                return connection
            finally:
                self._dials.discard(dial)
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - protects no secret
            delay = min(delay * 1.6, DIAL_DELAY_SECONDS_MAX)
        raise psycopg.OperationalError("the pool is closing")

    async def _dial(self, conninfo: str, options: dict[str, Any]) -> "Connection":
        async with self._slots:
            connection = await self._passwords.connect(conninfo, options)
            try:
                await connection.execute(BEGIN_SESSION.encode())
            except BaseException:
                await connection.close()
                raise
            return connection

    def _complain(self, error: psycopg.Error) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= COMPLAIN_EVERY_SECONDS:
            self._complained_at = now
            # libpq's message contains host and user of the URL, never the password.
            log.warning("cannot connect to PostgreSQL: %s", str(error).strip(), extra={"fields": {"pool": self._pool}})


class Connection(AsyncConnection[TupleRow]):
    """A connection that knows whether its last commit was local only and whether its peer has gone."""

    committed_locally: bool = False
    """Set by PostgreSQL's warning that the commit did not wait for its standby: not acknowledged (S7)."""

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, dialler: Dialler, **options: ConnParam
    ) -> "Connection":
        """Called by the pool."""
        return await dialler.connect(conninfo, options)

    @classmethod
    async def plain_connect(cls, conninfo: str, **options: Any) -> Self:  # noqa: ANN401 - libpq's own parameters
        """Dial once."""
        connection = await super().connect(conninfo, **options)
        connection.add_notice_handler(connection._on_notice)
        return connection

    def _on_notice(self, notice: Diagnostic) -> None:
        # SyncRepWaitForLSN is the only place that warns during a commit; its name does not depend on lc_messages.
        if notice.severity_nonlocalized == "WARNING" and notice.source_function in {"SyncRepWaitForLSN", None}:
            self.committed_locally = True

    def leads_to_primary(self) -> bool:
        """True when the server has said that it is in no recovery. Behind a pooler this may be unknown, so False."""
        return self.pgconn.parameter_status(b"in_hot_standby") == b"off"

    def is_usable(self) -> bool:
        """True when an idle connection is still open. Does not ask the server.

        If an idle connection has anything to read, that is its end (or a message before it), so it is not used again.
        """
        if self.closed or self.pgconn.socket < 0:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return not poll.poll(0)

    def sever(self) -> None:
        """Break the connection under a running statement. The code that waits for it gets an OperationalError.

        This sends no cancel: during COMMIT a cancel would turn "not replicated yet" into "done" (S7). psycopg sends one
        when the task is cancelled.
        """
        if not self.closed and self.pgconn.socket >= 0:
            with socket.socket(fileno=os.dup(self.pgconn.socket)) as duplicate:
                try:
                    duplicate.shutdown(socket.SHUT_RDWR)
                except OSError:
                    log.debug("the connection was broken already")


Pool = AsyncConnectionPool[Connection]


def make_pool(name: str, url: str, size: int, dialler: Dialler, settings: Settings) -> Pool:
    """A pool of fixed size: it neither grows nor shrinks, so no request waits for growth after a failover."""
    return AsyncConnectionPool(
        url,
        connection_class=Connection,
        kwargs={
            "dialler": dialler,
            "autocommit": True,  # a write is one statement, so it is one round trip and one transaction
            "prepare_threshold": None,  # statements work behind a transaction pooler, too
            "application_name": "backend",
            "connect_timeout": CONNECT_SECONDS_MAX,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "gssencmode": "disable",
        },
        min_size=size,
        max_size=size,
        max_waiting=settings.pool_queue,
        max_lifetime=3600,
        num_workers=settings.connect_parallel,
        name=name,
        open=False,
    )


@asynccontextmanager
async def lease(pool: Pool, deadline: float, metrics: Metrics) -> AsyncIterator[Connection]:
    """A usable connection, given back afterwards.

    Raises ``PoolTimeout`` at the deadline (the event loop's clock), ``TooManyRequests`` when the queue is full.
    """
    while True:
        connection = await pool.getconn(timeout=max(0, deadline - asyncio.get_running_loop().time()))
        if connection.is_usable():
            break
        metrics.stale.labels(pool.name).inc()
        await connection.close()
        await pool.putconn(connection)
    try:
        connection.committed_locally = False
        yield connection
    finally:
        await pool.putconn(connection)
