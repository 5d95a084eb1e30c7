"""The loop of all drivers in Python: one numbered row after the other, no row a second time.

It prints each outcome as a line of JSON, in the form of WriteEvent (test/rig/writer.ts).
"""

import json
import os
import time
from collections.abc import Callable
from typing import Protocol

CLIENT = os.environ["CLIENT"]
INSERT = f"INSERT INTO {os.environ['TABLE']} (id) VALUES"
PACE_SECONDS = int(os.environ["PACE_MS"]) / 1000
# Statements before the loop connects again; 0: it keeps its connection.
PER_CONNECTION = int(os.environ["PER_CONNECTION"])
# Wait before another attempt to connect.
AGAIN_SECONDS = 0.1

CONNINFO = (
    f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user={os.environ['PGUSER']} "
    f"dbname={os.environ['PGDATABASE']} sslmode=verify-full sslrootcert={os.environ['CA']} connect_timeout=35"
)


class Connection(Protocol):
    """A connection of the driver. Each call raises the driver's own exception."""

    def insert(self, row: str) -> None: ...
    def close(self) -> None: ...


def report(row: str | None, outcome: str, start: float, error: Exception | None = None) -> None:
    event = {"what": "write", "client": CLIENT, "id": row, "outcome": outcome}
    event |= {"startMs": start * 1000, "endMs": time.time() * 1000}
    if error is not None:
        state = getattr(error, "sqlstate", None)
        text = " ".join(str(error).split()) or type(error).__name__
        event["message"] = text[:300] + (f" ({state})" if state else "")
    print(json.dumps(event), flush=True)


def run(connect: Callable[[], Connection]) -> None:
    """Runs until the process is ended."""
    connection, written, number = None, 0, 0
    while True:
        start = time.time()
        if connection is None:
            try:
                connection, written = connect(), 0
            except Exception as error:
                report(None, "failed", start, error)
                time.sleep(AGAIN_SECONDS)
            continue
        row = f"{CLIENT} {number}"
        number += 1
        try:
            connection.insert(row)
        except Exception as error:
            report(row, "unknown", start, error)
            connection = closed(connection)
            continue
        report(row, "acknowledged", start)
        written += 1
        time.sleep(PACE_SECONDS)
        if written == PER_CONNECTION:
            connection = closed(connection)


def closed(connection: Connection) -> None:
    """Closes a connection that may be broken."""
    try:
        connection.close()
    except Exception:  # It was broken.
        pass
