"""Sets each kopf setting on purpose."""

from __future__ import annotations

import kopf

from gateway_operator.domain.model.names import SCHEDULE_LABEL
from gateway_operator.handlers.kopf_storage import NoDiffBase


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf's settings. persistence.finalizer keeps kopf's default: kopf takes off a finalizer of that name when no
    handler of its own needs it, and the finalizer of our backups is handled by their reconcile."""
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.peering.standalone = True  # another kopf operator in the cluster must not be able to pause this one
    settings.scanning.disabled = True  # no list and watch of every definition and namespace
    settings.posting.enabled = False  # events are ours, on transitions only
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660  # a second belt: silent watches end by inactivity_timeout already
    settings.watching.reconnect_backoff = 1
    settings.watching.label_selectors["batch", "v1", "cronjobs"] = SCHEDULE_LABEL  # not everybody's CronJobs
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.process.ultimate_exiting_timeout = 25  # before the kubelet's patience ends
