"""The interface to the Kubernetes API, and its errors. The objects of schedules and drills have files of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from gateway_operator.domain.gateway.admission import InstalledPolicy
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.resources import Json, Meta


class ClusterError(Exception):
    """A request to the Kubernetes API failed. Apart from the subclasses, a repeated request may succeed."""


class ConflictError(ClusterError):
    """HTTP 409: the object has changed since it was read, or exists already. Read it and decide again."""


class ForbiddenError(ClusterError):
    """HTTP 403: the service account or user has no permission for the request."""


class InvalidError(ClusterError):
    """HTTP 400 or 422: the API server rejects the request. The same request will fail again."""


class MissingError(ClusterError):
    """HTTP 404: the object does not exist."""


@dataclass(frozen=True)
class Secret:
    """A Secret's labels and decoded text fields, without surrounding white space. ``repr`` shows no field."""

    labels: Mapping[str, str]
    fields: Mapping[str, str] = field(repr=False)
    resource_version: str = ""


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

    async def volume_claim(self, namespace: str, name: str) -> Json | None:
        """A PersistentVolumeClaim; None if it does not exist."""
        ...

    async def persistent_volume(self, name: str) -> Json | None:
        """A PersistentVolume; None if it does not exist."""
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
