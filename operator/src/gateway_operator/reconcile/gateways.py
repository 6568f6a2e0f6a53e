"""Finding a gateway and what opens it, and turning failed calls into what decisions understand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.attempts import WAITING_CODES
from gateway_operator.domain.calls import Failure
from gateway_operator.domain.gateway import Endpoint, Problem, Workload, choose, owned_pods, role_binding_line
from gateway_operator.domain.names import ADMIN_CA_SECRET, ADMIN_KEY_FIELD, ADMIN_KEY_SECRET, CA_FIELD
from gateway_operator.domain.objects import GatewayRef, Json, NamespacedGateway, Ref
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.sighting import Sighting, found_again
from gateway_operator.ports import AdminApiError, AdminTarget, ClusterError, ForbiddenError, Ports

SHARED: Final = 1.0
"""Seconds. As long as a Service may lag behind its pods; whatever does not go well ends it at once."""
SIGHTINGS: Final = 10_000
"""So many gateways are remembered by name; some hundred bytes each."""
T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """One look at a gateway. ``gateway`` says how to call it or why not; the rest is there as far as it was found."""

    gateway: Endpoint | Problem
    target: AdminTarget | None = None
    workload: Workload | None = None
    pod: Json | None = None
    owned: Sequence[Json] = ()


async def look(ports: Ports, namespace: str, ref: GatewayRef) -> View:
    """Find the workload, a pod of it, and the key that opens its admin API."""
    workload: Workload | None = None
    try:
        workload = await ports.cluster.workload(namespace, ref)
        if workload is None:
            return View(Problem(Reason.GatewayNotFound, f"There is no {ref} in namespace {namespace}."))
        sets, pods = await ports.cluster.pods(workload)
        view = View(Problem(Reason.NoReadyPod, ""), None, workload, None, owned_pods(workload, sets, pods))
        if workload.key_secret is None:
            return _with(view, Problem(Reason.GatewayNotConfigured, _not_configured(ref)))
        chosen = choose(workload, sets, pods)
        if isinstance(chosen, Problem):
            return _with(view, chosen)
        target = await _open(ports, workload, chosen[0])
    except ForbiddenError as error:
        line = role_binding_line(namespace, ref.name, ports.operator)
        problem = Problem(Reason.NotAuthorized, f"{error}. To grant it: {line}", forbidden=True)
        return View(problem, workload=workload)
    if isinstance(target, Problem):
        return _with(view, target)
    return View(chosen[0], target, workload, chosen[1], view.owned)


async def look_again(ports: Ports, namespace: str, ref: GatewayRef, sighting: Sighting) -> View | None:
    """Find a gateway by what was seen of it before: reads by name alone. None where that leaves any doubt."""
    try:
        workload, (replica_set, pod) = await asyncio.gather(
            ports.cluster.workload(namespace, ref),
            ports.cluster.pod(namespace, sighting.pod, sighting.replica_set),
        )
        found = None if workload is None else found_again(sighting, workload, replica_set, pod)
        if workload is None or found is None or workload.key_secret is None:
            return None
        target = await _open(ports, workload, found[0])
    except ClusterError:  # the whole look will say what is wrong
        return None
    return None if isinstance(target, Problem) else View(found[0], target, workload, found[1], [found[1]])


def _with(view: View, problem: Problem) -> View:
    return View(problem, None, view.workload, None, view.owned)


def _not_configured(ref: GatewayRef) -> str:
    return (
        f"{ref} does not say which Secret holds its admin key. If it is a gateway: "
        f"kubectl annotate {ref.kind.lower()} {ref.name} {ADMIN_KEY_SECRET}=NAME."
    )


async def _open(ports: Ports, workload: Workload, endpoint: Endpoint) -> AdminTarget | Problem:
    name = workload.key_secret or ""
    secret = await ports.cluster.secret(workload.namespace, name)
    key = secret.fields.get(ADMIN_KEY_FIELD) if secret is not None else None
    if not key:
        what = "does not exist" if secret is None else f"has no key {ADMIN_KEY_FIELD}"
        said = f"Secret {name}, which {workload.ref} names in {ADMIN_KEY_SECRET}, {what}."
        return Problem(Reason.AdminKeyMissing, said)
    if workload.ca_secret is None:
        return AdminTarget(endpoint, key)
    holder = (
        secret if workload.ca_secret == name else await ports.cluster.secret(workload.namespace, workload.ca_secret)
    )
    ca = holder.fields.get(CA_FIELD) if holder is not None else None
    if not ca:
        what = "does not exist" if holder is None else f"has no key {CA_FIELD}"
        said = f"Secret {workload.ca_secret}, which {workload.ref} names in {ADMIN_CA_SECRET}, {what}."
        return Problem(Reason.CertificateMissing, said)
    return AdminTarget(endpoint, key, ca)


async def tried(call: Awaitable[T]) -> T | Failure:
    """The answer of a call, or its failure as a value."""
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
    """The id of the backup that is made for an object on the volume that was seen; None while none was."""
    if isinstance(health, SystemHealthData) and health.volume_id is not None:
        return ports.admin_api.backup_id(health.volume_id, ref.uid)
    return None


class Turn(asyncio.Lock):
    """The turn at one gateway. Those that queue for it share a look at the gateway for a moment."""

    def __init__(self, place: NamespacedGateway, sightings: dict[NamespacedGateway, Sighting]) -> None:
        super().__init__()
        self._place = place
        self._sightings = sightings
        self._looked: tuple[datetime, View] | None = None

    async def look(self, ports: Ports) -> View:
        """As the function does; or what the last look of this turn found, if that is younger than ``SHARED`` and good.

        Only while it is one's turn. A backup that comes alone always looks for itself: first by the names under which
        the gateway was found before.
        """
        now, place = ports.clock.now(), self._place
        if self._looked is not None and 0 <= (now - self._looked[0]).total_seconds() < SHARED:
            return self._looked[1]
        self._looked = None
        sighting = self._sightings.pop(self._place, None)
        view = None if sighting is None else await look_again(ports, place.namespace, place.gateway, sighting)
        if view is None:
            view = await look(ports, place.namespace, place.gateway)
        if view.workload is not None and view.pod is not None:
            self._looked = (now, view)
            self._sightings[self._place] = Sighting.of(view.workload, view.pod)
            if len(self._sightings) > SIGHTINGS:
                del self._sightings[next(iter(self._sightings))]  # the oldest
        return view

    def forget(self) -> None:
        """The next one looks for itself, and as if for the first time: through what was seen no backup was made."""
        self._looked = None
        self._sightings.pop(self._place, None)


class Turns:
    """One call at a time to each gateway: the admin API would answer the others `Busy`."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[NamespacedGateway, Turn] = WeakValueDictionary()
        self._sightings: dict[NamespacedGateway, Sighting] = {}

    def of(self, namespace: str, ref: GatewayRef) -> Turn:
        """The turn at a gateway. It lives as long as somebody has it or waits for it."""
        place = NamespacedGateway(namespace, ref)
        turn = self._turns.get(place)
        if turn is None:
            turn = self._turns[place] = Turn(place, self._sightings)
        return turn
