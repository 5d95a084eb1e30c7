"""The running backend answers what its OpenAPI says, to whatever schemathesis thinks of (bounded, no randomness)."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from app.main import create_app
from tests.backend_process import BackendProcess
from tests.conftest import make_settings
from tests.postgres import Postgres

openapi = create_app(make_settings(haproxy_url="postgresql://nobody@localhost/none")).openapi()
schema = schemathesis.openapi.from_dict(openapi)


@pytest.fixture(scope="module")
def backend(server: Postgres) -> Iterator[BackendProcess]:
    limits = {"LOGIN_FAILURES_PER_MINUTE": "100000", "LOGIN_FAILURES_PER_MINUTE_AND_ADDRESS": "100000"}
    with BackendProcess(HAPROXY_URL=server.url, LOG_LEVEL="WARNING", **limits) as process:
        yield process


@schema.parametrize()
@settings(max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_fits_the_openapi(case: schemathesis.Case[Any], backend: BackendProcess) -> None:
    case.call_and_validate(base_url=backend.url)


def test_every_error_is_documented_as_problem_details() -> None:
    for path in openapi["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]


def test_every_body_has_an_example() -> None:
    for name in ("RegisterRequest", "UserResponse", "Problem"):
        assert {"example", "examples"} & set(openapi["components"]["schemas"][name])
