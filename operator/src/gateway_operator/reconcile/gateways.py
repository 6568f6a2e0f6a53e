"""Resolving a gateway: its workload, a pod of it, and the key and CA for its admin API.

Nothing is remembered between two resolutions, apart from the second for which the backups that queue at one gateway
share a result. Also here: the lock of each gateway, and failed calls as values that decisions understand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.attempts import WAITING_CODES
from gateway_operator.domain.calls import Failure
from gateway_operator.domain.gateway import (
    Endpoint,
    Problem,
    Workload,
    choose,
    confirm,
    owned_pods,
    role_binding_line,
)
from gateway_operator.domain.names import ADMIN_CA_SECRET, ADMIN_KEY_FIELD, ADMIN_KEY_SECRET, CA_FIELD
from gateway_operator.domain.objects import GatewayRef, Json, NamespacedGateway, Ref
from gateway_operator.domain.reasons import Reason
from gateway_operator.ports import AdminApiError, AdminTarget, ForbiddenError, Ports

RESOLUTION_TTL: Final = 1.0
"""Seconds for which queued backups share a resolved gateway: as long as a Service may lag behind its pods."""
T = TypeVar("T")


@dataclass(frozen=True)
class ResolvedGateway:
    """A gateway, resolved once. ``gateway`` says how to call it or why not; ``target`` adds the key.

    The other fields are set as far as the resolution got. ``owned`` are the workload's pods.
    """

    gateway: Endpoint | Problem
    target: AdminTarget | None = None
    workload: Workload | None = None
    pod: Json | None = None
    owned: Sequence[Json] = ()


@dataclass(frozen=True)
class _Credentials:
    """What opens an admin API. Its text form holds no key."""

    key: str = field(repr=False)
    ca: str | None = field(repr=False)


async def resolve_gateway(ports: Ports, namespace: str, ref: GatewayRef) -> ResolvedGateway:
    """Find the workload, a pod of it, and the key for its admin API. No read comes from a cache."""
    found = await _read_workload(ports, namespace, ref)
    return found if isinstance(found, ResolvedGateway) else await _resolve_workload(ports, found, cached=False)


async def _read_workload(ports: Ports, namespace: str, ref: GatewayRef) -> Workload | ResolvedGateway:
    """The workload; or the result of the resolution, where it ends here."""
    try:
        workload = await ports.cluster.workload(namespace, ref)
    except ForbiddenError as error:
        return ResolvedGateway(_not_authorized(ports, namespace, ref, error))
    if workload is None:
        return ResolvedGateway(Problem(Reason.GatewayNotFound, f"There is no {ref} in namespace {namespace}."))
    return workload


async def _resolve_workload(ports: Ports, workload: Workload, *, cached: bool) -> ResolvedGateway:
    """``cached``: the pod may be found through the API server's cache; a fresh read then confirms it."""
    try:
        (chosen, owned), credentials = await asyncio.gather(
            _find_pod(ports, workload, cached), _read_credentials(ports, workload)
        )
    except ForbiddenError as error:
        problem = _not_authorized(ports, workload.namespace, workload.ref, error)
        return ResolvedGateway(problem, workload=workload)
    # A missing Secret comes first: it is often the reason why no pod is ready.
    if isinstance(credentials, Problem):
        return ResolvedGateway(credentials, workload=workload, owned=owned)
    if isinstance(chosen, Problem):
        return ResolvedGateway(chosen, workload=workload, owned=owned)
    endpoint, pod = chosen
    target = AdminTarget(endpoint, credentials.key, credentials.ca)
    return ResolvedGateway(endpoint, target, workload, pod, owned)


def _not_authorized(ports: Ports, namespace: str, ref: GatewayRef, error: ForbiddenError) -> Problem:
    line = role_binding_line(namespace, ref.name, ports.operator)
    return Problem(Reason.NotAuthorized, f"{error}. To grant it: {line}", forbidden=True)


async def _find_pod(
    ports: Ports, workload: Workload, cached: bool
) -> tuple[tuple[Endpoint, Json] | Problem, Sequence[Json]]:
    """Choose a pod to call, and give the workload's pods with it.

    A StatefulSet's pod has a known name and is read by it, so that there is nothing to confirm.
    """
    if cached and workload.ref.kind == "Deployment":
        offered = choose(workload, *await ports.cluster.pods(workload, cached=True))
        if not isinstance(offered, Problem):
            listed = offered[1]
            # The list may be out of date, and its address may belong to another pod by now: read the pod itself.
            current = await ports.cluster.pod(workload.namespace, str(listed["metadata"]["name"]))
            confirmed = None if current is None else confirm(workload, listed, current)
            if confirmed is not None:
                return confirmed, [confirmed[1]]
    # Only a list that is not from the cache may say that no pod can be called.
    replica_sets, pods = await ports.cluster.pods(workload)
    return choose(workload, replica_sets, pods), owned_pods(workload, replica_sets, pods)


async def _read_credentials(ports: Ports, workload: Workload) -> _Credentials | Problem:
    ref, name = workload.ref, workload.key_secret
    if name is None:
        annotate = f"kubectl annotate {ref.kind.lower()} {ref.name} {ADMIN_KEY_SECRET}=NAME."
        message = f"{ref} does not say which Secret holds its admin key. If it is a gateway: {annotate}"
        return Problem(Reason.GatewayNotConfigured, message)
    secret = await ports.cluster.secret(workload.namespace, name)
    key = secret.fields.get(ADMIN_KEY_FIELD) if secret is not None else None
    if not key:
        detail = "does not exist" if secret is None else f"has no key {ADMIN_KEY_FIELD}"
        message = f"Secret {name}, which {ref} names in {ADMIN_KEY_SECRET}, {detail}."
        return Problem(Reason.AdminKeyMissing, message)
    ca_name = workload.ca_secret
    if ca_name is None:
        return _Credentials(key, None)
    ca_secret = secret if ca_name == name else await ports.cluster.secret(workload.namespace, ca_name)
    ca = ca_secret.fields.get(CA_FIELD) if ca_secret is not None else None
    if not ca:
        detail = "does not exist" if ca_secret is None else f"has no key {CA_FIELD}"
        message = f"Secret {ca_name}, which {ref} names in {ADMIN_CA_SECRET}, {detail}."
        return Problem(Reason.CertificateMissing, message)
    return _Credentials(key, ca)


async def call_or_failure(call: Awaitable[T]) -> T | Failure:
    """Await a call to an admin API. An AdminApiError becomes a ``Failure`` value."""
    try:
        return await call
    except AdminApiError as error:
        return Failure(
            code=str(error.code),
            message=error.detail,
            retryable=error.retryable,
            remedy=error.remedy,
            retry_after=error.retry_after,
            exempt_from_retry_limit=error.code in WAITING_CODES,
            outcome_unknown=error.outcome_unknown,
        )


def backup_id_of(ports: Ports, health: SystemHealthData | Failure | None, ref: Ref) -> str | None:
    """The id of the backup that a GatewayBackup makes on the volume of ``health``; None if the volume is not known."""
    if isinstance(health, SystemHealthData) and health.volume_id is not None:
        return ports.admin_api.backup_id(health.volume_id, ref.uid)
    return None


class GatewayLock(asyncio.Lock):
    """Serialises the calls to one gateway. Backups that queue for it share a resolved gateway for a second."""

    def __init__(self, namespace: str, ref: GatewayRef) -> None:
        super().__init__()
        self._namespace = namespace
        self._ref = ref
        self._resolved: tuple[datetime, ResolvedGateway] | None = None

    async def begin(self, ports: Ports) -> Workload | ResolvedGateway:
        """The first read of a resolution, so that a caller can do it beside a read of its own.

        It is the last result instead, if that is younger than ``RESOLUTION_TTL``. Call it only while the lock is held.
        """
        if self._resolved is not None:
            age = (ports.clock.now() - self._resolved[0]).total_seconds()
            # A clock that was set back must not make a result last longer.
            if 0 <= age < RESOLUTION_TTL:
                return self._resolved[1]
        return await _read_workload(ports, self._namespace, self._ref)

    async def resolve(self, ports: Ports, begun: Workload | ResolvedGateway) -> ResolvedGateway:
        """The rest of the resolution. Backups that wait for the lock share a gateway that can be called."""
        if isinstance(begun, ResolvedGateway):
            return begun
        now = ports.clock.now()
        resolved = await _resolve_workload(ports, begun, cached=True)
        if resolved.target is not None:
            self._resolved = (now, resolved)
        return resolved

    def invalidate(self) -> None:
        """Forget the shared result: a call through it failed."""
        self._resolved = None


class GatewayLocks:
    """One call at a time to each gateway: the admin API would answer ``Busy`` to a second one."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[NamespacedGateway, GatewayLock] = WeakValueDictionary()

    def get(self, namespace: str, ref: GatewayRef) -> GatewayLock:
        """The lock of a gateway. It exists while somebody holds it or waits for it."""
        key = NamespacedGateway(namespace, ref)
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = GatewayLock(namespace, ref)
        return lock
