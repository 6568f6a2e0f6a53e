"""Acts as the scheduler and the kubelet for drill pods: a second admin API has the pod's address.

The pod's status follows the containers of a drill: the isolation check, the admin API as a sidecar, and the gateway,
which is Ready after the restore in that admin API is committed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.api.support.admin_process import AdminProcess
from tests.cluster import ClusterError
from tests.operator.support.real_gateway import RealGateway, config_with_users
from tests.operator.support.workloads import Kube, random_loopback_address

DRILL_LABEL = "mcpgateway.dev/drill"


@dataclass
class DrillKubelet:
    """Runs the drill pods of a namespace. The fields may be changed while it runs."""

    kube: Kube
    host: str
    backups: Path
    exit_code: int = 0
    """Exit code of the isolation check."""
    message: str = ""
    """Termination message of the isolation check."""
    ready: bool = True
    """Whether the gateway becomes Ready."""
    pods: list[dict[str, Any]] = field(default_factory=list)
    """The pods as they were created, without their status."""

    def step(self) -> None:
        """Write the status of each drill pod."""
        for pod in self.kube.items("pods", labels=DRILL_LABEL):
            if not any(one["metadata"]["uid"] == pod["metadata"]["uid"] for one in self.pods):
                self.pods.append(pod)
            with suppress(ClusterError):
                self.kube.patch_status("pod", pod["metadata"]["name"], self._status(pod))

    def _status(self, pod: dict[str, Any]) -> dict[str, Any]:
        restore = pod["metadata"]["ownerReferences"][0]["uid"]
        committed = (self.backups / ".gateway" / "requests" / f"restore-{restore}.json").exists()
        ended = {"terminated": {"exitCode": self.exit_code, "message": self.message, "reason": "Completed"}}
        isolated = self.exit_code == 0
        ready = isolated and committed and self.ready
        waiting = {"waiting": {"reason": "PodInitializing"}}
        shared = {"image": "i", "imageID": "i", "restartCount": 0}
        return {
            "phase": "Failed" if not isolated else "Running" if committed else "Pending",
            "podIP": self.host,
            "podIPs": [{"ip": self.host}],
            "initContainerStatuses": [
                {"name": "drill-isolation", "ready": isolated, "state": ended, **shared},
                {"name": "admin", "ready": isolated, "state": {"running": {}} if isolated else waiting, **shared},
            ],
            "containerStatuses": [
                {"name": "gateway", "ready": ready, "state": {"running": {}} if committed else waiting, **shared}
            ],
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }


@contextmanager
def drill_kubelet(kube: Kube, gw: RealGateway, folder: Path, **settings: Any) -> Iterator[DrillKubelet]:
    """Run the drill pods of the namespace until the block ends. ``settings`` are those of the pod's admin API."""
    config, backups = folder / "drill" / "config" / "config.json", folder / "drill" / "backups"
    for path in (config.parent, backups):
        path.mkdir(parents=True)
    # The seed has written a first config.
    config.write_text(json.dumps(config_with_users(gw.key, 1)))
    host, stop = random_loopback_address(), threading.Event()
    flags = {"admin_key_file": folder / "admin-key", **settings}
    with AdminProcess(config, backups, host, 8001, **flags):
        kubelet = DrillKubelet(kube, host, backups)

        def run() -> None:
            while not stop.wait(0.2):
                kubelet.step()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield kubelet
        finally:
            stop.set()
            thread.join()
