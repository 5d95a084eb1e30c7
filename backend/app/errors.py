"""Errors in one form: RFC 9457 problem details with a stable ``code``. An error never repeats what a client sent."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from app.logs import request_id

PROBLEM_TYPE = "application/problem+json"
FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed"}


class FieldError(BaseModel):
    """The error in one part of the request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as every endpoint answers it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Conflict",
                "status": 409,
                "code": "username_taken",
                "detail": "This username is taken.",
                "request_id": "5f1c0c6b2d0a4a3f8f7f0d7c3c1b2a90",
            }
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldError] | None = None


class ApiError(HTTPException):
    """An answer other than success; raised anywhere below a route."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(status, code, headers)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)


def unavailable(code: str, detail: str, retry_after_seconds: int = 2) -> ApiError:
    """503: the database cannot be written or read within the budget."""
    return ApiError(503, code, detail, headers={"Retry-After": str(retry_after_seconds)})


def problem_response(error: ApiError) -> JSONResponse:
    """Render an error."""
    problem = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        code=error.code,
        detail=error.detail,
        request_id=request_id.get(),
        errors=error.errors or None,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=error.status,
        headers=dict(error.headers or {}),
        media_type=PROBLEM_TYPE,
    )


def field_errors(problems: Sequence[Any]) -> list[FieldError]:
    """Pydantic's findings without the input."""
    return [
        FieldError(field=".".join(str(part) for part in p["loc"] if part != "body"), message=str(p["msg"]))
        for p in problems
    ]


def invalid_request(errors: Sequence[FieldError]) -> ApiError:
    """422: the request does not fit its schema."""
    return ApiError(422, "invalid_request", "The request does not fit; see errors.", errors=errors)


async def on_api_error(_: Request, error: Exception) -> JSONResponse:
    """Handler of :class:`ApiError`."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this class only
    return problem_response(error)


async def on_invalid_request(_: Request, error: Exception) -> JSONResponse:
    """Handler of FastAPI's validation error."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    return problem_response(invalid_request(field_errors(error.errors())))


async def on_http_exception(_: Request, error: Exception) -> JSONResponse:
    """Handler of the framework's own errors (404, 405, a body that cannot be read)."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    if error.status_code == 400:  # FastAPI's word for a body that it cannot read
        return problem_response(invalid_request([FieldError(field="", message="The body is no JSON.")]))
    code = FRAMEWORK_CODES.get(error.status_code, f"http_{error.status_code}")
    detail = HTTPStatus(error.status_code).phrase + "."
    return problem_response(ApiError(error.status_code, code, detail, headers=error.headers))
