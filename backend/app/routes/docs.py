"""How errors are documented: as problem details, with an example of each code that a route may answer."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.errors import PROBLEM_TYPE, Problem

DESCRIPTIONS = {
    401: "The credentials or the token are not right.",
    409: "Username or email belongs to another person, or the Idempotency-Key to another registration.",
    413: "The body is too long.",
    415: "The body is neither JSON nor a form.",
    422: "The request does not fit; `errors` says what is wrong.",
    429: "Too many failed logins; `Retry-After` says when to try again.",
    503: "The database did not confirm within the retry budget; `Retry-After` says when to try again.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route."""
    return {status: {"model": Problem, "description": DESCRIPTIONS[status]} for status in statuses}


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The schema, with problem details under their own media type."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for path in schema["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    content = response.get("content", {})
                    if int(status) >= 400 and "application/json" in content:
                        content[PROBLEM_TYPE] = content.pop("application/json")
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
