"""Schema changes: the numbered files in ``migrations/``, applied in order, each once.

Several backends may start at once: each migration runs in one transaction under an advisory lock. The database may be
away: :func:`keep_schema` tries until it is there. It checks again when a statement misses a table, because a schema
that could be read may not have been replicated before its node was lost (S7).
"""

import asyncio
import logging
import re
from pathlib import Path

from psycopg import Error, InterfaceError, OperationalError
from psycopg_pool import PoolClosed

from app.database.connection import Connection
from app.database.failures import CommittedLocallyError, MovedError
from app.database.gateway import Gateway
from app.logs import describe_refusal

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "migrations"
LOCK_KEY = 0x706766_6261636B  # "pgf" "back": one lock for all backends of a database
ATTEMPT_SECONDS = 30
RETRY_SECONDS = 0.25
RETRY_SECONDS_MAX = 5

# The message makes the transaction write WAL even when there is nothing to do, so its commit waits for the standby.
PREPARE = """
SET LOCAL lock_timeout = '5s';
SELECT pg_advisory_xact_lock({key});
SELECT pg_logical_emit_message(true, 'backend', 'migrate');
CREATE TABLE IF NOT EXISTS public.backend_migrations (
  version    integer PRIMARY KEY,
  name       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
)
"""


# Without the lock, because a session of a person may hold it, and without CREATE, which a person may have revoked. The
# message as above: what is read here must not be lost with its node.
LOOK = """
SELECT pg_catalog.to_regclass('public.backend_migrations') IS NOT NULL,
  pg_catalog.pg_logical_emit_message(true, 'backend', 'look')
"""
MOVED = """
SELECT relnamespace::pg_catalog.regnamespace::text FROM pg_catalog.pg_class
WHERE relname = 'backend_migrations' AND relkind = 'r' LIMIT 1
"""


def migrations(folder: Path = FOLDER) -> list[tuple[int, Path]]:
    """The files ``NNNN_name.sql``, in order. Raises ValueError for a gap, a double number or a foreign name."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_[a-z0-9_]+\.sql", path.name)
        if not match:
            raise ValueError(f"{path.name}: must be named NNNN_name.sql")
        found.append((int(match[1]), path))
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations must be numbered 0001, 0002 … without a gap")
    return found


async def apply(connection: Connection) -> None:
    """Bring the schema to this version. Raises psycopg's errors; may be repeated."""
    if await _is_complete(connection):
        return
    for number, path in migrations():
        async with connection.transaction():
            await connection.execute(PREPARE.format(key=LOCK_KEY).encode())
            done = await connection.execute("SELECT 1 FROM public.backend_migrations WHERE version = %s", [number])
            if await done.fetchone():
                continue
            await connection.execute(path.read_bytes())
            await connection.execute(
                "INSERT INTO public.backend_migrations (version, name) VALUES (%s, %s)", [number, path.stem]
            )
            log.info("migration %s applied", path.stem)


async def _is_complete(connection: Connection) -> bool:
    """Raises :class:`MovedError` when the tables are in another schema."""
    async with connection.transaction():
        row = await (await connection.execute(LOOK)).fetchone()
        if row is None or not row[0]:
            moved = await (await connection.execute(MOVED)).fetchone()
            if moved is not None:
                raise MovedError(f"the tables of the backend are in the schema {moved[0]}, not in public")
            return False
        done = await connection.execute("SELECT version FROM public.backend_migrations")
        return {number for number, _ in migrations()} <= {row[0] for row in await done.fetchall()}


async def keep_schema(gateway: Gateway) -> None:
    """Apply missing migrations at once, and again whenever a statement missed a table.

    Runs until it is cancelled or the gateway is closed (``PoolClosed``).
    """
    while True:
        await _apply_until_done(gateway)
        gateway.schema_suspect.clear()
        gateway.schema_problem = None
        gateway.schema_checks += 1
        gateway.schema_known.set()
        await gateway.schema_suspect.wait()
        gateway.schema_known.clear()


async def _apply_until_done(gateway: Gateway) -> None:
    delay = RETRY_SECONDS
    while True:
        try:
            await gateway.once(apply, ATTEMPT_SECONDS)
        except PoolClosed:
            raise  # the application stops
        except (Error, CommittedLocallyError) as error:
            if not isinstance(error, Error) or isinstance(error, InterfaceError | OperationalError):
                gateway.schema_known.clear()  # the database is away
            else:
                gateway.schema_problem = error
                gateway.schema_known.set()
            cause = str(error) if isinstance(error, MovedError) else describe_refusal(error)
            log.warning("the schema is not ready, trying again", extra={"fields": {"cause": cause}})
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_SECONDS_MAX)
        else:
            log.info("the schema is ready")
            return
