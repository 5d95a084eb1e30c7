"""Bodies of requests and answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

USERNAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{2,62}$"
EMAIL = r"^[^@\s\x00-\x1f\x7f]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"

# Both are kept in lower case: "Ann" must not be able to pass for "ann", nor register one mailbox twice.
Username = Annotated[
    str,
    Field(pattern=USERNAME, description="3 to 63 of A-Z a-z 0-9 _ . -; kept in lower case."),
    AfterValidator(str.lower),
]
Email = Annotated[
    str,
    Field(max_length=254, pattern=EMAIL, json_schema_extra={"format": "email"}, description="Kept in lower case."),
    AfterValidator(str.lower),
]
Password = Annotated[str, Field(min_length=8, max_length=128)]


class RegisterRequest(BaseModel):
    """A new user."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"username": "test_user", "email": "test@example.com", "password": "correct horse battery"}]
        },
    )

    username: Username
    email: Email
    password: Password


class LoginRequest(BaseModel):
    """Credentials; ``username`` may be the email address."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": "test_user", "password": "correct horse battery"}]}
    )

    username: Annotated[str, Field(min_length=1, max_length=254), AfterValidator(str.lower)]
    password: Annotated[str, Field(min_length=1, max_length=128)]


class UserResponse(BaseModel):
    """A user with fields that only its owner may see."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {"id": 1, "username": "test_user", "email": "test@example.com", "created_at": "2026-11-24T21:55:22Z"}
            ]
        },
    )

    id: int
    username: str
    email: str
    created_at: datetime


class TokenResponse(BaseModel):
    """An access token (OAuth 2.0's form)."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int = Field(description="Seconds.")


class Health(BaseModel):
    """Liveness."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Readiness: a commit was made, and where."""

    status: Literal["ready"] = "ready"
    node: str = Field(description="The node that took the commit.", examples=["postgres-primary"])
    commit_ms: float = Field(description="How long the commit took, replication included.")
