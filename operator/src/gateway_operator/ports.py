"""What the operator needs of the outside, as the reconcile sees it. The adapters implement it; tests do so too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from gateway_api.contract import BackupPage, BackupRecord, RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.workload import Endpoint, Workload
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model.actions import CallBackup, CallRestore, KubernetesEvent
from gateway_operator.domain.model.admin_api import BackupFile, FileCheck, NotFound
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.resources import Json, Meta


class AdminApiError(Exception):
    """A call to an admin API failed. Never holds a key."""

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
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status = status
        self.retryable = retryable
        self.detail = detail
        self.remedy = remedy
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown


class ClusterError(Exception):
    """The Kubernetes API did not do what was asked, and may later."""


class ConflictError(ClusterError):
    """The object changed since it was read, or exists already: look again."""


class ForbiddenError(ClusterError):
    """A permission is missing."""


class InvalidError(ClusterError):
    """The API server refuses what was written, and will refuse it again."""


class MissingError(ClusterError):
    """The object is gone, or another one of the same name took its place."""


@dataclass(frozen=True)
class AdminTarget:
    """An admin API and what opens it. Its text form holds no key."""

    endpoint: Endpoint
    key: str = field(repr=False)
    ca: str | None = field(default=None, repr=False)

    @property
    def proven(self) -> bool:
        """Whether who answers is proven by a CA of this gateway's own: what an identity may be sent to."""
        return self.endpoint.tls and self.ca is not None


@dataclass(frozen=True)
class Secret:
    """A Secret's labels and text fields. Its text form holds none of the latter."""

    labels: Mapping[str, str]
    fields: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Identity:
    """An age identity on its way to one call. Its text form holds nothing of it."""

    text: str = field(repr=False)


class AdminApi(Protocol):
    """The gateways' admin APIs. Every call may raise AdminApiError."""

    async def health(self, target: AdminTarget) -> SystemHealthData:
        """The detailed health."""
        ...

    async def backup(self, target: AdminTarget, call: CallBackup) -> BackupRecord:
        """Make a backup, or give the one that this request id has made."""
        ...

    async def read_backup(self, target: AdminTarget, backup_id: str) -> BackupRecord | NotFound:
        """The record of a backup."""
        ...

    async def find_file(self, target: AdminTarget, path: str) -> BackupFile | NotFound:
        """The file at a path of the backup directory: its record, or what an inspection found where it has no manifest.

        A file that an inspection found damaged is an error.
        """
        ...

    async def check_file(self, target: AdminTarget, backup_id: str, path: str) -> FileCheck | NotFound:
        """Read a stored file again and verify it; by its path where it has no id."""
        ...

    async def list_files(self, target: AdminTarget, token: str | None) -> BackupPage:
        """A page of the inventory."""
        ...

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        """Delete a backup's file. False if it was gone already."""
        ...

    async def restore(self, target: AdminTarget, call: CallRestore, identity: Identity | None) -> RestoreResult:
        """Replace the config, or give what this request id has done. An identity goes over proven TLS or not at all."""
        ...

    async def read_restore(self, target: AdminTarget, request_id: str) -> RestoreResult | NotFound:
        """The journal of a restore."""
        ...

    async def commit(self, target: AdminTarget, request_id: str) -> RestoreResult:
        """Make a restore final."""
        ...

    async def rollback(self, target: AdminTarget, request_id: str) -> RestoreResult:
        """Put the previous config back."""
        ...

    def backup_id(self, volume_id: str, request_id: str) -> str:
        """The id of the backup that a request makes on a volume: no call is made."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a list. ``more`` leads to the next one; empty after the last."""

    items: Sequence[Json]
    more: str
    server_time: datetime | None
    """The API server's clock when it answered."""


class Cluster(Protocol):
    """The Kubernetes API. Every call may raise ClusterError."""

    async def read(self, ref: Ref) -> Json | None:
        """One object of ours; None if it is gone or has another uid."""
        ...

    async def list_ours(self, kind: str, namespace: str) -> list[Json]:
        """All objects of one of our kinds in a namespace."""
        ...

    async def page(self, kind: str, namespace: str, after: str = "") -> Page:
        """A page of all objects of one of our kinds, fresh and of one instant; of all namespaces if it is empty.

        ClusterError if there is any doubt that it is whole.
        """
        ...

    async def create_ours(self, kind: str, namespace: str, body: Json) -> None:
        """Create an object of ours. Conflict if the name is taken."""
        ...

    async def write_status(self, meta: Meta, status: Mapping[str, Any]) -> Json:
        """Merge into the status of exactly the version that was read. Conflict if there is a newer one."""
        ...

    async def put_label(self, meta: Meta, key: str, value: str) -> Json:
        """Label an object of ours, on top of exactly the version that was read. Gives what it is now."""
        ...

    async def set_finalizer(self, meta: Meta, present: bool) -> None:
        """Add our finalizer or remove it, on top of exactly the version that was read. Conflict if there is a newer
        one."""
        ...

    async def delete_ours(self, meta: Meta) -> None:
        """Delete an object of ours, if it is exactly the version that was read. Conflict if there is a newer one,
        Missing if it is gone."""
        ...

    async def delete_by_uid(self, ref: Ref) -> None:
        """Delete an object of ours whatever its version, if it still has this uid. Conflict if it has another,
        Missing if it is gone."""
        ...

    async def workload(self, namespace: str, ref: GatewayRef) -> Workload | None:
        """The workload of a gateway."""
        ...

    async def pods(self, workload: Workload, *, cached: bool = False) -> tuple[list[Json], list[Json]]:
        """The ReplicaSets of a Deployment and the pods that its selector selects; of a StatefulSet, the ordinal's pod.

        ``cached``: from the API server's cache, which is fast and may be out of date.
        """
        ...

    async def pod(self, namespace: str, name: str) -> Json | None:
        """A pod, read from the store: never out of date."""
        ...

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """A Secret."""
        ...

    async def restart(self, workload: Workload, marker: str) -> None:
        """Mark the pod template, which makes the controller replace the pods. The same marker twice does so once."""
        ...

    async def event(self, ref: Ref, note: KubernetesEvent, at: datetime) -> None:
        """Tell people. Never fails."""
        ...


class CronJobs(Protocol):
    """CronJobs and what their pods need. Every call may raise ClusterError."""

    async def read(self, namespace: str, name: str) -> Json | None:
        """A CronJob."""
        ...

    async def create(self, namespace: str, body: Json) -> Json:
        """Create one. Conflict if the name is taken, Invalid if the API server refuses it."""
        ...

    async def patch(self, namespace: str, name: str, patch: Json) -> Json:
        """Merge into exactly the version that the patch names. Conflict if there is a newer one."""
        ...

    async def has_account(self, namespace: str, name: str) -> bool:
        """Whether there is such a ServiceAccount."""
        ...


class Clock(Protocol):
    """The time, and waiting."""

    def now(self) -> datetime:
        """The time in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class Ports:
    """Everything a reconcile is given. ``operator`` names the ServiceAccount in hints, as NAMESPACE:NAME.
    ``backup_index`` holds the GatewayBackups that the watch has shown; without it they are listed when needed."""

    cluster: Cluster
    admin_api: AdminApi
    clock: Clock
    operator: str = ""
    backup_index: BackupIndex | None = None
