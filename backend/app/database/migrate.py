"""Schema changes: the numbered files in ``migrations/``, applied in order, each once.

Several backends may start at once: each migration runs in one transaction under an advisory lock. The database may be
away: :func:`keep_schema` tries until it is there. It checks again when a statement misses a table, because a schema
that could be read may not have been replicated before its node was lost (S7).
"""

import asyncio
import logging
import re
from pathlib import Path

from psycopg import Error
from psycopg_pool import PoolClosed

from app.database.connection import Connection
from app.database.failures import CommittedLocallyError
from app.database.gateway import Gateway
from app.logs import describe

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


async def keep_schema(gateway: Gateway) -> None:
    """Apply missing migrations at once, and again whenever a statement missed a table.

    Runs until it is cancelled or the gateway is closed (``PoolClosed``).
    """
    while True:
        await _apply_until_done(gateway)
        gateway.schema_suspect.clear()
        gateway.schema_ready.set()
        await gateway.schema_suspect.wait()
        gateway.schema_ready.clear()


async def _apply_until_done(gateway: Gateway) -> None:
    delay = RETRY_SECONDS
    while True:
        try:
            await gateway.once(apply, ATTEMPT_SECONDS)
        except PoolClosed:
            raise  # the application stops
        except (Error, CommittedLocallyError) as error:
            log.warning("the schema is not ready, trying again", extra={"fields": {"cause": describe(error)}})
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_SECONDS_MAX)
        else:
            log.info("the schema is ready")
            return
