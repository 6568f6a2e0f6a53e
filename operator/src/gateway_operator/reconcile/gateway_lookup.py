"""Resolving a gateway: its workload, a pod of it, and the key and CA for its admin API.

Nothing is remembered between two resolutions, apart from the second for which the backups that queue at one gateway
share a result. Also here: the lock of each gateway, and failed calls as values that decisions understand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.grants import role_binding_line
from gateway_operator.domain.gateway.workload import Endpoint, Workload, choose, confirm, owned_pods
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import ADMIN_CA_SECRET, ADMIN_KEY_FIELD, ADMIN_KEY_SECRET, CA_FIELD
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.retry import WAITING_CODES
from gateway_operator.ports import AdminApiError, AdminTarget, ForbiddenError, Ports

T = TypeVar("T")


@dataclass(frozen=True)
class ResolvedGateway:
    """A gateway, resolved once. ``gateway`` says how to call it or why not; ``target`` adds the key.

    The other fields are set as far as the resolution got. ``owned`` are the workload's pods.
    """

    gateway: Endpoint | GatewayProblem
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
        return ResolvedGateway(GatewayProblem(Reason.GatewayNotFound, f"There is no {ref} in namespace {namespace}."))
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
    if isinstance(credentials, GatewayProblem):
        return ResolvedGateway(credentials, workload=workload, owned=owned)
    if isinstance(chosen, GatewayProblem):
        return ResolvedGateway(chosen, workload=workload, owned=owned)
    endpoint, pod = chosen
    target = AdminTarget(endpoint, credentials.key, credentials.ca)
    return ResolvedGateway(endpoint, target, workload, pod, owned)


def _not_authorized(ports: Ports, namespace: str, ref: GatewayRef, error: ForbiddenError) -> GatewayProblem:
    line = role_binding_line(namespace, ref.name, ports.operator)
    return GatewayProblem(Reason.NotAuthorized, f"{error}. To grant it: {line}", forbidden=True)


async def _find_pod(
    ports: Ports, workload: Workload, cached: bool
) -> tuple[tuple[Endpoint, Json] | GatewayProblem, Sequence[Json]]:
    """Choose a pod to call, and give the workload's pods with it.

    A StatefulSet's pod has a known name and is read by it, so that there is nothing to confirm.
    """
    if cached and workload.ref.kind == "Deployment":
        offered = choose(workload, *await ports.cluster.pods(workload, cached=True))
        if not isinstance(offered, GatewayProblem):
            listed = offered[1]
            # The list may be out of date, and its address may belong to another pod by now: read the pod itself.
            current = await ports.cluster.pod(workload.namespace, str(listed["metadata"]["name"]))
            confirmed = None if current is None else confirm(workload, listed, current)
            if confirmed is not None:
                return confirmed, [confirmed[1]]
    # Only a list that is not from the cache may say that no pod can be called.
    replica_sets, pods = await ports.cluster.pods(workload)
    return choose(workload, replica_sets, pods), owned_pods(workload, replica_sets, pods)


async def _read_credentials(ports: Ports, workload: Workload) -> _Credentials | GatewayProblem:
    ref, name = workload.ref, workload.key_secret
    if name is None:
        annotate = f"kubectl annotate {ref.kind.lower()} {ref.name} {ADMIN_KEY_SECRET}=NAME."
        message = f"{ref} does not say which Secret holds its admin key. If it is a gateway: {annotate}"
        return GatewayProblem(Reason.GatewayNotConfigured, message)
    secret = await ports.cluster.secret(workload.namespace, name)
    key = secret.fields.get(ADMIN_KEY_FIELD) if secret is not None else None
    if not key:
        detail = "does not exist" if secret is None else f"has no key {ADMIN_KEY_FIELD}"
        message = f"Secret {name}, which {ref} names in {ADMIN_KEY_SECRET}, {detail}."
        return GatewayProblem(Reason.AdminKeyMissing, message)
    ca_name = workload.ca_secret
    if ca_name is None:
        return _Credentials(key, None)
    ca_secret = secret if ca_name == name else await ports.cluster.secret(workload.namespace, ca_name)
    ca = ca_secret.fields.get(CA_FIELD) if ca_secret is not None else None
    if not ca:
        detail = "does not exist" if ca_secret is None else f"has no key {CA_FIELD}"
        message = f"Secret {ca_name}, which {ref} names in {ADMIN_CA_SECRET}, {detail}."
        return GatewayProblem(Reason.CertificateMissing, message)
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
