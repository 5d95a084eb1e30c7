"""Access tokens: JWT with one fixed algorithm."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt

from app.config import Settings

ALGORITHM = "HS256"
LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")


class InvalidTokenError(Exception):
    """The token is forged, expired or malformed."""


@dataclass(frozen=True)
class Session:
    """The owner of a token, and the leader's position at its issue: all earlier writes of the user are before it."""

    user_id: int
    lsn: str


class Tokens:
    """Issues and checks tokens."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.signing_key
        self.lifetime_seconds = settings.token_seconds

    def issue(self, session: Session) -> str:
        """A signed token that expires after ``lifetime_seconds``."""
        now = datetime.now(UTC)
        claims = {
            "sub": str(session.user_id),
            "lsn": session.lsn,
            "iat": now,
            "exp": now + timedelta(seconds=self.lifetime_seconds),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def check(self, token: str) -> Session:
        """The session of a token. Raises :class:`InvalidTokenError`."""
        try:
            claims = jwt.decode(
                token, self._key, algorithms=[ALGORITHM], options={"require": ["sub", "lsn", "iat", "exp"]}
            )
        except jwt.InvalidTokenError as error:
            raise InvalidTokenError from error
        subject, lsn = claims["sub"], claims["lsn"]
        if not (re.fullmatch(r"[0-9]{1,18}", subject) and isinstance(lsn, str) and LSN.fullmatch(lsn)):
            raise InvalidTokenError
        return Session(int(subject), lsn)
