"""Around every request: an id, a limit on the body, the metrics, one line in the log, and an answer to any error."""

import asyncio
import logging
import re
import time
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError, problem_response
from app.logs import request_id
from app.metrics import Metrics

log = logging.getLogger("app.access")

REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class BodyTooLongError(ApiError):
    """413."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(413, "body_too_long", f"The body may have at most {bytes_max} bytes.")


class Observe:
    """Plain ASGI: Starlette's base class would put the endpoint into a task that a leaving client cancels."""

    def __init__(self, app: ASGIApp, metrics: Metrics, body_bytes_max: int) -> None:
        self._app = app
        self._metrics = metrics
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _request_id(scope)
        request_id.set(identity)
        begun = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
                if scope["app"].state.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, self._limited(scope, receive), send_with_id)
        except asyncio.CancelledError:
            # The server stops, and the time limit for open requests is over. 502 tells the proxy to ask another
            # backend, and has no other use here. The registration's id shows what was begun here.
            if status != 0:
                raise
            error = ApiError(502, "stopping", "This backend stops; ask another one.")
            await problem_response(error)(scope, receive, send_with_id)
        except Exception as error:
            if not isinstance(error, ApiError):
                log.exception("unexpected error")
                error = ApiError(500, "internal_error", "Unexpected error; its request_id is in the log.")
            if status == 0:
                await problem_response(error)(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - begun)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        received = 0
        for name, value in scope["headers"]:
            if name == b"content-length" and (len(value) > 18 or int(value) > self._body_bytes_max):
                received = self._body_bytes_max + 1

        async def limited() -> Message:
            nonlocal received
            if received > self._body_bytes_max:
                raise BodyTooLongError(self._body_bytes_max)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body_bytes_max:
                raise BodyTooLongError(self._body_bytes_max)
            return message

        return limited

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).observe(seconds)
        fields: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
        }
        log.log(logging.DEBUG if route in QUIET_ROUTES else logging.INFO, "request", extra={"fields": fields})


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return bytes(value).decode()
    return uuid4().hex
