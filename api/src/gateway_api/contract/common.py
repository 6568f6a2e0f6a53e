"""Types that several endpoints share: the envelope of an answer, ids, digests, counts and issues."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"

STRICT = ConfigDict(extra="forbid", str_strip_whitespace=False)
"""For requests: an unknown field is an error, because it may be a typing error in an important option."""
OPEN = ConfigDict(extra="ignore")
"""For answers: an older client ignores the fields of a newer server."""

T = TypeVar("T")

RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
ExpectedSha256 = Annotated[
    str,
    StringConstraints(pattern=r"^([Ss][Hh][Aa]256:)?[0-9A-Fa-f]{64}$"),
    AfterValidator(lambda text: text[-64:].lower()),
]
"""A SHA-256 as people and tools write it; parsed to lower-case hex without the prefix."""
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""The first 32 hex digits of the SHA-256 of an Ed25519 public key."""

Identity = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=8192,
        description="An age identity (AGE-SECRET-KEY-1…) or the content of a file of several. It is never stored, and "
        "it may differ in a repeated request.",
    ),
]


class Envelope(BaseModel, Generic[T]):
    """The body of every successful answer."""

    model_config = OPEN
    message: str
    data: T
    timestamp: datetime


class Counts(BaseModel):
    """The number of entries in a config."""

    model_config = OPEN
    configs: int = 0
    projects: int = 0
    users: int = 0
    api_keys: int = 0
    disabled_api_keys: int = 0


class Issue(BaseModel):
    """A defect of a config that the gateway can still serve, such as a dangling reference. Never holds a key.

    Two issues are equal if their ``code`` and ``where`` are equal.
    """

    model_config = OPEN
    code: str
    where: str = Field(description="The path in the config: section and id. An API key is named by a short digest.")
    message: str


SignatureState = Literal["valid", "unsigned", "unknown", "invalid"]
"""``unknown``: signed by a key that this server does not trust."""
