"""The backend as a process: it stops gracefully and logs nothing personal."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.backend_process import BackendProcess
from tests.conftest import ANN
from tests.postgres import Postgres


async def polled(client: httpx.AsyncClient) -> AsyncIterator[httpx.Response]:
    """Answers of ``/health``, one after the other."""
    for _ in range(400):
        yield await client.get("/health")
        await asyncio.sleep(0.05)


async def refuses_connections(port: int) -> None:
    """
    Return when a new connection is refused; fail after 20 s.

    Asked with bare connections: a request on a kept-alive one may meet the moment in which the server closes it.
    """
    for _ in range(400):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.05)
    raise AssertionError("connections are still accepted")


@pytest.fixture
def backend(postgres: Postgres) -> Iterator[BackendProcess]:
    with BackendProcess(HAPROXY_URL=postgres.url, DRAIN_SECONDS="1.5") as process:
        yield process


async def test_a_request_under_way_is_answered_before_the_process_stops(
    backend: BackendProcess, postgres: Postgres
) -> None:
    async with httpx.AsyncClient(base_url=backend.url, timeout=30) as client:
        assert (await client.post("/register", json=ANN)).status_code == 201
        postgres.set("synchronous_standby_names", "a_standby_that_does_not_exist")
        waiting = asyncio.create_task(
            client.post("/register", json={**ANN, "username": "bob", "email": "bob@example.com"})
        )
        await asyncio.to_thread(postgres.wait_for_sync_waiters)
        backend.terminate()
        draining = await anext(answer async for answer in polled(client) if answer.status_code != 200)
        assert (draining.status_code, draining.json()["code"]) == (503, "draining")
        assert draining.headers["connection"] == "close"
        # Still draining: new requests are taken.
        assert (await client.post("/login", json={"username": "ann", "password": ANN["password"]})).status_code == 200
        await refuses_connections(backend.port)
        assert not waiting.done()
        postgres.set("synchronous_standby_names", "")
        assert (await waiting).status_code == 201
    assert await asyncio.to_thread(backend.end) == 0


async def test_signals_that_mean_nothing_end_no_process_and_no_connection(postgres: Postgres) -> None:
    signals = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, signal.SIGWINCH]
    with BackendProcess(HAPROXY_URL=postgres.url, DRAIN_SECONDS="0") as backend:
        reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        for number in signals:
            backend.process.send_signal(number)
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert head.startswith(b"HTTP/1.1 200 ")
            length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()
    assert backend.process.returncode == 0
    told = [entry["signal"] for entry in backend.log_entries() if entry["message"] == "signal ignored"]
    assert told == ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM"]


async def test_a_process_that_stops_sends_no_cancel(postgres: Postgres) -> None:
    with BackendProcess(
        HAPROXY_URL=postgres.url, DRAIN_SECONDS="0", SHUTDOWN_SECONDS="1", RETRY_BUDGET_SECONDS="1"
    ) as backend:
        async with httpx.AsyncClient(base_url=backend.url, timeout=30) as client:
            assert (await client.post("/register", json=ANN)).status_code == 201
            postgres.set("synchronous_standby_names", "a_standby_that_does_not_exist")
            answer = await client.post("/register", json={**ANN, "username": "bob", "email": "bob@example.com"})
            assert answer.json()["code"] == "outcome_unknown"
            waiters = await asyncio.to_thread(postgres.wait_for_sync_waiters)
        assert await asyncio.to_thread(backend.end) == 0
        assert await asyncio.to_thread(postgres.wait_for_sync_waiters) == waiters


async def test_a_process_that_cannot_wait_any_longer_tells_the_proxy_to_ask_another(postgres: Postgres) -> None:
    with BackendProcess(HAPROXY_URL=postgres.url, DRAIN_SECONDS="0", SHUTDOWN_SECONDS="1") as backend:
        async with httpx.AsyncClient(base_url=backend.url, timeout=30) as client:
            assert (await client.post("/register", json=ANN)).status_code == 201
            postgres.set("synchronous_standby_names", "a_standby_that_does_not_exist")
            bob = {**ANN, "username": "bob", "email": "bob@example.com"}
            waiting = asyncio.create_task(client.post("/register", json=bob, headers={"Idempotency-Key": "bob-1"}))
            await asyncio.to_thread(postgres.wait_for_sync_waiters)
            backend.terminate()
            answer = await waiting
            assert (answer.status_code, answer.json()["code"]) == (502, "stopping")
        assert await asyncio.to_thread(backend.end) == 0
    postgres.set("synchronous_standby_names", "")
    with BackendProcess(HAPROXY_URL=postgres.url) as other:
        async with httpx.AsyncClient(base_url=other.url, timeout=30) as client:
            again = await client.post("/register", json=bob, headers={"Idempotency-Key": "bob-1"})
            assert again.status_code == 201
    assert postgres.execute("SELECT count(*) FROM users WHERE username = 'bob'") == [(1,)]


def test_the_log_is_structured_and_holds_nothing_personal(backend: BackendProcess, postgres: Postgres) -> None:
    with httpx.Client(base_url=backend.url) as client:
        client.post("/register", json=ANN)
        client.post("/register", json=ANN)
        client.post("/login", json={"username": "ann@example.com", "password": "wrong password"})
        token = client.post("/login", json={"username": "ann", "password": ANN["password"]}).json()["access_token"]
        postgres.restart()
        client.get("/users/me?email=ann@example.com", headers={"Authorization": f"Bearer {token}"})
        postgres.execute("ALTER TABLE users ALTER COLUMN password_hash TYPE varchar(10) USING 'x'")
        broken = client.post("/register", json={**ANN, "username": "bob"})
        assert (broken.status_code, broken.json()["code"]) == (503, "database_changed")
    backend.end()
    entries = backend.log_entries()
    routes = [(entry["route"], entry["status"]) for entry in entries if entry["message"] == "request"]
    assert ("/register", 201) in routes
    assert ("/register", 409) in routes
    assert ("/login", 401) in routes
    for secret in ("ann@example.com", ANN["password"], "wrong password", "argon2id", token, "12345"):
        assert secret not in backend.log
    assert '"ann"' not in backend.log
    assert [entry["error"] for entry in entries if "error" in entry] == ["StringDataRightTruncation 22001"]
