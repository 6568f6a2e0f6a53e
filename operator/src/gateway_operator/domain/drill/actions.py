"""The inputs and the results of a drill's decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway_api.contract import RestoreResult, SystemHealthData
from gateway_operator.domain.gateway.workload import Endpoint, Workload
from gateway_operator.domain.model.actions import Done, Finish, RecheckSoon, Wait, Write
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore


@dataclass(frozen=True, slots=True)
class CreatePolicy:
    """Create the NetworkPolicy of the drill."""


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Create the pod of the drill. Its NetworkPolicy exists."""


@dataclass(frozen=True, slots=True)
class RestoreInPod:
    """Upload the backup to the pod's admin API and restore it there. ``timeout`` is in seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class CommitInPod:
    """Commit the restore in the pod. The gateway's container starts then."""


@dataclass(frozen=True, slots=True)
class MarkBackup:
    """Record in the GatewayBackup that it was drilled."""

    backup: Backup
    verification: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteObjects:
    """Delete the pod and the NetworkPolicy of the drill."""


DrillAction = (
    Done | Write | Finish | Wait | RecheckSoon | CreatePolicy | CreatePod | RestoreInPod | CommitInPod | MarkBackup
    | DeleteObjects
)  # fmt: skip


@dataclass(frozen=True)
class DrillObservation:
    """The inputs of one decision. Each phase observes what it needs; the rest is None.

    ``pod`` is the drill's pod, ``address`` its admin API or why that cannot be called. ``journal`` is the record of the
    restore in that admin API, ``drilled`` its health. ``answer`` is the failure of this run's last call, if it failed.
    """

    restore: Restore
    gateway: Endpoint | GatewayProblem | None = None
    health: SystemHealthData | Failure | None = None
    workload: Workload | None = None
    backups: Sequence[Backup] = ()
    identity_problem: GatewayProblem | None = None
    has_policy: bool = False
    pod: Json | None = None
    address: Endpoint | str = ""
    journal: RestoreResult | NotFound | Failure | None = None
    drilled: SystemHealthData | Failure | None = None
    answer: Failure | None = None
