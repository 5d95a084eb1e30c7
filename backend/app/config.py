"""Settings: environment variables first, then the files that the stack uploads to :data:`SECRETS_DIR`."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS_DIR = Path("/etc/backend/secrets")
"""One file for each secret, with the setting's name: ``haproxy_url``, ``haproxy_read_url``, ``secret_key``."""

DEV_SECRET_KEY = "dev-stack-only-not-a-secret-change-me"  # noqa: S105 - public on purpose, refused outside dev
SECRET_KEY_BYTES_MIN = 32
SECRET_KEY_CHARACTERS_MIN = 10
"""Number of different characters; random hexadecimal of this length has 14 or more."""
PLACEHOLDERS = ("change", "placeholder", "example", "not-a-secret", "your-secret", "insecure")


class SettingsError(Exception):
    """Some settings are wrong. The message names each of them and what is allowed; it contains no secret."""


class Settings(BaseSettings):
    """All settings. Times are seconds."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=True)

    environment: Literal["dev", "production"] = "production"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    haproxy_url: SecretStr
    """URL for writes, for example ``postgresql://blink_user:…@haproxy:5432/blink_db``."""
    haproxy_read_url: SecretStr | None = None
    """The read-only endpoint; without it every read goes to the leader."""
    told_password_file: Path = Path("/var/lib/backend/told_password")
    """File that ``learn-password`` writes before the password of the URLs changes; the backend tries both passwords."""
    retry_budget_seconds: float = Field(default=10, ge=0.5, le=60)
    """How long one request may wait for the database and try again; longer than any failover."""
    replica_read_seconds: float = Field(default=0.2, ge=0.02, le=10)
    """How long a read waits for a replica before it asks the leader."""
    stuck_write_seconds: float = Field(default=300, ge=1)
    """A write without an answer gives up its connection after this time (it closes it, and never cancels: S7)."""
    pool_size: int = Field(default=8, ge=2, le=100)
    pool_reserved: int = Field(default=2, ge=1)
    """Connections of the pool that are kept free for reads, so that people can log in while writes wait."""
    read_pool_size: int = Field(default=4, ge=1, le=100)
    pool_queue: int = Field(default=1000, ge=1)
    connect_parallel: int = Field(default=2, ge=1, le=10)
    """Connections that are opened at the same time: a pool must not flood the new leader (S24)."""

    secret_key: SecretStr = SecretStr("")
    token_seconds: int = Field(default=1800, ge=60, le=86400)

    argon2_memory_kib: int = Field(default=19456, ge=19456, le=1048576)
    argon2_passes: int = Field(default=2, ge=2, le=20)
    argon2_lanes: int = Field(default=1, ge=1, le=16)
    hash_threads: int = Field(default=2, ge=1, le=64)
    hash_queue: int = Field(default=500, ge=1)

    login_failures_per_minute: int = Field(default=10, ge=1)
    """Failed logins allowed for one account from one address."""
    login_failures_per_minute_and_address: int = Field(default=100, ge=1)
    behind_proxy: bool = False
    """The last entry of ``X-Forwarded-For`` is the client. That is true if only HAProxy reaches the backend."""
    body_bytes_max: int = Field(default=16384, ge=1024)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    drain_seconds: float = Field(default=1, ge=0, le=60)
    """After SIGTERM: how long ``/health`` says "draining" while requests are still taken."""
    shutdown_seconds: int = Field(default=12, ge=1, le=120)
    """After that: how long open requests may take; longer than the retry budget."""

    @field_validator("haproxy_url", "haproxy_read_url")
    @classmethod
    def _is_postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname:
                raise ValueError("must look like postgresql://user:password@host:5432/database")
        return url

    @field_validator("pool_reserved")
    @classmethod
    def _leaves_writers(cls, reserved: int, info: ValidationInfo) -> int:
        size = info.data.get("pool_size", reserved + 1)
        if reserved >= size:
            raise ValueError(f"{reserved} must be below POOL_SIZE, which is {size}")
        return reserved

    @field_validator("secret_key")
    @classmethod
    def _is_secret(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("environment") == "dev":
            return key
        value = key.get_secret_value()
        if len(value.encode()) < SECRET_KEY_BYTES_MIN:
            raise ValueError(f"must have at least {SECRET_KEY_BYTES_MIN} bytes unless ENVIRONMENT is dev")
        if any(word in value.lower() for word in PLACEHOLDERS) or len(set(value)) < SECRET_KEY_CHARACTERS_MIN:
            raise ValueError("is a placeholder, allowed only where ENVIRONMENT is dev; use random bytes")
        return key

    @property
    def signing_key(self) -> bytes:
        """The key of the access tokens. Only the dev stack may use the default one."""
        return (self.secret_key.get_secret_value() or DEV_SECRET_KEY).encode()


def load_settings(secrets_dir: Path = SECRETS_DIR) -> Settings:
    """Read and check all settings at once.

    Raises :class:`SettingsError` that names every wrong setting. No value is in the message: it may be a secret.
    """
    try:
        return Settings(_secrets_dir=secrets_dir if secrets_dir.is_dir() else None)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(problem["loc"][0]) if problem["loc"] else ""
            text = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
            if problem["type"] == "missing":
                text = f"is missing; set the environment variable or write the file {secrets_dir / name}"
            lines.append(f"{name.upper()} {text}".strip())
        raise SettingsError("\n".join(lines)) from None
