"""The interface to the admin APIs of the gateways, its errors, and the values that a call needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway_api.contract import BackupPage, BackupRecord, ExistingBackup, RestorePlan, RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.actions import CallBackup, CallReset, CallRestore
from gateway_operator.domain.model.admin_api import BackupFile, FileCheck, NotFound, TaggedPage


class AdminApiError(Exception):
    """A call to an admin API failed. The text never contains a key.

    ``outcome_unknown``: the call may have been executed. ``retry_after`` is a number of seconds. ``status`` is the HTTP
    status, or None if there was no answer. ``existing``: with NameUsed, the backup that has the name.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        retryable: bool,
        status: int | None = None,
        remedy: str = "",
        retry_after: float | None = None,
        outcome_unknown: bool = False,
        existing: ExistingBackup | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status = status
        self.retryable = retryable
        self.detail = detail
        self.remedy = remedy
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
        self.existing = existing


@dataclass(frozen=True)
class AdminTarget:
    """The endpoint of an admin API with its keys and CA. ``repr`` shows neither keys nor CA.

    There is at least one key. While a key is rotated there are several, and each call tries them in this order.
    """

    endpoint: Endpoint
    keys: tuple[str, ...] = field(repr=False)
    ca: str | None = field(default=None, repr=False)

    @property
    def proven(self) -> bool:
        """Whether a CA of the gateway's own proves the server. An identity may only be sent to such a server."""
        return self.endpoint.tls and self.ca is not None


@dataclass(frozen=True)
class Identity:
    """An age identity (a private key) for one call. ``repr`` does not show it."""

    text: str = field(repr=False)


class AdminApi(Protocol):
    """The gateways' admin APIs. Every call may raise AdminApiError."""

    async def health(self, target: AdminTarget) -> SystemHealthData:
        """The detailed health: volume id, config path and a pending restore."""
        ...

    async def backup(self, target: AdminTarget, call: CallBackup) -> BackupRecord:
        """Make a backup. If this request id has made one already, return it."""
        ...

    async def read_backup(self, target: AdminTarget, backup_id: str) -> BackupRecord | NotFound: ...

    async def find_file(self, target: AdminTarget, path: str) -> BackupFile | NotFound:
        """The file at a path of the backup directory: its record, or an inspection if it has no valid manifest.

        AdminApiError if the inspection reports a damaged file.
        """
        ...

    async def check_file(self, target: AdminTarget, backup_id: str, path: str) -> FileCheck | NotFound:
        """Read a stored file and verify it. If ``backup_id`` is empty, inspect the file at ``path``."""
        ...

    async def list_files(self, target: AdminTarget, token: str | None) -> BackupPage:
        """One page of the files in the backup directory. ``token`` is the previous page's; None for the first page."""
        ...

    async def list_if_changed(self, target: AdminTarget, etag: str) -> TaggedPage:
        """The first page of the files, or no page if nothing in the whole list has changed since ``etag``."""
        ...

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        """Delete a backup's file. False if it did not exist."""
        ...

    async def restore(self, target: AdminTarget, call: CallRestore, identity: Identity | None) -> RestoreResult:
        """Replace the config, or return the result of an earlier call with this request id.

        AdminApiError if ``identity`` is given and the target is not ``proven``.
        """
        ...

    async def reset(self, target: AdminTarget, call: CallReset) -> RestoreResult:
        """Replace the config by an empty one, or return the result of an earlier call with this request id."""
        ...

    async def plan(self, target: AdminTarget, call: CallRestore | CallReset, identity: Identity | None) -> RestorePlan:
        """The effect of a restore or reset, which is not made. AdminApiError if it would be refused.

        AdminApiError also if ``identity`` is given and the target is not ``proven``.
        """
        ...

    async def copy_backup(self, source: AdminTarget, target: AdminTarget, backup_id: str, seconds: float) -> None:
        """Copy a backup and its manifest to another gateway. It may be repeated. ``seconds`` limits each call."""
        ...

    async def read_restore(self, target: AdminTarget, request_id: str) -> RestoreResult | NotFound:
        """The admin API's journal entry of a restore."""
        ...

    async def commit(self, target: AdminTarget, request_id: str) -> RestoreResult:
        """Make a restore final: afterwards it cannot be rolled back."""
        ...

    async def rollback(self, target: AdminTarget, request_id: str, *, force: bool) -> RestoreResult:
        """Put the previous config back. AdminApiError if the restored config has been changed since."""
        ...

    def backup_id(self, volume_id: str, request_id: str) -> str:
        """Compute the id of the backup that a request makes on a volume. No call is made."""
        ...
