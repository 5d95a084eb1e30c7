"""The application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolClosed
from starlette.exceptions import HTTPException

from app.config import Settings
from app.database.migrate import keep_schema
from app.errors import ApiError, on_api_error, on_http_exception, on_invalid_request
from app.metrics import Metrics
from app.middleware import Observe
from app.routes import accounts, health
from app.routes.docs import openapi_of
from app.state import make_state

LAST_WRITES_SECONDS = 2
"""At shutdown every request has been answered. Tasks that still run have no request that waits (a hash upgrade)."""

DESCRIPTION = """
Register and log in, through any failover of the database: a request waits and is tried again while a new leader takes
over. A registration that is answered with 201 is replicated. Errors are problem details (RFC 9457) with a `code`.
"""


def create_app(settings: Settings) -> FastAPI:
    """Build the application. It starts although the database is away."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = make_state(settings, metrics)
        app.state.parts = parts
        await parts.gateway.open()
        schema = asyncio.create_task(keep_schema(parts.gateway))
        try:
            yield
        finally:
            await parts.gateway.close(LAST_WRITES_SECONDS)
            schema.cancel()
            with suppress(asyncio.CancelledError, PoolClosed):
                await schema
            parts.passwords.close()

    app = FastAPI(
        title="postgres-failover backend",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        exception_handlers={
            ApiError: on_api_error,
            RequestValidationError: on_invalid_request,
            HTTPException: on_http_exception,
        },
    )
    app.state.draining = False
    app.include_router(accounts.router, tags=["accounts"])
    app.include_router(health.router, tags=["operation"])
    app.add_middleware(Observe, metrics=metrics, body_bytes_max=settings.body_bytes_max)
    app.openapi = lambda: openapi_of(app)  # type: ignore[method-assign]
    return app
