"""What a look at a GatewayRestore and its gateway gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway_api.contract import RestoreResult, SystemHealthData
from gateway_operator.domain.calls import Failure, NotFound
from gateway_operator.domain.gateway import Endpoint, Problem, Rollout
from gateway_operator.domain.objects import Backup, Restore


@dataclass(frozen=True)
class Observed:
    """What one look gave. Each phase looks only at what it needs; the rest is None."""

    restore: Restore
    gateway: Endpoint | Problem | None = None
    reloads_config: bool = False
    health: SystemHealthData | Failure | None = None
    persistent: bool | None = None
    journal: RestoreResult | NotFound | Failure | None = None
    backups: Sequence[Backup] = ()
    safety: Backup | None = None
    rollout: Rollout | None = None
    starting: bool = False
    healthy_streak: int = 0
    pending_owner: str | None = None
    identity: Problem | None = None
    """Why the age identity that the spec names cannot be used; looked at before anything is begun."""
    answer: RestoreResult | Failure | None = None
