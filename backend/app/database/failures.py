"""Which failures a failover ends, and which outcomes they leave unknown."""

import psycopg

RETRIED_STATES = frozenset(
    {
        "57P01",  # admin_shutdown: the server stops, or the session was ended
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now: starting up or shutting down
        "25006",  # read_only_sql_transaction: this node is not the leader (any more)
        "55000",  # object_not_in_prerequisite_state: "recovery is in progress": no leader either
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "0A000",  # feature_not_supported: an unlogged table cannot be used during recovery, so this is no leader
        "57014",  # query_canceled: before the commit, so nothing was done
        "42P01",  # undefined table, column, function: the schema is not there yet, or went with a lost node
        "42703",
        "42883",
    }
)
RETRIED_CLASSES = frozenset(
    {
        "08",  # connection exceptions
        "53",  # insufficient resources: connections, memory, disk
        "58",  # the server's own I/O failed: it will be replaced (S27)
    }
)
SCHEMA_MISSING = frozenset({"42P01", "42703", "42883"})
NO_LEADER_STATES = frozenset({"0A000", "25006", "55000"})
"""On a standby these say that it is no leader. A primary answers so because of what a person has set or made."""
AMBIGUOUS_STATES = frozenset({"57P01", "57P02"})


class CommittedLocallyError(Exception):
    """PostgreSQL warned that the commit is local only: its outcome is unknown (S7)."""


class RefusedError(psycopg.Error):
    """A primary refuses the statement, and a retry does not help: see :data:`NO_LEADER_STATES`."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.sqlstate = error.sqlstate


class MovedError(psycopg.Error):
    """The backend's tables are in another schema. New ones would be empty and take the place of the old ones."""


def reason_to_retry(error: BaseException) -> str | None:
    """Reason for repeating an attempt as a whole, as a metric's label; None when it must not be repeated."""
    if isinstance(error, CommittedLocallyError):
        return "committed_locally"
    if not isinstance(error, psycopg.Error) or isinstance(error, RefusedError):
        return None
    state = error.sqlstate
    if state is None:
        broken = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return "connection_lost" if broken else None
    return state if state in RETRIED_STATES or state[:2] in RETRIED_CLASSES else None


def is_ambiguous(error: BaseException) -> bool:
    """True when the statement may have been committed although it failed."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is None or state in AMBIGUOUS_STATES or state.startswith("08")


def leaves_connection_useless(error: BaseException) -> bool:
    """True when the next attempt needs another connection although this one is still open."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is not None and (state in NO_LEADER_STATES or state.startswith(("08", "57P", "58")))
