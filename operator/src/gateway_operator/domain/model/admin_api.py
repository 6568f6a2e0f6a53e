"""Results of a call to an admin API: the models of the contract, or one of the two values below.

Errors are values here, because most of them are an expected input of a decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_api.contract import (
    BackupPage,
    BackupRecord,
    Counts,
    ExistingBackup,
    FileInspection,
    VerificationResult,
)

BackupFile = BackupRecord | FileInspection
"""A file in the backup directory: one that a manifest describes, or one that was inspected because none does."""
FileCheck = VerificationResult | FileInspection
"""The result of reading a file again: by its backup id, or by its path where it has no id."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed.

    ``retryable``: the same call may succeed later, after ``retry_after`` seconds. ``exempt_from_retry_limit``: the
    gateway is busy, so the call does not count as an attempt. ``outcome_unknown``: no answer came, but the call may
    have taken effect. ``existing``: only with ``NameUsed``, the backup that has the name.
    """

    code: str
    message: str
    retryable: bool
    remedy: str = ""
    retry_after: float | None = None
    exempt_from_retry_limit: bool = False
    outcome_unknown: bool = False
    existing: ExistingBackup | None = None

    def status(self) -> dict[str, str]:
        """The failure in the form of ``status.failure``."""
        return {"reason": str(self.code), "message": self.sentence()}

    def sentence(self) -> str:
        """The problem and its remedy. Some messages already contain the remedy."""
        return self.message if self.remedy in self.message else f"{self.message} {self.remedy}"


@dataclass(frozen=True, slots=True)
class TaggedPage:
    """The first page of a list of files. ``page`` is None if the list has not changed since the tag of the request."""

    page: BackupPage | None
    etag: str


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """The workload was patched, so that its pods are replaced. ``old_pods``: the uids of its pods before the patch."""

    old_pods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotFound:
    """The admin API answered that the thing does not exist."""


def counts_status(counts: Counts) -> dict[str, int]:
    """The counts in the form of ``status.counts``."""
    return {
        "configs": counts.configs,
        "projects": counts.projects,
        "users": counts.users,
        "apiKeys": counts.api_keys,
        "disabledApiKeys": counts.disabled_api_keys,
    }
