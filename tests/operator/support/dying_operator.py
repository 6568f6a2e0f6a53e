"""Runs the operator and kills it with SIGKILL right after one call for a restore: at the boundary of a phase.

The name of a GatewayRestore selects the call: ``after-healthcheck`` is killed after the status write that enters
HealthCheck, ``after-call-commit`` after the answer to the commit. Each name kills once: a file of that name is made
first, in the folder DEATHS.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.main import main

PREFIX = "after-"
_names: dict[str, str] = {}
"""The name of each restore, by its request id."""


def die_after(name: str, point: str) -> None:
    """End this process if the restore of this name asks for it at this point, for the first time."""
    mark = Path(os.environ["DEATHS"]) / name
    if name == f"{PREFIX}{point}" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def kill_at_boundaries() -> None:
    """Wrap the status write, the finalizer, and the three calls that change a config."""
    write_status, set_finalizer = KubernetesCluster.write_status, KubernetesCluster.set_finalizer

    async def written(self: Any, meta: Any, status: Any) -> Any:
        body = await write_status(self, meta, status)
        if meta.ref.kind == "GatewayRestore":
            if request_id := (body.get("status") or {}).get("requestID"):
                _names[str(request_id)] = meta.ref.name
            if "phase" in status:
                die_after(meta.ref.name, str(status["phase"]).lower())
        return body

    async def held(self: Any, meta: Any, present: bool) -> None:
        await set_finalizer(self, meta, present)
        die_after(meta.ref.name, "finalizer" if present else "release")

    KubernetesCluster.write_status = written  # type: ignore[method-assign]
    KubernetesCluster.set_finalizer = held  # type: ignore[method-assign]
    for call in ("restore", "commit", "rollback"):
        _wrap_call(call)


def _wrap_call(call: str) -> None:
    send = getattr(HttpAdminApi, call)

    async def answered(self: Any, target: Any, request: Any, *arguments: Any, **options: Any) -> Any:
        result = await send(self, target, request, *arguments, **options)
        die_after(_names.get(result.request_id, ""), f"call-{call}")
        return result

    setattr(HttpAdminApi, call, answered)


if __name__ == "__main__":
    kill_at_boundaries()
    sys.exit(main())
