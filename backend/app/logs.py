"""Structured logs: one JSON object per line, without secrets and personal data.

An exception is written as its type, its SQLSTATE and the places it passed, never with its message: PostgreSQL repeats
values in messages ("Key (email)=(…) already exists").
"""

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""Id of the request under way, also in the tasks that it started."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def describe(error: BaseException) -> str:
    """Type and SQLSTATE of an error, without its message."""
    sqlstate = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {sqlstate}" if sqlstate else type(error).__name__


def describe_refusal(error: BaseException) -> str:
    """As :func:`describe`, with the names of the objects that are concerned: these are no personal data."""
    diag = getattr(error, "diag", None)
    if diag is None:
        return describe(error)
    # Messages of class 42 (syntax, privileges, missing objects) contain names and no values.
    words = diag.message_primary if (diag.sqlstate or "").startswith("42") else None
    names = [diag.schema_name, diag.table_name, diag.column_name, diag.constraint_name]
    named = words or ", ".join(name for name in names if name)
    return f"{describe(error)}: {named}" if named else describe(error)


def stack_of(error: BaseException) -> list[str]:
    """The latest twelve code locations that an error passed, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]


class JsonFormatter(logging.Formatter):
    """Renders a record; ``extra={"fields": {…}}`` adds keys."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            entry.update(fields)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            entry["error"] = describe(error)
            entry["stack"] = stack_of(error)
        return json.dumps(entry, ensure_ascii=True, default=str)


def configure_logging(level: str) -> None:
    """Send every logger, uvicorn's too, through the formatter to stdout."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # The middleware writes the access log by route, so no path or query with personal data is kept.
    logging.getLogger("uvicorn.access").disabled = True
    # A failover would write a line or two for every broken connection; the metrics count them.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
