"""A throw-away PostgreSQL on a private port, which the tests may stop, kill and pause."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import TupleRow

NAMES = {"user": "blink_user", "database": "blink_db"}
START_SECONDS = 30

SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
restart_after_crash = off
synchronous_commit = on
shared_buffers = 16MB
cluster_name = 'postgres-primary'
"""


def binaries() -> Path:
    """Folder with initdb and postgres."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    on_path = shutil.which("initdb")
    if candidates:
        return candidates[-1]
    if on_path:
        return Path(on_path).resolve().parent
    raise RuntimeError("no PostgreSQL server found; backend/scripts/test.sh installs it")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """Its child processes."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(stat.parent.name))
    return children


T = TypeVar("T")


def wait_until(look: Callable[[], T], words: str) -> T:
    """What ``look`` returns once it is true, within ten seconds; ``words`` say what did not happen."""
    limit = time.monotonic() + 10
    while not (seen := look()):
        assert time.monotonic() < limit, words
        time.sleep(0.01)
    return seen


class Postgres:
    """One server. PostgreSQL refuses root, so as root it runs as ``nobody``."""

    def __init__(self) -> None:
        self.port = free_port()
        self._bin = binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="pgf-backend-"))
        self._data = self._folder / "data"
        self._identity: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self._log = (self._folder / "log").open("ab")
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{NAMES['user']}:12345@127.0.0.1:{self.port}/{NAMES['database']}"

    def create(self) -> None:
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        settings = f"{SETTINGS}port = {self.port}\nunix_socket_directories = '{self._folder}'\n"
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(settings)
        self.start()
        self.execute(f"CREATE ROLE {NAMES['user']} LOGIN PASSWORD '12345'", database="postgres")
        self.execute(f"CREATE DATABASE {NAMES['database']} OWNER {NAMES['user']}", database="postgres")

    def destroy(self) -> None:
        self.stop(signal.SIGQUIT)
        self._log.close()
        shutil.rmtree(self._folder)

    def create_standby_of(self, leader: "Postgres") -> None:
        leader.execute("SELECT 1")
        self._run(
            "pg_basebackup",
            "-D",
            str(self._data),
            "-h",
            "127.0.0.1",
            "-p",
            str(leader.port),
            "-U",
            "postgres",
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-N",
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nunix_socket_directories = '{self._folder}'\n")
            file.write("cluster_name = 'postgres-replica-1'\n")
        self.start()

    def start(self) -> None:
        self._server = subprocess.Popen(
            [self._bin / "postgres", "-D", str(self._data)],
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            cwd=self._folder,
            start_new_session=True,
            **self._identity,
        )
        limit = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1", database="postgres")
            except psycopg.OperationalError:
                if time.monotonic() > limit or self._server.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast shutdown. SIGQUIT: immediate. SIGKILL: the postmaster and all of its children."""
        if self._server is None:
            return
        if how == signal.SIGKILL:
            for pid in [self._server.pid, *children_of(self._server.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            self._server.send_signal(how)
        self._server.wait(START_SECONDS)
        self._server = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def execute(self, sql: str, *parameters: Any, database: str = NAMES["database"]) -> list[TupleRow]:
        """As the superuser, each statement committed."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def set(self, name: str, value: str) -> None:
        """Change a setting by reload and wait until it holds."""
        self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")
        wait_until(lambda: str(self.execute(f"SHOW {name}")[0][0]) == value, f"{name} is not {value}")

    def ask_for_passwords(self, *, ask: bool) -> None:
        """Whether the application's user has to give its password; others never have to."""
        file = self._data / "pg_hba.conf"
        line = f"host all {NAMES['user']} 127.0.0.1/32 scram-sha-256\n"
        rest = file.read_text().removeprefix(line)
        file.write_text(line + rest if ask else rest)
        self.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self._takes_any_password() != ask, "pg_hba.conf was not read again")

    def _takes_any_password(self) -> bool:
        try:
            psycopg.connect(
                host="127.0.0.1", port=self.port, user=NAMES["user"], dbname=NAMES["database"], password="wrong"
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def wait_for_sessions(self, count: int) -> None:
        """Wait until the application's user has ``count`` sessions: one that is being made is not counted yet."""
        wait_until(lambda: self._sessions() >= count, f"fewer than {count} sessions")

    def _sessions(self) -> int:
        return int(self.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", NAMES["user"])[0][0])

    def end_sessions(self) -> None:
        """End every session of the application's user, and wait for the end: a signal alone is acted on later."""
        ended = self.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s", NAMES["user"]
        )
        assert all(row[0] for row in ended), "a session did not end"

    def wait_for_sync_waiters(self, count: int = 1) -> list[int]:
        """Process ids of ``count`` commits that wait for a standby."""

        def waiters() -> list[int]:
            rows = self.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            return [int(row[0]) for row in rows] if len(rows) >= count else []

        return wait_until(waiters, f"no {count} commits wait for a standby")

    def _run(self, program: str, *arguments: str) -> None:
        result = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            **self._identity,
        )
        if result.returncode != 0:
            raise RuntimeError(f"{program}: {result.stderr}")
