"""Resolves a gateway: its workload, one of its pods, and the key and CA for its admin API.

The workload's annotations name the Secrets. Nothing is cached here; ``gateway_lock`` shares a result for a second.
``call_or_failure`` converts the error of an admin API call to a value for the decisions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.credentials import admin_keys, certificates
from gateway_operator.domain.gateway.grants import OPERATOR_CHART, secrets_grant_line
from gateway_operator.domain.gateway.workload import Endpoint, Workload, choose, confirm, owned_pods
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import ADMIN_CA_SECRET, ADMIN_KEY_FIELD, ADMIN_KEY_SECRET, CA_FIELD
from gateway_operator.domain.model.problem import GatewayProblem, unexpected_failure, unexpected_problem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.retry import WAITING_CODES
from gateway_operator.leadership import NotLeaderError
from gateway_operator.ports import AdminApiError, AdminTarget, ClusterError, ForbiddenError, Ports

T = TypeVar("T")
_log = logging.getLogger("gateway_operator.reconcile")
_NOT_OBSERVED: Final = GatewayProblem(Reason.InternalError, "The gateway was not observed.")


@dataclass(frozen=True)
class ResolvedGateway:
    """The result of one resolution. ``gateway`` is the endpoint or the problem; ``target`` adds the key and CA.

    ``target`` is None if there is a problem. ``workload``, ``pod`` and ``owned`` (the workload's pods) are set as far
    as the resolution got. ``key_version`` is the version of the Secret from which the keys of ``target`` were read.
    """

    gateway: Endpoint | GatewayProblem
    target: AdminTarget | None = None
    workload: Workload | None = None
    pod: Json | None = None
    owned: Sequence[Json] = ()
    key_version: str = ""

    @property
    def problem(self) -> GatewayProblem:
        """Why the gateway cannot be called, if ``target`` is None."""
        return self.gateway if isinstance(self.gateway, GatewayProblem) else _NOT_OBSERVED


@dataclass(frozen=True)
class _Credentials:
    """The keys and CA of an admin API, and the version of the Secret with the keys. ``repr`` shows neither secret."""

    keys: tuple[str, ...] = field(repr=False)
    ca: str | None = field(repr=False)
    key_version: str


async def resolve_gateway(ports: Ports, namespace: str, ref: GatewayRef) -> ResolvedGateway:
    """Resolve a gateway without any cache. Every problem is in the result, also an unexpected exception."""
    workload = await read_workload(ports, namespace, ref)
    if isinstance(workload, ResolvedGateway):
        return workload
    return await resolve_workload(ports, workload, cached=False)


async def read_workload(ports: Ports, namespace: str, ref: GatewayRef) -> Workload | ResolvedGateway:
    """The workload; or the final result if the workload does not exist or must not be read."""
    try:
        workload = await ports.cluster.workload(namespace, ref)
    except ForbiddenError as error:
        return ResolvedGateway(_operator_role_is_incomplete(error))
    except Exception as error:
        return ResolvedGateway(lookup_problem(error))
    if workload is None:
        return ResolvedGateway(GatewayProblem(Reason.GatewayNotFound, f"There is no {ref} in namespace {namespace}."))
    return workload


async def resolve_workload(ports: Ports, workload: Workload, *, cached: bool) -> ResolvedGateway:
    """``cached``: the pods may be listed from the API server's cache; a fresh read then confirms the chosen pod."""
    try:
        (chosen, owned), credentials = await asyncio.gather(
            _find_pod(ports, workload, cached), _credentials_or_problem(ports, workload)
        )
    except ForbiddenError as error:
        return ResolvedGateway(_operator_role_is_incomplete(error), workload=workload)
    except Exception as error:
        return ResolvedGateway(lookup_problem(error), workload=workload)
    # A missing Secret is reported before a missing pod, because it is often the reason why no pod is ready.
    if isinstance(credentials, GatewayProblem):
        return ResolvedGateway(credentials, workload=workload, owned=owned)
    if isinstance(chosen, GatewayProblem):
        return ResolvedGateway(chosen, workload=workload, owned=owned)
    endpoint, pod = chosen
    target = AdminTarget(endpoint, credentials.keys, credentials.ca)
    return ResolvedGateway(endpoint, target, workload, pod, owned, credentials.key_version)


def _operator_role_is_incomplete(error: ForbiddenError) -> GatewayProblem:
    """The operator may not read workloads or pods, which its own chart grants."""
    return GatewayProblem(Reason.NotAuthorized, f"{error}. {OPERATOR_CHART}", forbidden=True)


def lookup_problem(error: Exception) -> GatewayProblem:
    """A problem instead of an exception, so that the object that needs the gateway still reaches its deadline."""
    if isinstance(error, ClusterError):
        return GatewayProblem(Reason.KubernetesError, f"{error}")
    _log.error("The lookup of a gateway failed with an unexpected error.", exc_info=error)
    return unexpected_problem(error)


async def _find_pod(
    ports: Ports, workload: Workload, cached: bool
) -> tuple[tuple[Endpoint, Json] | GatewayProblem, Sequence[Json]]:
    """Choose the pod to call. Returns it, or the problem, and the workload's pods.

    A StatefulSet's pod is read by its name, so there is nothing to confirm.
    """
    if cached and workload.ref.kind == "Deployment":
        offered = choose(workload, *await ports.cluster.pods(workload, cached=True))
        if not isinstance(offered, GatewayProblem):
            listed = offered[1]
            # The cached list may be out of date, and the address in it may belong to another pod by now. The admin key
            # is sent to this address, so read the pod itself.
            current = await ports.cluster.pod(workload.namespace, str(listed["metadata"]["name"]))
            confirmed = None if current is None else confirm(workload, listed, current)
            if confirmed is not None:
                return confirmed, [confirmed[1]]
    # A problem is reported only after a list that does not come from the cache.
    replica_sets, pods = await ports.cluster.pods(workload)
    return choose(workload, replica_sets, pods), owned_pods(workload, replica_sets, pods)


async def _credentials_or_problem(ports: Ports, workload: Workload) -> _Credentials | GatewayProblem:
    try:
        return await _read_credentials(ports, workload)
    except ForbiddenError as error:
        secrets = dict.fromkeys(name for name in (workload.key_secret, workload.ca_secret) if name is not None)
        line = secrets_grant_line(workload.namespace, workload.ref.name, secrets, ports.operator)
        message = (
            f"{error}. The gateway's chart grants it to the ServiceAccount in operator.serviceAccount; by hand: {line}"
        )
        return GatewayProblem(Reason.NotAuthorized, message, forbidden=True)


async def _read_credentials(ports: Ports, workload: Workload) -> _Credentials | GatewayProblem:
    ref, name = workload.ref, workload.key_secret
    if name is None:
        annotate = f"kubectl annotate {ref.kind.lower()} {ref.name} {ADMIN_KEY_SECRET}=NAME."
        message = f"{ref} has no annotation that names the Secret with its admin key. If it is a gateway: {annotate}"
        return GatewayProblem(Reason.GatewayNotConfigured, message)
    secret = await ports.cluster.secret(workload.namespace, name)
    text = secret.fields.get(ADMIN_KEY_FIELD) if secret is not None else None
    if secret is None or not text:
        detail = "does not exist" if secret is None else f"has no key {ADMIN_KEY_FIELD}"
        message = f"Secret {name}, named in the annotation {ADMIN_KEY_SECRET} of {ref}, {detail}."
        return GatewayProblem(Reason.AdminKeyMissing, message)
    keys, bad_lines = admin_keys(text)
    if not keys:
        where = f"line {', '.join(map(str, bad_lines[:5]))} of key {ADMIN_KEY_FIELD} in Secret {name}"
        message = (
            f"The admin key in {where} cannot be sent as an HTTP header, because it contains control characters. Store "
            "it as plain text, one key a line."
        )
        return GatewayProblem(Reason.AdminKeyInvalid, message)
    ca_name = workload.ca_secret
    if ca_name is None:
        return _Credentials(keys, None, secret.resource_version)
    ca_secret = secret if ca_name == name else await ports.cluster.secret(workload.namespace, ca_name)
    bundle = ca_secret.fields.get(CA_FIELD) if ca_secret is not None else None
    ca = certificates(bundle) if bundle else None
    if not ca:
        detail = (
            "does not exist"
            if ca_secret is None
            else f"has no key {CA_FIELD}"
            if not bundle
            else f"has no certificate in PEM form under the key {CA_FIELD}"
        )
        message = f"Secret {ca_name}, named in the annotation {ADMIN_CA_SECRET} of {ref}, {detail}."
        return GatewayProblem(Reason.CertificateMissing, message)
    return _Credentials(keys, ca, secret.resource_version)


async def call_or_failure(call: Awaitable[T]) -> T | Failure:
    """Await a call to an admin API. An AdminApiError, and any unexpected exception, becomes a ``Failure`` value."""
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
            existing=error.existing,
        )
    except NotLeaderError:
        # Not a result of the call: it was not made, and nothing may be written about it.
        raise
    except Exception as error:
        # A value as well: the decision judges the deadline, and reads whether the call had its effect.
        _log.exception("A call to an admin API failed with an unexpected error.")
        return unexpected_failure(error)


def backup_id_of(ports: Ports, health: SystemHealthData | Failure | None, ref: Ref) -> str | None:
    """The id of the backup that a GatewayBackup makes on the volume in ``health``; None if the volume id is missing."""
    if isinstance(health, SystemHealthData) and health.volume_id is not None:
        return ports.admin_api.backup_id(health.volume_id, ref.uid)
    return None
