"""Measures a pod per backup, the usual way without an operator: a Job that calls the admin API, on a real kubelet."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.operator.api_server import ApiServer
from tests.bench.operator.subjects import run_program
from tests.cluster import images, lifecycle
from tests.cluster.fixtures import create_namespace
from tests.cluster.output import Log
from tests.cluster.slots import claim_name
from tests.operator.support.scripted_admin_api import ADMIN_KEY

_JOBS = "/apis/batch/v1/namespaces/{}/jobs"
_ASK = """
import json, sys, urllib.request
body = json.dumps({"path": sys.argv[2] + ".json.zst", "request_id": sys.argv[2]}).encode()
headers = {"Authorization": "Bearer " + sys.argv[3], "Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/api/v1/system/backup", body, headers)).read()
"""


async def pod_per_backup(count: int, log: Log) -> tuple[list[float], float]:
    """Seconds of ``count`` Jobs one after the other, shortest first; and Jobs per second of twice as many at once."""
    name, lock = claim_name("bench-node")
    try:
        image = images.base_image(log).tag
        cluster = await asyncio.to_thread(lifecycle.start, name, True, log)
        images.load(cluster, image)
        create_namespace(cluster, "bench")
        host = cluster.state.addresses.host
        admins = [sys.executable, "-m", "tests.bench.operator.admin_api_stubs", host]
        with tempfile.TemporaryDirectory(prefix="bench-pods-") as folder, run_program(admins, Path(folder) / "log"):
            async with ApiServer.of(cluster) as api:
                await _run(api, image, host, ["warm"])
                alone = [await _run(api, image, host, [f"one-{number}"]) for number in range(count)]
                whole = await _run(api, image, host, [f"all-{number}" for number in range(2 * count)])
        return sorted(alone), 2 * count / whole
    finally:
        await asyncio.to_thread(lifecycle.stop, name, log, keep_images=False)
        lock.release()


async def _run(api: ApiServer, image: str, host: str, names: Sequence[str]) -> float:
    """Create Jobs with these names; returns the seconds until all are complete."""
    path = _JOBS.format("bench")
    version = await api.version_of(path)
    began = time.perf_counter()
    await asyncio.gather(*(api.call("POST", path, _job(name, image, host)) for name in names))
    waiting = set(names)
    async for line in api.lines(path, version):
        job = json.loads(line)["object"]
        for condition in job["status"].get("conditions", ()):
            if condition["type"] == "Failed":
                raise RuntimeError(f"the Job {job['metadata']['name']} failed")
            if condition["type"] == "Complete":
                waiting.discard(job["metadata"]["name"])
        if not waiting:
            return time.perf_counter() - began
    raise RuntimeError("the watch ended")


def _job(name: str, image: str, host: str) -> dict[str, Any]:
    container = {
        "name": "ask",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", _ASK, f"http://{host}:8001", name, ADMIN_KEY],
    }
    pod = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
