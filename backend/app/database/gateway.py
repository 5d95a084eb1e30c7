"""The way to the database: every write and read of the API goes through :class:`Gateway`, within a budget of time.

Rules, and where they come from:

- A write is one statement that may be repeated (its caller made its id before the first try) and that writes WAL each
  time, so that a repeated one is acknowledged only when it is replicated (S7).
- No code sends a cancel (S7). An attempt runs in a task of its own, which neither a client that leaves nor a deadline
  nor a shutdown cancels. A request that cannot wait any longer is answered "outcome unknown", and its attempt goes on.
  Such attempts keep their connection, so the pool bounds their number, and abandoned sessions never pile up on the
  server.
- Some connections are kept free for reads, so that people can log in while all writes wait for a standby.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from psycopg import Error
from psycopg.errors import UniqueViolation
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from app.config import Settings
from app.database.connection import Connection, Dialler, Passwords, Pool, lease, make_pool
from app.database.failures import (
    NO_LEADER_STATES,
    SCHEMA_MISSING,
    CommittedLocallyError,
    RefusedError,
    is_ambiguous,
    leaves_connection_useless,
    reason_to_retry,
)
from app.errors import ApiError, unavailable
from app.logs import describe, describe_refusal
from app.metrics import Metrics

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

RETRY_DELAY_SECONDS = 0.01
RETRY_DELAY_SECONDS_MAX = 0.2
REPLICA_PAUSE_SECONDS = 1
"""After a failed read the backend does not ask the replica for this long."""


class ReplicaUnavailableError(Exception):
    """The replica did not answer in time; the leader has to."""


class _Attempts:
    """Results of one request's attempts so far."""

    def __init__(self) -> None:
        self.count = 0
        self.running = False
        self.ambiguous = False

    @property
    def outcome_unknown(self) -> bool:
        return self.ambiguous or self.running


class Gateway:
    """Pools, budget, and whether the schema is ready. Times are those of the event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._writers = asyncio.Semaphore(settings.pool_size - settings.pool_reserved)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._in_flight: set[Connection] = set()
        self._replica_paused_until = 0.0
        self.schema_known = asyncio.Event()
        """Set once the schema is complete, or :attr:`schema_problem` says why it is not."""
        self.schema_suspect = asyncio.Event()
        self.schema_checks = 0
        """How often the schema was found complete."""
        self.schema_problem: Error | None = None
        """Why the schema cannot be completed; None: it is complete, or that is not known."""
        self._diallers: list[Dialler] = []
        self._passwords = Passwords(settings.told_password_file)
        self._leader = self._make_pool("leader", settings.haproxy_url.get_secret_value(), settings.pool_size)
        self._replica: Pool | None = None
        if settings.haproxy_read_url is not None:
            url = settings.haproxy_read_url.get_secret_value()
            self._replica = self._make_pool("replica", url, settings.read_pool_size)
        metrics.watch_pools(lambda: {pool.name: pool.get_stats() for pool in self._pools()})

    def _make_pool(self, name: str, url: str, size: int) -> Pool:
        dialler = Dialler(name, self._settings.connect_parallel, self._passwords, self._metrics)
        self._diallers.append(dialler)
        return make_pool(name, url, size, dialler, self._settings)

    def _pools(self) -> list[Pool]:
        return [self._leader, *([self._replica] if self._replica else [])]

    async def open(self) -> None:
        """Start connecting. Does not wait: the application starts while the database is still away."""
        for pool in self._pools():
            await pool.open()

    async def close(self, wait_seconds: float) -> None:
        """Let writes under way end for ``wait_seconds``, then break and close all connections."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=wait_seconds)
        # The connections are broken so that the end of the event loop has nothing to cancel (S7).
        for connection in self._in_flight:
            connection.sever()
        for dialler in self._diallers:
            dialler.close()
        for pool in self._pools():
            await pool.close()

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a task that outlives its request and is waited for at shutdown."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def write(self, operation: str, work: Work[T]) -> T:
        """Run a repeatable write until it is acknowledged and replicated.

        Raises :class:`ApiError` 503 when the budget is used up, and every exception that no retry repairs.
        """
        attempts = _Attempts()
        deadline = self._deadline()
        task = self.background(self._write(operation, work, deadline, attempts))
        # asyncio.wait, unlike wait_for, cancels nothing: neither at its limit nor when the client leaves.
        await asyncio.wait({task}, timeout=self._settings.retry_budget_seconds)
        if task.done():
            return task.result()
        task.add_done_callback(_log_late_end)
        raise self._give_up(operation, outcome_unknown=attempts.outcome_unknown)

    async def read(self, operation: str, work: Work[T]) -> T:
        """Run a read on the leader until it answers. Raises as :meth:`write` does."""
        return await self._repeat(operation, lambda deadline: self._read_once(work, deadline), self._deadline())

    async def read_replica(self, work: Work[T]) -> T:
        """Run a read on the read-only endpoint, once and briefly. Raises :class:`ReplicaUnavailableError`."""
        now = asyncio.get_running_loop().time()
        if self._replica is None or now < self._replica_paused_until:
            raise ReplicaUnavailableError
        deadline = now + self._settings.replica_read_seconds
        try:
            async with lease(self._replica, deadline, self._metrics) as connection:
                return await self._guarded(connection, work, deadline)
        except Error as error:  # the pool's too
            self._replica_paused_until = asyncio.get_running_loop().time() + REPLICA_PAUSE_SECONDS
            log.info("the read endpoint did not answer; asking the leader", extra=_cause(error))
            raise ReplicaUnavailableError from error

    async def once(self, work: Work[T], seconds: float) -> T:
        """Run a repeatable statement on the leader a single time, without waiting for the schema."""
        deadline = asyncio.get_running_loop().time() + seconds
        async with lease(self._leader, deadline, self._metrics) as connection:
            result = await self._guarded(connection, work, deadline)
            if connection.committed_locally:
                raise CommittedLocallyError
            return result

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._settings.retry_budget_seconds

    async def _write(self, operation: str, work: Work[T], deadline: float, attempts: _Attempts) -> T:
        return await self._repeat(operation, lambda until: self._write_once(work, until, attempts), deadline, attempts)

    async def _repeat(
        self,
        operation: str,
        attempt: Callable[[float], Awaitable[T]],
        deadline: float,
        attempts: _Attempts | None = None,
    ) -> T:
        attempts = attempts or _Attempts()
        delay = 0.0
        missed_at: int | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await self.schema_known.wait()
                if self.schema_problem is not None:
                    raise refused(self.schema_problem)
                attempts.count += 1
                return await attempt(deadline)
            except (TimeoutError, PoolTimeout, PoolClosed):
                raise self._give_up(operation, outcome_unknown=attempts.outcome_unknown) from None
            except TooManyRequests:
                raise unavailable("overloaded", "Too many requests are waiting for the database.") from None
            except (Error, CommittedLocallyError) as error:
                reason = reason_to_retry(error)
                is_missing = reason in SCHEMA_MISSING
                # All migrations are there, and still it misses something: a person has renamed or removed it.
                if reason is None or (is_missing and missed_at is not None and self.schema_checks > missed_at):
                    if isinstance(error, UniqueViolation) or not isinstance(error, Error) or error.sqlstate is None:
                        raise
                    log.exception("the database refuses %s", operation, extra=_refusal(error))
                    raise refused(error) from error
                attempts.ambiguous = attempts.ambiguous or is_ambiguous(error)
                self._metrics.retries.labels(operation, reason).inc()
                log.info("%s is tried again", operation, extra=_cause(error))
                if is_missing:
                    missed_at = self.schema_checks if missed_at is None else missed_at
                    self.schema_suspect.set()
            if asyncio.get_running_loop().time() + delay >= deadline:
                raise self._give_up(operation, outcome_unknown=attempts.outcome_unknown)
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - protects no secret
            delay = min(max(delay * 1.6, RETRY_DELAY_SECONDS), RETRY_DELAY_SECONDS_MAX)

    async def _write_once(self, work: Work[T], deadline: float, attempts: _Attempts) -> T:
        async with asyncio.timeout_at(deadline):
            await self._writers.acquire()
        try:
            async with lease(self._leader, deadline, self._metrics) as connection:
                attempts.running = True
                self._metrics.unfinished.inc()
                try:
                    limit = asyncio.get_running_loop().time() + self._settings.stuck_write_seconds
                    result = await self._guarded(connection, work, limit)
                finally:
                    self._metrics.unfinished.dec()
                    attempts.running = False
                if connection.committed_locally:
                    raise CommittedLocallyError
                return result
        finally:
            self._writers.release()

    async def _read_once(self, work: Work[T], deadline: float) -> T:
        async with lease(self._leader, deadline, self._metrics) as connection:
            return await self._guarded(connection, work, deadline)

    async def _guarded(self, connection: Connection, work: Work[T], limit: float) -> T:
        """Run ``work``; break the connection at ``limit``, and close it where it leads to the wrong node."""
        self._in_flight.add(connection)
        watchdog = asyncio.get_running_loop().call_at(limit, connection.sever)
        try:
            return await work(connection)
        except Error as error:
            if connection.leads_to_primary() and error.sqlstate in NO_LEADER_STATES:
                raise RefusedError(error) from error
            if leaves_connection_useless(error):
                await connection.close()
            raise
        finally:
            self._in_flight.discard(connection)
            watchdog.cancel()

    def _give_up(self, operation: str, *, outcome_unknown: bool) -> ApiError:
        self._metrics.unavailable.labels(operation).inc()
        if outcome_unknown:
            return unavailable(
                "outcome_unknown",
                "The database did not confirm in time; the request may or may not have been carried out. "
                "Repeat the request with the same Idempotency-Key.",
            )
        return unavailable("database_unavailable", "The database cannot be reached; nothing was done. Try again.")


def refused(error: Error) -> ApiError:
    """503: the database is there, but its settings, tables or privileges do not let the backend do this."""
    if error.sqlstate == "25006":
        return unavailable(
            "database_read_only",
            "The database takes no writes: default_transaction_read_only is on for it or for the backend's role. "
            "Logins go on.",
        )
    return unavailable(
        "database_changed",
        f"The database refuses what the backend asks ({describe(error)}): its tables, their constraints or the "
        "backend's privileges were changed. The backend's log names the object.",
    )


def _refusal(error: BaseException) -> dict[str, dict[str, str]]:
    return {"fields": {"cause": describe_refusal(error)}}


def _cause(error: BaseException) -> dict[str, dict[str, str]]:
    return {"fields": {"cause": describe(error)}}


def _log_late_end(task: asyncio.Task[Any]) -> None:
    """Say how a write ended whose request was answered "outcome unknown" already."""
    if task.cancelled():
        return
    error = task.exception()
    log.warning("a write ended after its request: %s", describe(error) if error else "done")
