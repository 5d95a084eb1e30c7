"""Register, log in, look at oneself."""

import asyncio

import httpx
import pytest

from tests.conftest import ANN, AppFactory, metric
from tests.postgres import Postgres


async def log_in(client: httpx.AsyncClient, username: str = "ann", password: str = ANN["password"]) -> httpx.Response:
    return await client.post("/login", json={"username": username, "password": password})


async def test_registers_logs_in_and_shows_the_user(client: httpx.AsyncClient) -> None:
    registered = await client.post("/register", json=ANN)
    assert registered.status_code == 201
    assert registered.json()["username"] == "ann"
    assert "password" not in registered.text
    token = (await log_in(client)).json()["access_token"]
    me = await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    assert me.status_code == 200
    assert me.json() == registered.json()


async def test_logs_in_by_form_and_by_email_in_any_case(client: httpx.AsyncClient) -> None:
    await client.post("/register", json={**ANN, "username": "Ann", "email": "Ann@Example.com"})
    form = {"grant_type": "password", "username": "ANN@example.com", "password": ANN["password"]}
    answer = await client.post("/login", data=form)
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "bearer"


async def test_a_taken_name_or_email_is_409_in_the_common_form(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ANN)
    name = await client.post("/register", json={**ANN, "email": "other@example.com"})
    email = await client.post("/register", json={**ANN, "username": "Other"})
    assert (name.status_code, name.json()["code"]) == (409, "username_taken")
    assert (email.status_code, email.json()["code"]) == (409, "email_taken")
    assert name.headers["content-type"] == "application/problem+json"
    assert name.json()["request_id"] == name.headers["x-request-id"]


async def test_a_wrong_password_and_an_unknown_user_cannot_be_told_apart(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ANN)
    wrong, unknown = await log_in(client, password="wrong password"), await log_in(client, username="nobody")
    assert wrong.status_code == unknown.status_code == 401
    assert {**wrong.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}


async def test_a_row_that_a_person_inserted_cannot_log_in_and_blocks_its_name(
    client: httpx.AsyncClient, postgres: Postgres
) -> None:
    await client.post("/register", json=ANN)
    postgres.execute("INSERT INTO users (username, email) VALUES ('test_user','test@example.com')")
    assert (await log_in(client, username="test_user", password="anything at all")).status_code == 401
    taken = await client.post("/register", json={**ANN, "username": "test_user", "email": "new@example.com"})
    assert taken.status_code == 409


async def test_says_what_is_wrong_without_repeating_it(client: httpx.AsyncClient) -> None:
    answer = await client.post("/register", json={"username": "a b", "email": "nowhere", "password": "s3cret"})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"username", "email", "password"}
    assert "s3cret" not in answer.text
    assert "nowhere" not in answer.text


async def test_refuses_characters_that_postgresql_cannot_store(client: httpx.AsyncClient) -> None:
    for email in ("a\x00b@example.com", "a\nb@example.com", "\ud800@example.com"):
        content = '{"username":"ann","password":"correct horse","email":' + ascii(email).replace("'", '"') + "}"
        answer = await client.post(
            "/register", content=content.replace("\\x00", "\\u0000"), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422


async def test_errors_of_the_framework_have_the_common_form(client: httpx.AsyncClient) -> None:
    for answer, code in (
        (await client.get("/nothing"), "not_found"),
        (await client.get("/register"), "method_not_allowed"),
        (await client.post("/login", content=b"x" * 20_000), "body_too_long"),
        (await client.post("/register", json={**ANN, "password": "x" * 20_000}), "body_too_long"),
        (await client.post("/login", content=b"<x/>", headers={"content-type": "text/xml"}), "unsupported_media_type"),
        (await client.post("/login", content=b"{", headers={"content-type": "application/json"}), "invalid_request"),
    ):
        assert answer.json()["code"] == code
        assert answer.json()["status"] == answer.status_code
        assert answer.headers["content-type"] == "application/problem+json"


async def test_many_registrations_of_one_name_at_once_make_one_user(
    client: httpx.AsyncClient, postgres: Postgres
) -> None:
    answers = await asyncio.gather(*(client.post("/register", json=ANN) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 9]
    assert postgres.execute("SELECT count(*) FROM users") == [(1,)]


async def test_the_same_idempotency_key_registers_once(client: httpx.AsyncClient, postgres: Postgres) -> None:
    headers = {"Idempotency-Key": "0b7e"}
    answers = await asyncio.gather(*(client.post("/register", json=ANN, headers=headers) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.text for answer in answers}) == 1
    other = await client.post("/register", json={**ANN, "password": "another horse"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert postgres.execute("SELECT count(*) FROM users") == [(1,)]


async def test_failed_logins_are_limited_and_right_ones_are_not(run_app: AppFactory) -> None:
    async with run_app(login_failures_per_minute=3) as client:
        await client.post("/register", json=ANN)
        at_once = await asyncio.gather(*(log_in(client) for _ in range(8)))
        assert [answer.status_code for answer in at_once] == [200] * 8
        guesses = [(await log_in(client, password="wrong password")) for _ in range(4)]
        assert [guess.status_code for guess in guesses] == [401, 401, 401, 429]
        assert 0 < int(guesses[-1].headers["retry-after"]) <= 20
        assert (await log_in(client)).status_code == 429
        assert await metric(client, "backend_logins_total", result="limited") == 2


async def test_the_limit_holds_over_all_backends_and_refills_evenly(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app(login_failures_per_minute=4) as one, run_app(login_failures_per_minute=4) as other:
        await one.post("/register", json=ANN)
        guesses = [(await log_in(app, password="wrong password")).status_code for app in [one, other] * 3]
        assert guesses == [401] * 4 + [429] * 2
        postgres.execute("UPDATE login_guesses SET at = at - interval '16 seconds'")
        again = [(await log_in(app, password="wrong password")).status_code for app in (one, other)]
        assert again == [401, 429]


async def test_guesses_at_the_same_time_all_count_and_are_waited_for(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app(login_failures_per_minute=2) as client:
        await client.post("/register", json=ANN)
        await asyncio.gather(*(log_in(client, password="wrong password") for _ in range(6)))
        account, address = postgres.execute("SELECT level FROM login_guesses ORDER BY level")
        # All that were begun before the first two failures were counted; each of them is a token.
        checked = await metric(client, "backend_logins_total", result="refused")
        assert 2 <= checked <= 6
        assert abs(account[0] - (2 - checked)) < 1
        assert address[0] < 100
        postgres.execute("UPDATE login_guesses SET level = -3")
        refused = await log_in(client)
        assert refused.status_code == 429
        assert 110 <= int(refused.headers["retry-after"]) <= 120
        postgres.execute("UPDATE login_guesses SET at = at - interval '2 minutes'")
        assert (await log_in(client)).status_code == 200


async def test_who_hammers_an_account_does_not_lock_out_others_at_the_same_address(run_app: AppFactory) -> None:
    limits = {"login_failures_per_minute": 2, "login_failures_per_minute_and_address": 4}
    async with run_app(**limits) as client:
        await client.post("/register", json=ANN)
        hammered = [(await log_in(client, username="bob", password="wrong password")).status_code for _ in range(9)]
        assert hammered == [401] * 2 + [429] * 7
        assert (await log_in(client)).status_code == 200
        spread = [(await log_in(client, username=f"user{n}", password="wrong password")).status_code for n in range(4)]
        assert spread == [401] * 2 + [429] * 2


async def test_buckets_are_swept_once_they_are_full(
    run_app: AppFactory, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.users.SWEEP_EVERY", 1)
    async with run_app() as client:
        values = "('a', 9, now() - interval '61 s'), ('b', -1, now() - interval '61 s'), ('c', 9, now())"
        await client.post("/register", json=ANN)
        postgres.execute(f"INSERT INTO login_guesses VALUES {values}")
        await log_in(client, password="wrong password")
        assert postgres.execute("SELECT key FROM login_guesses WHERE length(key) = 1 ORDER BY 1") == [(b"b",), (b"c",)]


async def test_the_limit_counts_the_address_that_the_proxy_wrote(run_app: AppFactory) -> None:
    async with run_app(login_failures_per_minute=1, behind_proxy=True) as client:

        async def guess(forwarded: str) -> int:
            body = {"username": "ann", "password": "wrong password"}
            return (await client.post("/login", json=body, headers={"X-Forwarded-For": forwarded})).status_code

        assert [await guess("192.0.2.1"), await guess("192.0.2.1")] == [401, 429]
        assert await guess("192.0.2.2") == 401
        assert await guess("192.0.2.9, 192.0.2.1") == 429


async def test_a_login_upgrades_a_hash_with_outdated_parameters(run_app: AppFactory, postgres: Postgres) -> None:
    async with run_app() as client:
        await client.post("/register", json=ANN)
    async with run_app(argon2_memory_kib=20480) as client:
        assert (await log_in(client)).status_code == 200
        for _ in range(100):
            if "m=20480" in postgres.execute("SELECT password_hash FROM users")[0][0]:
                break
            await asyncio.sleep(0.02)
        assert "m=20480" in postgres.execute("SELECT password_hash FROM users")[0][0]
        assert (await log_in(client)).status_code == 200


async def test_refuses_forged_and_missing_tokens(client: httpx.AsyncClient) -> None:
    import jwt  # noqa: PLC0415 - only this test forges

    claims = {"sub": "1", "lsn": "0/1", "iat": 1_700_000_000, "exp": 4_000_000_000}
    forged = [
        jwt.encode(claims, "another key that is long enough to be one", algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        "no.token.at-all",
    ]
    for token in forged:
        answer = await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert (await client.get("/users/me")).status_code == 401


async def test_the_token_of_a_deleted_user_is_refused(client: httpx.AsyncClient, postgres: Postgres) -> None:
    await client.post("/register", json=ANN)
    token = (await log_in(client)).json()["access_token"]
    postgres.execute("DELETE FROM users")
    assert (await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})).status_code == 401
