"""The interfaces to the outside: the Kubernetes API, the gateways' admin APIs and the clock.

The reconciles use only these protocols and errors. ``adapters`` implements them, and tests use implementations in
memory. A reconcile gets all of them as one ``Ports`` value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from gateway_api.contract import BackupPage, BackupRecord, ExistingBackup, RestorePlan, RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.admission import InstalledPolicy
from gateway_operator.domain.gateway.workload import Endpoint, Workload
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model.actions import CallBackup, CallReset, CallRestore, KubernetesEvent
from gateway_operator.domain.model.admin_api import BackupFile, FileCheck, NotFound, TaggedPage
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.drill_ports import DrillObjects


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


class ClusterError(Exception):
    """A request to the Kubernetes API failed. Apart from the subclasses, a repeated request may succeed."""


class ConflictError(ClusterError):
    """HTTP 409: the object has changed since it was read, or exists already. Read it and decide again."""


class ForbiddenError(ClusterError):
    """HTTP 403: the service account or user has no permission for the request."""


class InvalidError(ClusterError):
    """HTTP 422: the API server rejects the object. The same request will fail again."""


class MissingError(ClusterError):
    """HTTP 404: the object does not exist."""


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
class Secret:
    """A Secret's labels and decoded text fields, without surrounding white space. ``repr`` shows no field."""

    labels: Mapping[str, str]
    fields: Mapping[str, str] = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. ``more`` is the token of the next page; empty on the last page."""

    items: Sequence[Json]
    more: str
    server_time: datetime | None
    """The API server's clock when it answered."""


class Cluster(Protocol):
    """The Kubernetes API. Every call may raise ClusterError. "Our" objects are those of the operator's CRDs."""

    async def read(self, ref: Ref) -> Json | None:
        """One of our objects; None if it does not exist or has another uid. An empty uid matches any."""
        ...

    async def list_ours(self, kind: str, namespace: str) -> list[Json]:
        """All objects of one of our kinds in a namespace; in all namespaces if it is empty."""
        ...

    async def page(self, kind: str, namespace: str, after: str = "") -> Page:
        """One page of a consistent list of one of our kinds; of all namespaces if ``namespace`` is empty.

        ClusterError if the answer may be incomplete.
        """
        ...

    async def create_ours(self, kind: str, namespace: str, body: Json) -> Json:
        """Create one of our objects and return it. ConflictError if the name is taken."""
        ...

    async def write_status(self, meta: Meta, status: Mapping[str, Any]) -> Json:
        """Merge into the status on top of the version in ``meta``. Returns the new object.

        ConflictError if there is a newer version.
        """
        ...

    async def set_finalizer(self, meta: Meta, present: bool) -> None:
        """Add or remove our finalizer of this kind on top of the version in ``meta``.

        ConflictError if there is a newer version.
        """
        ...

    async def set_owners(self, meta: Meta, owners: Sequence[Json]) -> None:
        """Replace the owners on top of the version in ``meta``. ConflictError if there is a newer version."""
        ...

    async def delete_ours(self, meta: Meta) -> None:
        """Delete one of our objects if it still has the version in ``meta``.

        ConflictError if there is a newer version, MissingError if it does not exist.
        """
        ...

    async def delete_by_uid(self, ref: Ref) -> None:
        """Delete one of our objects in any version, if it still has this uid.

        ConflictError if it has another uid, MissingError if it does not exist.
        """
        ...

    async def workload(self, namespace: str, ref: GatewayRef) -> Workload | None: ...

    async def pods(self, workload: Workload, *, cached: bool = False) -> tuple[list[Json], list[Json]]:
        """The ReplicaSets and pods that a Deployment's selector selects; for a StatefulSet only the ordinal's pod.

        ``cached``: from the API server's cache, which is fast and may be out of date.
        """
        ...

    async def pod(self, namespace: str, name: str) -> Json | None:
        """A pod, read from the API server's store: it is never out of date."""
        ...

    async def secret(self, namespace: str, name: str) -> Secret | None: ...

    async def job(self, namespace: str, name: str) -> Json | None:
        """A Job; None if it does not exist."""
        ...

    async def cron_job(self, namespace: str, name: str) -> Json | None:
        """A CronJob; None if it does not exist."""
        ...

    async def admission_policy(self, name: str) -> InstalledPolicy:
        """A ValidatingAdmissionPolicy and the binding of the same name. Errors are part of the result."""
        ...

    async def restart(self, workload: Workload, marker: str) -> None:
        """Annotate the pod template, so that the controller replaces the pods. The same marker has no effect twice.

        ConflictError if the workload has a newer version.
        """
        ...

    async def event(self, ref: Ref, note: KubernetesEvent, at: datetime) -> None:
        """Emit an event for one of our objects. Never raises: a lost event must not stop a reconcile."""
        ...


class Clock(Protocol):
    """The time in UTC, and sleeping; tests replace both."""

    def now(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Ports:
    """The dependencies of every reconcile.

    ``operator`` is the operator's ServiceAccount as NAMESPACE:NAME, for commands in messages. ``backup_index`` has all
    GatewayBackups of the watch; if it is None, they are listed when needed. ``policies`` is the first part of the names
    of the chart's admission policies; empty if they are not installed.
    ``drill_objects`` is None only in tests.
    """

    cluster: Cluster
    admin_api: AdminApi
    clock: Clock
    operator: str = ""
    backup_index: BackupIndex | None = None
    policies: str = ""
    drill_objects: DrillObjects | None = None
