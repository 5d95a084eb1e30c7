"""Makes and checks argon2id hashes in threads of their own: a hash takes tens of milliseconds of a core."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2.exceptions import Argon2Error, InvalidHashError
from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from app.config import Settings
from app.errors import unavailable

T = TypeVar("T")


class Passwords:
    """Hashes and verifies with the parameters of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._hasher = PasswordHash(
            (
                Argon2Hasher(
                    memory_cost=settings.argon2_memory_kib,
                    time_cost=settings.argon2_passes,
                    parallelism=settings.argon2_lanes,
                ),
            )
        )
        self._dummy = self._hasher.hash("no user has this password")
        self._threads = ThreadPoolExecutor(settings.hash_threads, thread_name_prefix="argon2")
        self._waiting = 0
        self._queue = settings.hash_queue

    def close(self) -> None:
        """Let running hashes end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """A new hash. Raises 503 when too many wait."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """True when the password fits, and a new hash if the stored one has outdated parameters.

        Exactly one verification runs, also without a stored hash, so the time does not reveal whether a user exists.
        """
        return await self._run(lambda: self._verify(password, stored))

    def _verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        if stored is not None:
            try:
                return self._hasher.verify_and_update(password, stored)
            except (Argon2Error, InvalidHashError, PwdlibError):
                pass  # not a hash of this program: no login with it is possible
        self._hasher.verify(password, self._dummy)
        return False, None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._queue:
            raise unavailable("overloaded", "Too many requests are waiting for a password hash.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
