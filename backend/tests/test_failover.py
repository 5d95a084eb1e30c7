"""What a request sees while the database stops, crashes, turns read-only or loses its standby."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import ANN, AppFactory, metric
from tests.postgres import Postgres

GHOST = "a_standby_that_does_not_exist"
USERS_SQL = Path(__file__).parents[2] / "templates" / "users.sql"


async def in_thread(work: Callable[[], None]) -> None:
    await asyncio.to_thread(work)


async def wait_for_waiters(postgres: Postgres, count: int = 1) -> list[int]:
    return await asyncio.to_thread(postgres.wait_for_sync_waiters, count)


def register(client: httpx.AsyncClient, **changes: str) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post("/register", json={**ANN, **changes}))


def count_users(postgres: Postgres) -> int:
    return int(postgres.execute("SELECT count(*) FROM users")[0][0])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["stopped", "aborted", "killed"])
async def test_a_registration_waits_until_the_server_is_back(
    client: httpx.AsyncClient, postgres: Postgres, how: signal.Signals
) -> None:
    assert (await register(client, username="first", email="first@example.com")).status_code == 201
    await in_thread(lambda: postgres.stop(how))
    waiting = register(client)
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await in_thread(postgres.start)
    assert (await waiting).status_code == 201
    assert count_users(postgres) == 2


async def test_nothing_fails_is_lost_or_doubled_through_restarts_under_load(
    client: httpx.AsyncClient, postgres: Postgres
) -> None:
    acknowledged: list[str] = []
    failures: list[str] = []
    running = True

    async def person(number: int) -> None:
        for attempt in range(10_000):
            if not running:
                return
            name = f"user-{number}-{attempt}"
            answer = await register(client, username=name, email=f"{name}@example.com")
            if answer.status_code == 201:
                acknowledged.append(name)
            else:
                failures.append(answer.text)
            answer = await client.post("/login", json={"username": name, "password": ANN["password"]})
            if answer.status_code != 200:
                failures.append(answer.text)

    people = [asyncio.create_task(person(number)) for number in range(8)]
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        await asyncio.sleep(1)
        await in_thread(lambda how=how: postgres.restart(how))  # type: ignore[misc]
    await asyncio.sleep(0.5)
    running = False
    await asyncio.gather(*people)
    rows = [row[0] for row in postgres.execute("SELECT username FROM users")]
    assert failures == []
    assert sorted(rows) == sorted(acknowledged)
    assert len(acknowledged) >= len(people)


async def test_a_read_only_server_is_reported_at_once(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app(retry_budget_seconds=1) as client:
        assert (await register(client, username="first", email="first@example.com")).status_code == 201
        postgres.set("default_transaction_read_only", "on")
        refused = await register(client)
        assert refused.status_code == 503
        assert refused.json()["code"] == "database_read_only"
        assert int(refused.headers["retry-after"]) > 0
        postgres.set("default_transaction_read_only", "off")
        assert (await register(client)).status_code == 201


async def test_a_commit_that_is_only_local_is_not_acknowledged(client: httpx.AsyncClient, postgres: Postgres) -> None:
    assert (await register(client, username="first", email="first@example.com")).status_code == 201
    postgres.set("synchronous_standby_names", GHOST)
    waiting = register(client)
    (pid,) = await wait_for_waiters(postgres)
    postgres.execute("SELECT pg_cancel_backend(%s)", pid)
    # The row can be seen now, and the confirmation has to wait for the standby like the first commit did.
    await asyncio.sleep(0.2)
    await wait_for_waiters(postgres)
    assert count_users(postgres) == 2
    assert not waiting.done()
    postgres.set("synchronous_standby_names", "")
    assert (await waiting).status_code == 201
    assert count_users(postgres) == 2
    assert await metric(client, "backend_database_retries_total", reason="committed_locally") == 1
    assert await metric(client, "backend_commits_confirmed_total") == 1


async def test_a_connection_that_breaks_during_the_commit_is_confirmed_and_not_repeated(
    client: httpx.AsyncClient, postgres: Postgres
) -> None:
    assert (await register(client, username="first", email="first@example.com")).status_code == 201
    postgres.set("synchronous_standby_names", GHOST)
    waiting = register(client)
    (pid,) = await wait_for_waiters(postgres)
    postgres.execute("SELECT pg_terminate_backend(%s)", pid)
    await asyncio.sleep(0.2)
    await wait_for_waiters(postgres)
    assert not waiting.done()
    postgres.set("synchronous_standby_names", "")
    assert (await waiting).status_code == 201
    assert count_users(postgres) == 2
    assert await metric(client, "backend_commits_confirmed_total") == 1


async def test_a_client_that_leaves_does_not_cut_the_wait_for_the_standby_short(
    run_app: AppFactory, postgres: Postgres
) -> None:
    async with run_app(retry_budget_seconds=1) as client:
        assert (await register(client, username="first", email="first@example.com")).status_code == 201
        postgres.set("synchronous_standby_names", GHOST)
        leaving = register(client)
        waiters = await wait_for_waiters(postgres)
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        await asyncio.sleep(0.3)
        assert await wait_for_waiters(postgres) == waiters


async def test_an_unknown_outcome_is_said_and_the_same_key_finds_it_out(
    run_app: AppFactory, postgres: Postgres
) -> None:
    async with run_app(retry_budget_seconds=0.5) as client:
        assert (await register(client, username="first", email="first@example.com")).status_code == 201
        postgres.set("synchronous_standby_names", GHOST)
        headers = {"Idempotency-Key": "42"}
        unknown = await client.post("/register", json=ANN, headers=headers)
        assert (unknown.status_code, unknown.json()["code"]) == (503, "outcome_unknown")
        # No cancel: the commit still waits, and would be done if the standby came back.
        await wait_for_waiters(postgres)
        postgres.set("synchronous_standby_names", "")
        assert (await client.post("/register", json=ANN, headers=headers)).status_code == 201
        assert count_users(postgres) == 2


async def test_people_can_log_in_while_all_writes_wait(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app(pool_size=4, pool_reserved=2) as client:
        assert (await register(client)).status_code == 201
        postgres.set("synchronous_standby_names", GHOST)
        waiting = [register(client, username=f"user{n}", email=f"user{n}@example.com") for n in range(8)]
        assert len(await wait_for_waiters(postgres, 2)) == 2
        login = await client.post("/login", json={"username": "ann", "password": ANN["password"]})
        assert login.status_code == 200
        me = await client.get("/users/me", headers={"Authorization": f"Bearer {login.json()['access_token']}"})
        assert me.status_code == 200
        assert len(await wait_for_waiters(postgres, 2)) == 2
        postgres.set("synchronous_standby_names", "")
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {201}


async def test_a_role_that_lowers_the_promise_is_overruled(run_app: AppFactory, postgres: Postgres) -> None:
    postgres.execute("ALTER ROLE blink_user SET synchronous_commit = local")
    try:
        async with run_app() as client:
            assert (await register(client, username="first", email="first@example.com")).status_code == 201
            postgres.set("synchronous_standby_names", GHOST)
            waiting = register(client)
            await wait_for_waiters(postgres)
            postgres.set("synchronous_standby_names", "")
            assert (await waiting).status_code == 201
    finally:
        postgres.execute("ALTER ROLE blink_user RESET synchronous_commit")


async def test_starts_before_the_database_and_serves_when_it_is_there(run_app: AppFactory, postgres: Postgres) -> None:
    await in_thread(postgres.stop)
    async with run_app() as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/ready")).json()["code"] == "database_unavailable"
        waiting = register(client)
        await asyncio.sleep(0.2)
        await in_thread(postgres.start)
        assert (await waiting).status_code == 201
        await asyncio.sleep(0.6)
        ready = await client.get("/ready")
        assert ready.status_code == 200
        assert ready.json()["node"] == "postgres-primary"


async def test_is_not_ready_while_commits_wait(client: httpx.AsyncClient, postgres: Postgres) -> None:
    assert (await register(client)).status_code == 201
    postgres.set("synchronous_standby_names", GHOST)
    assert (await client.get("/ready")).status_code == 503
    assert (await client.get("/health")).status_code == 200


async def test_several_backends_may_start_at_once(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app(pool_size=2, pool_reserved=1) as one, run_app(pool_size=2, pool_reserved=1) as two:
        answers = await asyncio.gather(register(one), register(two, username="other", email="other@example.com"))
        assert [answer.status_code for answer in answers] == [201, 201]
    assert postgres.execute("SELECT version FROM backend_migrations ORDER BY 1") == [(1,), (2,), (3,)]


async def test_a_schema_that_was_lost_with_its_node_is_made_again(
    client: httpx.AsyncClient, postgres: Postgres
) -> None:
    assert (await register(client)).status_code == 201
    postgres.execute("DROP TABLE users, backend_migrations")
    assert (await register(client)).status_code == 201


async def test_takes_the_table_that_bootstrap_made_with_its_rows(run_app: AppFactory, postgres: Postgres) -> None:
    postgres.execute(f"SET ROLE blink_user; {USERS_SQL.read_text()}")
    postgres.execute("INSERT INTO users (username, email) VALUES ('test_user','test@example.com')")
    async with run_app() as client:
        assert (await register(client)).status_code == 201
    postgres.execute(USERS_SQL.read_text())
    postgres.execute("INSERT INTO users (username, email) VALUES ('test_user2','test2@example.com')")
    assert count_users(postgres) == 3
