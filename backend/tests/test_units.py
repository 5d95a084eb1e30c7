"""Parts that need no database."""

import logging
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from app.config import SettingsError, load_settings
from app.database.failures import CommittedLocallyError, is_ambiguous, reason_to_retry
from app.database.migrate import migrations
from app.logs import JsonFormatter
from app.security.passwords import Passwords
from app.security.rate_limit import buckets_of, network_of
from app.security.tokens import InvalidTokenError, Session, Tokens
from tests.conftest import make_settings

URL = "postgresql://blink_user:12345@haproxy:5432/blink_db"
KEY = "9f8e2d6c41b7a3f05e1d9c8b7a6f5e4d"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HAPROXY_URL", "HAPROXY_READ_URL", "SECRET_KEY", "ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "haproxy_url").write_text(f"{URL}\n")
    (tmp_path / "secret_key").write_text(KEY)
    return tmp_path


def test_settings_come_from_the_uploaded_files_and_the_environment_overrides_them(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(secrets).haproxy_url.get_secret_value() == URL
    assert load_settings(secrets).haproxy_read_url is None
    monkeypatch.setenv("HAPROXY_URL", "postgresql://other:5432/db")
    assert load_settings(secrets).haproxy_url.get_secret_value() == "postgresql://other:5432/db"
    assert load_settings(secrets).signing_key == KEY.encode()


@pytest.mark.parametrize("key", ["", "short", "change-me-change-me-change-me-change-me", "x" * 64])
def test_a_placeholder_secret_is_refused_outside_the_dev_stack(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (secrets / "secret_key").write_text(key)
    with pytest.raises(SettingsError, match="SECRET_KEY"):
        load_settings(secrets)
    monkeypatch.setenv("ENVIRONMENT", "dev")
    assert load_settings(secrets).signing_key


def test_all_bad_settings_are_named_at_once_without_their_values(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secrets / "haproxy_url").write_text("mysql://user:geheim@haproxy/db")
    for name, value in {"ARGON2_MEMORY_KIB": "19455", "POOL_RESERVED": "8", "SECRET_KEY": "geheim"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings(secrets)
    text = str(refused.value)
    assert [line.split()[0] for line in text.splitlines()] == [
        "HAPROXY_URL",
        "POOL_RESERVED",
        "SECRET_KEY",
        "ARGON2_MEMORY_KIB",
    ]
    assert "19456" in text
    assert "geheim" not in text


@pytest.mark.parametrize(
    ("error", "reason", "ambiguous"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), "connection_lost", True),
        (errors.AdminShutdown(), "57P01", True),
        (errors.CannotConnectNow(), "57P03", False),
        (errors.ReadOnlySqlTransaction(), "25006", False),
        (errors.SerializationFailure(), "40001", False),
        (errors.TooManyConnections(), "53300", False),
        (errors.DiskFull(), "53100", False),
        (errors.IoError(), "58030", False),
        (CommittedLocallyError(), "committed_locally", True),
        (errors.UniqueViolation(), None, False),
        (errors.InsufficientPrivilege(), None, False),
    ],
)
def test_failures_that_pass_with_a_failover_are_told_from_others(
    error: Exception, reason: str | None, *, ambiguous: bool
) -> None:
    assert reason_to_retry(error) == reason
    assert is_ambiguous(error) is ambiguous


def test_migrations_are_numbered_without_a_gap(tmp_path: Path) -> None:
    assert [number for number, _ in migrations()] == [1, 2, 3]
    (tmp_path / "0002_later.sql").touch()
    with pytest.raises(ValueError, match="without a gap"):
        migrations(tmp_path)
    (tmp_path / "notes.sql").touch()
    with pytest.raises(ValueError, match=r"notes\.sql"):
        migrations(tmp_path)


def test_a_log_line_holds_no_message_of_an_exception() -> None:
    try:
        raise ValueError("ann@example.com")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "unexpected", None, sys.exc_info())
    line = JsonFormatter().format(record)
    assert "ann@example.com" not in line
    assert '"error": "ValueError"' in line
    assert "test_units.py" in line


async def test_exactly_one_verification_runs_whether_or_not_there_is_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(make_settings(haproxy_url=URL))
    stored = await passwords.hash("correct horse")
    hasher = passwords._hasher.hashers[0]
    calls: list[str] = []
    verify = type(hasher).verify

    def counted(self: object, password: str, hash_: str) -> bool:
        calls.append(hash_)
        return verify(self, password, hash_)  # type: ignore[arg-type]

    monkeypatch.setattr(type(hasher), "verify", counted)
    for given, expected in ((stored, True), (None, False), ("x", False), ("", False)):
        calls.clear()
        assert (await passwords.verify("correct horse", given))[0] is expected
        assert len(calls) == 1, given
    passwords.close()


def test_a_token_expires_and_fits_one_key_only() -> None:
    tokens = Tokens(make_settings(haproxy_url=URL, secret_key=KEY))
    session = Session(7, "0/3000060")
    assert tokens.check(tokens.issue(session)) == session
    tokens.lifetime_seconds = -1
    with pytest.raises(InvalidTokenError):
        tokens.check(tokens.issue(session))
    other = Tokens(make_settings(haproxy_url=URL, secret_key=KEY[::-1]))
    with pytest.raises(InvalidTokenError):
        tokens.check(other.issue(session))


def test_the_buckets_of_a_login_tell_nobody_who_logs_in_from_where() -> None:
    settings = make_settings(haproxy_url=URL)
    buckets = buckets_of(settings, "ann", "192.0.2.1")
    assert buckets == buckets_of(settings, "ann", "::ffff:192.0.2.1")
    assert len({buckets.account_key, buckets.address_key, buckets_of(settings, "bob", "192.0.2.1").account_key}) == 3
    assert buckets.address_key == buckets_of(settings, "bob", "192.0.2.1").address_key
    assert len(buckets.account_key) == len(buckets.address_key) == 16


def test_an_ipv6_client_is_counted_by_its_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") == "2001:db8::/64"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("nonsense") == "unknown"
