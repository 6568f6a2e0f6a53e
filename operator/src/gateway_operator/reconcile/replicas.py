"""Asks all replicas of a gateway which volumes they have, before the operator relies on the answer of one of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from gateway_api.contract import SystemHealthData
from gateway_operator.domain.gateway.replicas import ReplicaVolumes, ready_replicas, volumes_differ
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.ports import AdminTarget, Ports
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway, call_or_failure

_MAX_REPLICAS: Final = 10
"""Maximum number of replicas to ask. More of them would only delay the restore."""


async def replica_problem(ports: Ports, resolved: ResolvedGateway) -> GatewayProblem | None:
    """The problem ``VolumesDiffer``; None if there is none. A gateway with one Ready pod costs no call.

    A pod that does not answer is left out.
    """
    target, workload = resolved.target, resolved.workload
    if target is None or workload is None:
        return None
    endpoints = ready_replicas(workload, resolved.owned)[:_MAX_REPLICAS]
    answers = await asyncio.gather(*(_ask(ports, target, one) for one in endpoints))
    return volumes_differ(workload, [one for one in answers if one is not None])


async def _ask(ports: Ports, target: AdminTarget, endpoint: Endpoint) -> ReplicaVolumes | None:
    # All pods belong to the workload by uid, so the admin key may be sent to each of them.
    health = await call_or_failure(ports.admin_api.health(replace(target, endpoint=endpoint)))
    if not isinstance(health, SystemHealthData):
        return None
    return ReplicaVolumes(endpoint.pod, health.gateway_id, health.volume_id)
