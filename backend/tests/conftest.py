"""Fixtures: one server for all tests, one application for each."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from tests.postgres import Postgres

ANN = {"username": "ann", "email": "ann@example.com", "password": "correct horse"}

AppFactory = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def make_settings(**changes: Any) -> Settings:
    return Settings(**{"environment": "dev", "retry_budget_seconds": 5, **changes})


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    postgres = Postgres()
    try:
        postgres.create()
        yield postgres
    finally:
        postgres.destroy()


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """The server, running, with default settings and without a schema."""
    if server._server is None:
        server.start()
    for name in ("synchronous_standby_names", "default_transaction_read_only"):
        server.execute(f"ALTER SYSTEM RESET {name}", database="postgres")
    server.execute("SELECT pg_reload_conf()", database="postgres")
    server.execute("SET default_transaction_read_only = off; DROP OWNED BY blink_user CASCADE")
    server.execute("SET default_transaction_read_only = off; ALTER SCHEMA public OWNER TO pg_database_owner")
    return server


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://backend", timeout=60) as client,
    ):
        yield client


@pytest.fixture
def run_app(postgres: Postgres) -> AppFactory:
    """Start an application on the server, with changed settings."""

    def start(**changes: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return running(create_app(make_settings(**{"haproxy_url": postgres.url, **changes})))

    return start


@pytest.fixture
async def client(run_app: AppFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with run_app() as client:
        yield client


async def metric(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """Sum of a metric's samples that have these labels."""
    total = 0.0
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith(name) and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total
