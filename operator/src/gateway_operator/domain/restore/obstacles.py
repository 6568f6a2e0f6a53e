"""Problems that would make a restore fail after it has replaced the config, checked before it changes anything."""

from __future__ import annotations

from datetime import datetime

from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import retry
from gateway_operator.domain.model.actions import RestoreAction
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import RestoreObservation, deadline, finish


def invalid_field(restore: Restore) -> str:
    """Why a field of the spec cannot be used, for a message; empty if all can."""
    # A time that cannot be parsed must not count as absent: the restore would take the newest backup.
    if restore.before is None and "before" in restore.spec:
        return f"spec.before is no time that the operator can read: {str(restore.spec['before'])[:64]!r}."
    if "factoryReset" in restore.spec and (restore.factory_reset is None or not restore.factory_reset.confirm):
        return "spec.factoryReset.confirm is not true."
    return ""


def restart_problem(observed: RestoreObservation) -> GatewayProblem | None:
    """Why the restart that this restore needs would fail; None if it needs none.

    A gateway that reloads its config is restarted only if it is not Ready, for example because it crashes.
    """
    restart, endpoint = observed.restore.restart, observed.gateway
    reloads = observed.reloads_config and isinstance(endpoint, Endpoint) and endpoint.pod_ready
    if restart == "Never" or (restart == "Auto" and reloads):
        return None
    return observed.restart_obstacle


def wait_or_end(restore: Restore, problem: GatewayProblem, now: datetime) -> RestoreAction:
    """Wait for a problem that may end, such as a missing Secret or permission; end on any other problem."""
    if problem.may_pass:
        return retry.wait_for_gateway(restore, problem, deadline(restore), now)
    return finish(restore, "Failed", problem.reason, problem.message, now)
