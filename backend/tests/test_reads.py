"""Reads from a replica keep what the user wrote before."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict

import httpx
import psycopg
import pytest

from app.database.failures import leaves_connection_useless, reason_to_retry
from app.database.users import SELECT_FOR_LOGIN
from app.security.rate_limit import buckets_of
from tests.conftest import ANN, AppFactory, make_settings, metric
from tests.postgres import Postgres


@pytest.fixture
def standby(postgres: Postgres) -> Iterator[Postgres]:
    replica = Postgres()
    replica.create_standby_of(postgres)
    yield replica
    replica.destroy()


@pytest.fixture
async def client(run_app: AppFactory, standby: Postgres) -> AsyncIterator[httpx.AsyncClient]:
    async with run_app(haproxy_read_url=standby.url, read_pool_size=2) as client:
        yield client


async def session(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    body = {"username": name, "password": ANN["password"]}
    assert (await client.post("/register", json={**body, "email": f"{name}@example.com"})).status_code == 201
    token = (await client.post("/login", json=body)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def me(client: httpx.AsyncClient, headers: dict[str, str]) -> str:
    answer = await client.get("/users/me", headers=headers)
    assert answer.status_code == 200
    return str(answer.json()["username"])


async def answered_by_replica(client: httpx.AsyncClient, headers: dict[str, str]) -> bool:
    """Whether the replica answers within some seconds."""
    before = await metric(client, "backend_replica_reads_total", result="answered")
    for _ in range(100):
        await me(client, headers)
        if await metric(client, "backend_replica_reads_total", result="answered") > before:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_replica_answers_only_when_it_has_what_the_user_wrote(
    client: httpx.AsyncClient, standby: Postgres
) -> None:
    ann = await session(client, "ann")
    assert await answered_by_replica(client, ann)
    standby.execute("SELECT pg_wal_replay_pause()")
    bob = await session(client, "bob")
    # Bob's row is not on the replica yet: he sees it all the same. Ann wrote nothing since: the replica serves her.
    assert await me(client, bob) == "bob"
    assert await metric(client, "backend_replica_reads_total", result="behind") >= 1
    assert await answered_by_replica(client, ann)
    standby.execute("SELECT pg_wal_replay_resume()")
    assert await answered_by_replica(client, bob)


async def test_the_leader_answers_while_the_replica_is_away(client: httpx.AsyncClient, standby: Postgres) -> None:
    ann = await session(client, "ann")
    assert await answered_by_replica(client, ann)
    await asyncio.to_thread(standby.stop)
    assert await me(client, ann) == "ann"
    assert await metric(client, "backend_replica_reads_total", result="unavailable") >= 1
    await asyncio.to_thread(standby.start)
    assert await answered_by_replica(client, ann)


async def test_the_read_endpoint_may_fall_back_to_the_leader(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app(haproxy_read_url=postgres.url) as client:
        assert await answered_by_replica(client, await session(client, "ann"))


async def test_a_login_is_refused_by_a_standby_and_finds_full_buckets_on_a_promoted_one(
    client: httpx.AsyncClient, standby: Postgres
) -> None:
    ann = await session(client, "ann")
    assert await answered_by_replica(client, ann)
    for _ in range(10):
        await client.post("/login", json={"username": "ann", "password": "wrong password"})
    assert (await client.post("/login", json={"username": "ann", "password": "wrong password"})).status_code == 429
    values = {"name": "ann", **asdict(buckets_of(make_settings(haproxy_url=standby.url), "ann", "127.0.0.1"))}
    async with await psycopg.AsyncConnection.connect(standby.url) as connection:
        with pytest.raises(psycopg.Error) as refused:
            await connection.execute(SELECT_FOR_LOGIN, values)
    assert reason_to_retry(refused.value) is not None
    assert leaves_connection_useless(refused.value)
    standby.execute("SELECT pg_promote()", database="postgres")
    async with await psycopg.AsyncConnection.connect(standby.url) as connection:
        row = await (await connection.execute(SELECT_FOR_LOGIN, values)).fetchone()
    assert row is not None
    assert row[3] == 0
