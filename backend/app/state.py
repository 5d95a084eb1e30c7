"""What the endpoints share."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from app.config import Settings
from app.database.gateway import Gateway
from app.database.users import Users
from app.metrics import Metrics
from app.readiness import Readiness
from app.security.passwords import Passwords
from app.security.tokens import Tokens


@dataclass
class State:
    """One application's parts. Made inside the event loop."""

    settings: Settings
    metrics: Metrics
    gateway: Gateway
    users: Users
    passwords: Passwords
    tokens: Tokens
    readiness: Readiness


def make_state(settings: Settings, metrics: Metrics) -> State:
    """Wire the parts."""
    gateway = Gateway(settings, metrics)
    return State(
        settings=settings,
        metrics=metrics,
        gateway=gateway,
        users=Users(gateway, metrics),
        passwords=Passwords(settings),
        tokens=Tokens(settings),
        readiness=Readiness(gateway),
    )


async def _current(request: Request) -> State:
    return cast("State", request.app.state.parts)


Parts = Annotated[State, Depends(_current)]
