"""Register, log in, and look at oneself."""

import json
import logging
from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import NAMESPACE_URL, uuid4, uuid5

from fastapi import APIRouter, Depends, Header, Request
from fastapi.security import OAuth2PasswordBearer
from pydantic import ValidationError

from app.database.users import Registered, TakenError
from app.errors import ApiError, FieldError, field_errors, invalid_request
from app.logs import describe
from app.routes.docs import problems
from app.schemas import LoginRequest, RegisterRequest, TokenResponse, UserResponse
from app.security.rate_limit import buckets_of
from app.security.tokens import InvalidTokenError, Session
from app.state import Parts, State

log = logging.getLogger(__name__)
router = APIRouter()

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="Repeat a registration whose answer was lost with the same key: it is done once.",
    ),
]
bearer = OAuth2PasswordBearer(tokenUrl="login", auto_error=False)


@router.post("/register", status_code=201, responses=problems(409, 413, 422, 503), summary="Register a user")
async def register(body: RegisterRequest, parts: Parts, idempotency_key: IdempotencyKey = None) -> UserResponse:
    """201 means: committed, and replicated if a replica is counted."""
    # All that identifies the registration is made before the first attempt, so it can be repeated as a whole.
    registration_id = uuid4()
    if idempotency_key is not None:
        registration_id = uuid5(NAMESPACE_URL, f"{idempotency_key}\n{body.username}\n{body.email}")
    password_hash = await parts.passwords.hash(body.password)
    try:
        row = await parts.users.register(registration_id, body.username, body.email, password_hash)
    except TakenError as taken:
        raise ApiError(409, f"{taken.field}_taken", f"This {taken.field} is taken.") from None
    if row.password_hash != password_hash:
        await _check_replay(parts, row, body.password)
    return UserResponse.model_validate(row)


async def _check_replay(parts: State, row: Registered, password: str) -> None:
    """Checks that an earlier request with the same key was the same request."""
    same, _ = await parts.passwords.verify(password, row.password_hash)
    if not same:
        raise ApiError(409, "idempotency_key_reused", "This Idempotency-Key belongs to another registration.")


LOGIN_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": LoginRequest.model_json_schema()}
            for media_type in ("application/json", "application/x-www-form-urlencoded")
        },
    }
}


@router.post(
    "/login", responses=problems(401, 413, 415, 422, 429, 503), openapi_extra=LOGIN_BODY, summary="Get an access token"
)
async def login(request: Request, parts: Parts) -> TokenResponse:
    """Takes JSON or a form. The answer is the same for a wrong password and for an unknown user."""
    credentials = await _read_credentials(request)
    name, address = credentials.username, client_address(request, behind_proxy=parts.settings.behind_proxy)
    buckets = buckets_of(parts.settings, name, address)
    row = await parts.users.for_login(name, buckets)
    if row.wait_seconds > 0:
        parts.metrics.logins.labels("limited").inc()
        detail = "Too many failed logins; wait before the next one."
        raise ApiError(429, "too_many_failures", detail, headers={"Retry-After": str(row.wait_seconds)})
    fits, new_hash = await parts.passwords.verify(credentials.password, row.password_hash)
    if row.id is None or row.password_hash is None or not fits:
        parts.metrics.logins.labels("refused").inc()
        await parts.users.count_failure(buckets)
        raise ApiError(
            401, "wrong_credentials", "Username or password is not right.", headers={"WWW-Authenticate": "Bearer"}
        )
    parts.metrics.logins.labels("accepted").inc()
    if new_hash is not None:
        parts.gateway.background(_upgrade(parts, row.id, row.password_hash, new_hash))
    token = parts.tokens.issue(Session(row.id, row.lsn))
    return TokenResponse(access_token=token, expires_in=parts.tokens.lifetime_seconds)


async def _upgrade(parts: State, user_id: int, old_hash: str, new_hash: str) -> None:
    """No request waits for this: the next login tries again."""
    try:
        await parts.users.upgrade_hash(user_id, old_hash, new_hash)
    except Exception as error:  # noqa: BLE001 - a login does not fail for it
        log.warning("a password hash was not upgraded", extra={"fields": {"cause": describe(error)}})


async def _read_credentials(request: Request) -> LoginRequest:
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    body = await request.body()
    fields: Any
    try:
        if media_type == "application/json":
            fields = json.loads(body)
        elif media_type == "application/x-www-form-urlencoded":
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
        else:
            raise ApiError(415, "unsupported_media_type", "Send JSON or a form (application/x-www-form-urlencoded).")
    except (ValueError, RecursionError):
        raise invalid_request([FieldError(field="", message=f"The body is no {media_type}.")]) from None
    try:
        return LoginRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(field_errors(error.errors(include_input=False, include_url=False))) from None


def client_address(request: Request, *, behind_proxy: bool) -> str:
    """The client's address: the last one that the proxy wrote, or the peer's."""
    if behind_proxy:
        forwarded = request.headers.getlist("x-forwarded-for")
        if forwarded:
            return forwarded[-1].split(",")[-1].strip()
    return request.client.host if request.client else ""


async def current_session(parts: Parts, token: Annotated[str | None, Depends(bearer)]) -> Session:
    """The session of the bearer token."""
    try:
        return parts.tokens.check(token or "")
    except InvalidTokenError:
        raise _not_authenticated() from None


def _not_authenticated() -> ApiError:
    return ApiError(401, "not_authenticated", "A valid access token is needed.", headers={"WWW-Authenticate": "Bearer"})


@router.get("/users/me", responses=problems(401, 503), summary="Who am I")
async def me(session: Annotated[Session, Depends(current_session)], parts: Parts) -> UserResponse:
    """A replica answers if it has replayed what this user wrote (the token's LSN), else the leader."""
    user = await parts.users.by_id(session.user_id, session.lsn)
    if user is None:
        raise _not_authenticated()
    return UserResponse.model_validate(user)
