"""The values that one run of a drill keeps between its actions."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import drill_name
from gateway_operator.ports import AdminTarget, Ports
from gateway_operator.ports.drill_objects import DrillObjects
from gateway_operator.reconcile.gateway_lookup import ResolvedGateway
from gateway_operator.reconcile.status_writer import Log


@dataclass
class DrillContext:
    """One run: its dependencies, the last failure, and the gateway of the last observation."""

    ports: Ports
    objects: DrillObjects
    ref: Ref
    log: Log
    answer: Failure | None = None
    resolved: ResolvedGateway | None = None
    live: AdminTarget | None = None
    """The live admin API with its keys and CA, which the drill pod has as well. Kept while the gateway is away."""
    config_path: str = ""
    pod_target: AdminTarget | None = None
    """The admin API in the drill's pod; None while it cannot be called."""

    @property
    def drill_target(self) -> AdminTarget:
        """The admin API in the drill's pod. AssertionError if the last observation has none."""
        if self.pod_target is None:
            raise AssertionError("The decision requests a call, but the drill pod has no address.")
        return self.pod_target

    @property
    def name(self) -> str:
        """The name of the pod and of the NetworkPolicy."""
        return drill_name(self.ref.name, self.ref.uid)
