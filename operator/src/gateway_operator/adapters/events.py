"""Emits Kubernetes Events for the operator's custom resources."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final
from urllib.parse import quote

from gateway_operator.adapters.kubernetes_api import KubernetesApi
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import API_VERSION
from gateway_operator.ports import ClusterError

CONTROLLER_NAME: Final = "gateway-backup-operator"
_MAX_MESSAGE: Final = 1000
"""Maximum length of a message in characters; a longer one is cut."""


class Events(KubernetesApi):
    """The part of the port Cluster that emits events. The port documents the method."""

    async def event(self, ref: Ref, note: KubernetesEvent, at: datetime) -> None:
        """Emit an event. An error is ignored: a reconcile must not stop because an event is lost.

        The name contains a digest of uid, reason and message. If a step is repeated after a crash, the second create
        conflicts and the event exists once.
        """
        digest = hashlib.sha256(f"{ref.uid}\n{note.reason}\n{note.message}".encode()).hexdigest()[:16]
        body = {
            "metadata": {"name": f"{ref.name[:200]}.{digest}", "namespace": ref.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": ref.kind,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": ref.uid,
            },
            "type": "Warning" if note.warning else "Normal",
            "reason": note.reason,
            "message": note.message[:_MAX_MESSAGE],
            "source": {"component": CONTROLLER_NAME},
            "reportingComponent": CONTROLLER_NAME,
            "reportingInstance": CONTROLLER_NAME,
            "firstTimestamp": timestamps.text(at),
            "lastTimestamp": timestamps.text(at),
            "count": 1,
        }
        try:
            await self.request("POST", f"/api/v1/namespaces/{quote(ref.namespace)}/events", body)
        except ClusterError:
            return
