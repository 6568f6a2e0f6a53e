"""What several endpoints share: the shape of an answer, ids and digests, what a config holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"


SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"


STRICT = ConfigDict(extra="forbid", str_strip_whitespace=False, frozen=True)


OPEN = ConfigDict(extra="ignore", frozen=True)


T = TypeVar("T")


RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]


Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]


KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


Identity = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=8192,
        description="An age identity (AGE-SECRET-KEY-1…), or a file of several. Kept nowhere, and no part of what "
        "tells a repeated request from another.",
    ),
]


class Envelope(BaseModel, Generic[T]):
    """The body of every success."""

    model_config = OPEN
    message: str
    data: T
    timestamp: datetime


class Counts(BaseModel):
    """How many of each thing a config holds."""

    model_config = OPEN
    configs: int = 0
    projects: int = 0
    users: int = 0
    api_keys: int = 0
    disabled_api_keys: int = 0


class Issue(BaseModel):
    """A dangling reference or another flaw in a config that can still be served. Never holds a key.

    ``where`` is a path of section and id (an API key is named by a short digest), so that two issues are the same
    exactly if ``code`` and ``where`` are.
    """

    model_config = OPEN
    code: str
    where: str
    message: str


SignatureState = Literal["valid", "unsigned", "unknown", "invalid"]
"""``unknown``: signed, but by no key that this server trusts."""
