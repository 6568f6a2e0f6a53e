"""What the admin API answers, in the operator's own words. The adapter translates; nothing else knows the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of each thing a config holds."""

    configs: int = 0
    projects: int = 0
    users: int = 0
    api_keys: int = 0
    disabled_api_keys: int = 0

    def status(self) -> dict[str, int]:
        """As a status shows them."""
        return {
            "configs": self.configs,
            "projects": self.projects,
            "users": self.users,
            "apiKeys": self.api_keys,
            "disabledApiKeys": self.disabled_api_keys,
        }

    @classmethod
    def parse(cls, status: Mapping[str, Any]) -> Counts:
        """From a status."""
        names = ("configs", "projects", "users", "apiKeys", "disabledApiKeys")
        return cls(*(int(status.get(name) or 0) for name in names))


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """A backup as the admin API's record of it says."""

    backup_id: str
    path: str
    created: datetime
    gateway_id: str
    volume_id: str
    gateway_version: str | None
    content_sha256: str
    stored_sha256: str
    stored_bytes: int
    level: str
    counts: Counts | None = field(default_factory=Counts)
    recipients: tuple[str, ...] = ()
    signed_by: tuple[str, ...] = ()
    content_bytes: int | None = None
    proof: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def protection(self) -> dict[str, dict[str, list[str]]]:
        """Whom it is encrypted to and who signed it, as a status shows them; a plain or unsigned one says nothing."""
        shown = {
            "encryption": {"recipients": list(self.recipients[:64])},
            "signature": {"keyIDs": list(self.signed_by[:16])},
        }
        return {name: value for name, value in shown.items() if any(value.values())}


@dataclass(frozen=True, slots=True)
class Checked:
    """What looking at a stored file again has found. ``level`` is None, and ``problems`` says why, if it is not whole.

    ``problems`` are (code, sentence) pairs.
    """

    stored_sha256: str
    level: str | None
    proof: str | None = None
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A file on a gateway's volume. ``stored`` is absent where no manifest describes it, or not this content."""

    path: str
    kind: str
    modified: datetime
    stored: StoredBackup | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The parts of the detailed health that decisions need."""

    status: str
    config_path: str
    config_valid: bool
    config_digest: str | None
    sections_digest: str | None
    gateway_id: str | None
    volume_id: str | None
    pending_request: str | None = None
    encrypted: bool = False
    problems: tuple[str, ...] = ()


class Journal(StrEnum):
    """The states of a restore in the admin API's journal."""

    prepared = "prepared"
    applied = "applied"
    committed = "committed"
    rolled_back = "rolled_back"


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """A restore as the admin API's journal has it."""

    request_id: str
    state: Journal
    previous_sha256: str | None
    restored_sha256: str
    sections_digest: str
    safety_kind: str
    safety_path: str | None
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that did not give what was asked for.

    ``retryable``: the same call may succeed later. ``free``: waiting its turn, so it counts as no attempt.
    ``unsure``: it may have been done although no answer came.
    """

    code: str
    message: str
    retryable: bool
    cure: str = ""
    retry_after: float | None = None
    free: bool = False
    unsure: bool = False

    def sentence(self) -> str:
        """What went wrong and what to do, for a person. Some answers' detail is their cure already."""
        return self.message if self.cure in self.message else f"{self.message} {self.cure}"


@dataclass(frozen=True, slots=True)
class Gone:
    """The admin API answered, and knows no such thing."""
