"""What people change in the database is kept, and the backend says what it misses; it makes no second, empty table."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.conftest import ANN, AppFactory
from tests.postgres import Postgres
from tests.test_sessions import logs_in, works

NEXT = {**ANN, "username": "robert", "email": "robert@example.com"}

CHANGES = {
    "renamed table": "ALTER TABLE public.users RENAME TO accounts",
    "dropped table": "DROP TABLE public.users",
    "moved table": "CREATE SCHEMA moved; ALTER TABLE public.users SET SCHEMA moved",
    "moved tables": "ALTER SCHEMA public RENAME TO moved; CREATE SCHEMA public AUTHORIZATION pg_database_owner",
    "renamed column": "ALTER TABLE public.users RENAME COLUMN password_hash TO hash",
    "dropped column": "ALTER TABLE public.users DROP COLUMN registration_id",
    "column of another type": "ALTER TABLE public.users ALTER password_hash TYPE integer USING 0",
    "revoked privileges": "REVOKE ALL ON public.users FROM blink_user; ALTER TABLE public.users OWNER TO postgres",
    "revoked schema": "REVOKE ALL ON SCHEMA public FROM PUBLIC, blink_user; ALTER SCHEMA public OWNER TO postgres",
    "a rule": "CREATE RULE no AS ON INSERT TO public.users DO INSTEAD NOTHING",
    "forbidden by row security": "ALTER TABLE public.users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
}
AT_WORK = {
    "a column that needs a value": (
        "ALTER TABLE public.users ADD COLUMN country text NOT NULL DEFAULT '';"
        "ALTER TABLE public.users ALTER country DROP DEFAULT"
    ),
    "a constraint": "ALTER TABLE public.users ADD CHECK (username <> 'robert')",
    "a shorter column": "ALTER TABLE public.users ALTER COLUMN username TYPE varchar(3)",
    "a trigger": (
        "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';"
        "CREATE TRIGGER no BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.no()"
    ),
}


@pytest.fixture
def postgres(postgres: Postgres) -> Iterator[Postgres]:
    yield postgres
    postgres.execute("DROP SCHEMA IF EXISTS moved CASCADE; DROP SCHEMA IF EXISTS public CASCADE")
    postgres.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner; GRANT USAGE ON SCHEMA public TO PUBLIC")


def tables(postgres: Postgres) -> list[tuple[object, ...]]:
    return postgres.execute(
        "SELECT relnamespace::regnamespace::text, relname FROM pg_class WHERE relkind = 'r' AND relnamespace IN "
        "(SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'moved')) ORDER BY 1, 2"
    )


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("when", ["running", "restarted"])
async def test_a_changed_table_is_told_and_not_made_again(
    run_app: AppFactory, postgres: Postgres, change: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_app() as client:
        await works(client, "ann")
        if when == "running":
            postgres.execute(change)
            before = tables(postgres)
            begun = time.monotonic()
            refused = await client.post("/register", json=NEXT)
            ready = await client.get("/ready")
            assert time.monotonic() - begun < 3
    if when == "restarted":
        postgres.execute(change)
        before = tables(postgres)
        async with run_app(retry_budget_seconds=1) as client:
            refused = await client.post("/register", json=NEXT)
            ready = await client.get("/ready")
    assert (refused.status_code, refused.json()["code"]) == (503, "database_changed"), refused.text
    if "ROW LEVEL" not in change:
        assert (ready.status_code, ready.json()["code"]) == (503, "database_changed"), ready.text
    assert tables(postgres) == before
    told = [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}]
    assert told, "the log has no line"


@pytest.mark.parametrize("change", AT_WORK.values(), ids=AT_WORK)
async def test_what_refuses_only_some_rows_is_told_and_logins_go_on(
    run_app: AppFactory, postgres: Postgres, change: str
) -> None:
    async with run_app() as client:
        await works(client, "ann")
        postgres.execute(change)
        refused = await client.post("/register", json=NEXT)
        assert (refused.status_code, refused.json()["code"]) == (503, "database_changed"), refused.text
        await logs_in(client, "ann")


async def test_a_column_that_a_person_added_changes_nothing(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app() as client:
        await works(client, "ann")
        postgres.execute("ALTER TABLE public.users ADD COLUMN country text DEFAULT 'vn'")
        await works(client, "bob")
        assert (await client.get("/ready")).status_code == 200


async def test_a_start_needs_neither_the_lock_nor_the_right_to_create(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app() as client:
        await works(client, "ann")
    postgres.execute("ALTER SCHEMA public OWNER TO postgres; GRANT USAGE ON SCHEMA public TO blink_user")
    held = asyncio.create_task(
        asyncio.to_thread(postgres.execute, f"SELECT pg_advisory_lock({0x706766_6261636B}), pg_sleep(3)")
    )
    async with run_app() as client:
        await works(client, "bob")
        assert not held.done()
    await held


async def test_a_locked_table_leaves_no_sessions_behind(run_app: AppFactory, postgres: Postgres) -> None:
    """Each request gives up its connection; the server's side of it must end, too."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'blink_user' AND wait_event_type = 'Lock'"
    async with run_app(retry_budget_seconds=1, pool_size=4, pool_reserved=2) as client:
        await works(client, "ann")
        held = asyncio.create_task(
            asyncio.to_thread(postgres.execute, "BEGIN; LOCK TABLE public.users; SELECT pg_sleep(6); COMMIT")
        )
        most = 0
        while not held.done():
            logins = (client.post("/login", json={"username": "ann", "password": ANN["password"]}) for _ in range(4))
            await asyncio.gather(*logins)
            most = max(most, postgres.execute(waiting, database="postgres")[0][0])
        assert most <= 8
        await held
        await logs_in(client, "ann")
