"""Settings that people give to the backend's role or database change nothing in the backend's sessions."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import ANN, AppFactory
from tests.postgres import Postgres

GHOST = "a_standby_that_does_not_exist"
BOTH = pytest.mark.parametrize("whose", ["ROLE blink_user", "DATABASE blink_db"])
HOSTILE = {
    "client_encoding": "SQL_ASCII",
    "datestyle": "SQL, DMY",
    "client_min_messages": "error",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "exit_on_error": "on",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_session_timeout": "50ms",
    "idle_in_transaction_session_timeout": "1ms",
}


@pytest.fixture
def postgres(postgres: Postgres) -> Iterator[Postgres]:
    postgres.execute("DROP SCHEMA IF EXISTS app CASCADE; CREATE SCHEMA app AUTHORIZATION blink_user")
    yield postgres
    for whose in ("ROLE blink_user", "DATABASE blink_db"):
        postgres.execute(f"ALTER {whose} RESET ALL", database="postgres")
    postgres.execute("DROP SCHEMA app CASCADE")


async def works(client: httpx.AsyncClient, name: str) -> None:
    """Somebody registers, logs in and is shown."""
    person = {"username": name, "email": f"{name}@example.com", "password": ANN["password"]}
    registered = await client.post("/register", json=person)
    assert registered.status_code == 201, registered.text
    await logs_in(client, name)


async def logs_in(client: httpx.AsyncClient, name: str) -> None:
    login = await client.post("/login", json={"username": name, "password": ANN["password"]})
    assert login.status_code == 200, login.text
    me = await client.get("/users/me", headers={"Authorization": f"Bearer {login.json()['access_token']}"})
    assert me.status_code == 200, me.text
    assert me.json()["username"] == name


@BOTH
async def test_another_search_path_makes_no_second_table(run_app: AppFactory, postgres: Postgres, whose: str) -> None:
    async with run_app() as client:
        await works(client, "ann")
    postgres.execute(f"ALTER {whose} SET search_path = app")
    async with run_app() as client:
        await logs_in(client, "ann")
        await works(client, "bob")
    assert postgres.execute("SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace") == []
    assert postgres.execute("SELECT count(*) FROM public.users") == [(2,)]


async def test_a_search_path_does_not_take_the_place_of_postgresqls_own(
    run_app: AppFactory, postgres: Postgres
) -> None:
    body = "LANGUAGE sql AS 'SELECT NULL::timestamptz'"
    postgres.execute(f"CREATE FUNCTION app.clock_timestamp() RETURNS timestamptz {body}")
    postgres.execute("ALTER DATABASE blink_db SET search_path = app, pg_catalog")
    async with run_app() as client:
        await works(client, "ann")
        wrong = await client.post("/login", json={"username": "ann", "password": "wrong password"})
        assert wrong.status_code == 401
        await asyncio.sleep(0.1)
        assert postgres.execute("SELECT count(*) > 0 FROM public.login_guesses") == [(True,)]


@BOTH
@pytest.mark.parametrize(("name", "value"), HOSTILE.items())
async def test_a_setting_disturbs_nothing(
    run_app: AppFactory, postgres: Postgres, whose: str, name: str, value: str
) -> None:
    postgres.execute(f"ALTER {whose} SET {name} = '{value}'")
    async with run_app(pool_size=2, pool_reserved=1) as client:
        await works(client, "ann")
        await asyncio.sleep(0.2)
        shown = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'blink_user' AND state = 'idle'"
        assert postgres.execute(shown, database="postgres")[0][0] >= 1
        await works(client, "bob")


@BOTH
async def test_a_commit_that_is_only_local_is_heard_of(run_app: AppFactory, postgres: Postgres, whose: str) -> None:
    postgres.execute(f"ALTER {whose} SET client_min_messages = error")
    async with run_app() as client:
        await works(client, "first")
        postgres.set("synchronous_standby_names", GHOST)
        waiting = asyncio.create_task(client.post("/register", json=ANN))
        (pid,) = await asyncio.to_thread(postgres.wait_for_sync_waiters)
        postgres.execute("SELECT pg_cancel_backend(%s)", pid)
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await asyncio.to_thread(postgres.wait_for_sync_waiters)
        postgres.set("synchronous_standby_names", "")
        assert (await waiting).status_code == 201


@BOTH
async def test_a_read_only_database_takes_no_registration_and_lets_people_log_in(
    run_app: AppFactory, postgres: Postgres, whose: str
) -> None:
    async with run_app() as client:
        await works(client, "ann")
    postgres.execute(f"ALTER {whose} SET default_transaction_read_only = on")
    async with run_app() as client:
        await logs_in(client, "ann")
        refused = await client.post("/register", json={**ANN, "username": "bob", "email": "bob@example.com"})
        assert (refused.status_code, refused.json()["code"]) == (503, "database_read_only")
        assert refused.elapsed.total_seconds() < 2
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["code"]) == (503, "database_read_only")
        assert (await client.post("/login", json={"username": "ann", "password": "wrong"})).status_code == 401
    assert postgres.execute("SELECT count(*) FROM public.login_guesses") == [(2,)]


async def test_operators_that_somebody_made_in_public_are_not_taken(run_app: AppFactory, postgres: Postgres) -> None:
    """PostgreSQL prefers a nearer pair of types, wherever it is on the search path."""
    real = ("integer", "double precision", "numeric", "bigint")
    pairs = [(a, b) for a in real for b in real if "double precision" in {a, b} and a != b]
    for number, (left, right) in enumerate(pairs):
        for sign in "+-*/":
            name = f"public.no_{number}_{'+-*/'.index(sign)}"
            postgres.execute(f"""
                CREATE OR REPLACE FUNCTION {name}({left}, {right}) RETURNS float8 LANGUAGE plpgsql
                  AS 'BEGIN RAISE ''taken''; END';
                CREATE OPERATOR public.{sign} (FUNCTION = {name}, LEFTARG = {left}, RIGHTARG = {right})
            """)
    try:
        async with run_app() as client:
            await works(client, "ann")
            for _ in range(3):
                assert (await client.post("/login", json={"username": "ann", "password": "wrong"})).status_code == 401
            await logs_in(client, "ann")
            assert postgres.execute("SELECT min(level) < 10 FROM public.login_guesses") == [(True,)]
    finally:
        for number in range(len(pairs)):
            for index in range(4):
                left, right = pairs[number]
                postgres.execute(f"DROP FUNCTION public.no_{number}_{index}({left}, {right}) CASCADE")
