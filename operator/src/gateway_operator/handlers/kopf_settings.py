"""The kopf settings of this operator, each with the reason for its value."""

from __future__ import annotations

import kopf

from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.handlers.kopf_storage import NoDiffBase


def configure(settings: kopf.OperatorSettings) -> None:
    """Apply the settings. ``persistence.finalizer`` keeps kopf's default and must not be the name of our finalizer.

    kopf removes a finalizer of that name if none of its own handlers needs it. The finalizer of a GatewayBackup is
    managed by its reconcile.
    """
    settings.persistence.diffbase_storage = NoDiffBase()
    # Another kopf operator in the cluster must not be able to pause this one.
    settings.peering.standalone = True
    # No list and watch of all CustomResourceDefinitions and namespaces: both are fixed while the operator runs.
    settings.scanning.disabled = True
    # The operator emits its own events, on transitions only.
    settings.posting.enabled = False
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 600
    # Longer than the server's timeout: it ends a watch whose server does not end it.
    settings.watching.client_timeout = 660
    settings.watching.reconnect_backoff = 1
    # Only the CronJobs of our schedules, and not all CronJobs of the cluster.
    settings.watching.label_selectors["batch", "v1", "cronjobs"] = SCHEDULE_LABEL
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    # Shorter than the pod's default termination grace period of 30 s, after which the kubelet kills the process.
    settings.process.ultimate_exiting_timeout = 25
