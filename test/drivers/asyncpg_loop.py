"""asyncpg, which prepares every statement under a name and keeps it."""

import asyncio
import os

import asyncpg
import loop

ADDRESS = (
    f"postgresql://{os.environ['PGUSER']}@{os.environ['PGHOST']}:{os.environ['PGPORT']}/{os.environ['PGDATABASE']}"
    f"?sslmode=verify-full&sslrootcert={os.environ['CA']}"
)
events = asyncio.new_event_loop()


class Asyncpg:
    def __init__(self) -> None:
        self.connection = events.run_until_complete(asyncpg.connect(ADDRESS, timeout=35))

    def insert(self, row: str) -> None:
        events.run_until_complete(self.connection.execute(f"{loop.INSERT} ($1)", row))

    def close(self) -> None:
        # Not close(): that waits for an answer of the server, and a dead one gives none.
        self.connection.terminate()


asyncio.set_event_loop(events)
loop.run(Asyncpg)
