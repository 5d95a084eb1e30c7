"""The database's password changes while the backend runs."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ANN, AppFactory, make_settings
from tests.postgres import NAMES, Postgres

OLD, NEW = "12345", "the next one"


@pytest.fixture
def guarded(postgres: Postgres) -> Iterator[Postgres]:
    """The server asks the application's user for its password."""
    postgres.ask_for_passwords(ask=True)
    yield postgres
    postgres.ask_for_passwords(ask=False)
    set_password(postgres, OLD)


def set_password(postgres: Postgres, password: str) -> None:
    postgres.execute(f"ALTER ROLE {NAMES['user']} PASSWORD '{password}'")


async def test_no_request_fails_when_the_backend_was_told_before(
    guarded: Postgres, run_app: AppFactory, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    async with run_app(told_password_file=told) as client:
        assert (await client.post("/register", json=ANN)).status_code == 201
        told.write_text(NEW)
        for number, password in enumerate((OLD, NEW, OLD, NEW)):
            set_password(guarded, password)
            guarded.end_sessions()
            person = {**ANN, "username": f"ann{number}", "email": f"ann{number}@example.com"}
            assert (await client.post("/register", json=person)).status_code == 201


async def test_a_backend_that_was_not_told_cannot_connect(
    guarded: Postgres, run_app: AppFactory, tmp_path: Path
) -> None:
    async with run_app(told_password_file=tmp_path / "told", retry_budget_seconds=1) as client:
        assert (await client.post("/register", json=ANN)).status_code == 201
        # A connection under way may have given its password already, and comes after the others were ended.
        pool_size = make_settings(haproxy_url=guarded.url).pool_size
        await asyncio.to_thread(guarded.wait_for_sessions, pool_size)
        set_password(guarded, NEW)
        guarded.end_sessions()
        person = {**ANN, "username": "bob", "email": "bob@example.com"}
        assert (await client.post("/register", json=person)).status_code == 503
