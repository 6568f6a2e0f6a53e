"""The ports of a reconcile as one value."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.ports.admin_api import AdminApi
from gateway_operator.ports.clock import Clock
from gateway_operator.ports.cluster import Cluster
from gateway_operator.ports.drill_objects import DrillObjects


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
