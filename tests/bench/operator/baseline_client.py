"""``python -m tests.bench.operator.baseline_client``: the operator's calls for a backup, from a bare asyncio client.

It has a watch and one task for each new object. It sends the same requests as the operator, with the same bodies and in
the same order, one backup at a time per gateway. It has no framework, no models and no decisions, so its cost is a
lower limit for an operator in Python.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from gateway_api.contract import backup_id_for
from tests.bench.operator.api_server import BACKUPS, MERGE, ApiServer

_IN_FLIGHT = 32


@dataclass
class _Gateway:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    resolved: tuple[str, str, str] = ("", "", "")
    """Pod name, pod IP and admin key."""
    resolved_at: float = float("-inf")


class BaselineClient:
    """Backs up each new GatewayBackup of one namespace, until it is killed."""

    def __init__(self, api: ApiServer, http: aiohttp.ClientSession, namespace: str, share: float) -> None:
        self._api = api
        self._http = http
        self._namespace = namespace
        self._share = share
        self._free = asyncio.Semaphore(_IN_FLIGHT)
        self._gateways: dict[str, _Gateway] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Watch the namespace and start a task for each new GatewayBackup."""
        path = BACKUPS.format(self._namespace)
        version = await self._api.version_of(path)
        print("ready", flush=True)
        async for line in self._api.lines(path, version):
            event = json.loads(line)
            if event["type"] == "ADDED":
                task = asyncio.create_task(self._back_up(event["object"]))
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        task.result()

    async def _back_up(self, body: dict[str, Any]) -> None:
        name = body["spec"]["gatewayRef"]["name"]
        gateway = self._gateways.setdefault(name, _Gateway())
        async with gateway.lock:
            backup = await self._api.call("GET", f"{BACKUPS.format(self._namespace)}/{body['metadata']['name']}")
            if time.monotonic() - gateway.resolved_at >= self._share:
                gateway.resolved = await self._resolve(name)
                gateway.resolved_at = time.monotonic()
            await self._request_backup(name, gateway.resolved, backup)

    async def _request_backup(self, gateway: str, resolved: tuple[str, str, str], backup: dict[str, Any]) -> None:
        pod = resolved[0]
        health = await self._call(resolved, "GET", "/api/v1/system/health")
        meta, now = backup["metadata"], _now()
        uid, volume = meta["uid"], health["volume_id"]
        path = f"manual/{meta['creationTimestamp']}-{meta['name']}-{uid[:8]}.json.zst".replace(":", "")
        backup = await self._status(
            backup,
            phase="Running",
            reason="InProgress",
            message=f"Pod {pod} has been asked for the backup.",
            startTime=now,
            attempt=1,
            nextRetryTime=None,
            pod=pod,
            path=path,
            backupID=backup_id_for(volume, uid),
            volumeID=volume,
            gatewayID=health["gateway_id"],
        )
        about = {"namespace": self._namespace, "name": meta["name"], "uid": uid, "group": "manual"}
        request = {"path": path, "request_id": uid, "metadata": {**about, "gateway": f"Deployment {gateway}"}}
        record = await self._call(resolved, "POST", "/api/v1/system/backup", request)
        counts = record["counts"]
        verification = {"level": record["level"], "proof": record["proof"], "time": _now()}
        message = f"{record['path']}, {record['stored_bytes']} bytes, {record['level']}."
        end = {"reason": "BackedUp", "message": message, "lastTransitionTime": _now(), "observedGeneration": 1}
        kinds = {"Finished": "True", "Completed": "True", "Failed": "False"}
        backup = await self._status(
            backup,
            phase="Completed",
            reason="BackedUp",
            message=message,
            nextRetryTime=None,
            snapshotTime=record["created"],
            backupID=record["backup_id"],
            volumeID=record["volume_id"],
            gatewayID=record["gateway_id"],
            gatewayVersion=record["gateway_version"],
            path=record["path"],
            sizeBytes=record["stored_bytes"],
            sha256=record["stored_sha256"],
            contentDigest=record["content_sha256"],
            verification=verification,
            counts={
                "configs": counts["configs"],
                "projects": counts["projects"],
                "users": counts["users"],
                "apiKeys": counts["api_keys"],
                "disabledApiKeys": counts["disabled_api_keys"],
            },
            completionTime=_now(),
            conditions=[{"type": kind, "status": status, **end} for kind, status in kinds.items()],
        )
        await self._event(meta, message)

    async def _resolve(self, name: str) -> tuple[str, str, str]:
        """Pod name, pod IP and admin key of a gateway, with the operator's requests."""
        apps, core = f"/apis/apps/v1/namespaces/{self._namespace}", f"/api/v1/namespaces/{self._namespace}"
        workload = await self._api.call("GET", f"{apps}/deployments/{name}")
        match = workload["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in match.items())
        query = {"resourceVersion": "0", "labelSelector": selector}
        holder = workload["metadata"]["annotations"]["mcpgateway.dev/admin-key-secret"]
        sets, pods, secret = await asyncio.gather(
            self._api.call("GET", f"{apps}/replicasets", query=query),
            self._api.call("GET", f"{core}/pods", query=query),
            self._api.call("GET", f"{core}/secrets/{holder}"),
        )
        candidates = [(one, pod) for one in sets["items"] for pod in pods["items"]]
        listed = next(pod for one, pod in candidates if _owned_by(one, workload) and _owned_by(pod, one))
        pod = await self._api.call("GET", f"{core}/pods/{listed['metadata']['name']}")
        key = base64.b64decode(secret["data"]["admin-key"]).decode()
        return pod["metadata"]["name"], pod["status"]["podIP"], key

    async def _status(self, backup: dict[str, Any], **status: Any) -> dict[str, Any]:
        meta = backup["metadata"]
        body = {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "status": {"observedGeneration": meta["generation"], **status},
        }
        path = f"{BACKUPS.format(self._namespace)}/{meta['name']}/status"
        return await self._api.call("PATCH", path, body, content_type=MERGE)

    async def _event(self, meta: dict[str, Any], message: str) -> None:
        about = {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": "GatewayBackup", "namespace": self._namespace}
        hashed = hashlib.sha256(f"{meta['uid']}{message}".encode()).hexdigest()[:16]
        body = {
            "metadata": {"name": f"{meta['name']}.{hashed}", "namespace": self._namespace},
            "involvedObject": {**about, "name": meta["name"], "uid": meta["uid"]},
            "type": "Normal",
            "reason": "BackedUp",
            "message": message,
            "source": {"component": "client-baseline"},
            "reportingComponent": "client-baseline",
            "reportingInstance": "client-baseline",
            "firstTimestamp": _now(),
            "lastTimestamp": _now(),
            "count": 1,
        }
        await self._api.call("POST", f"/api/v1/namespaces/{self._namespace}/events", body)

    async def _call(self, resolved: tuple[str, str, str], method: str, path: str, body: Any = None) -> dict[str, Any]:
        url = f"http://{resolved[1]}:8001{path}"
        headers = {"Authorization": f"Bearer {resolved[2]}"}
        async with self._free, self._http.request(method, url, json=body, headers=headers) as response:
            response.raise_for_status()
            data: dict[str, Any] = json.loads(await response.read())["data"]
            return data


def _owned_by(body: dict[str, Any], owner: dict[str, Any]) -> bool:
    return any(one["uid"] == owner["metadata"]["uid"] for one in body["metadata"].get("ownerReferences", ()))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def main() -> None:
    """Run the client baseline until the process is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--share", type=float, default=0.0)
    arguments = parser.parse_args()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5)
    async with (
        ApiServer.from_kubeconfig(arguments.kubeconfig.read_text()) as api,
        aiohttp.ClientSession(connector=connector, trust_env=False) as http,
    ):
        await BaselineClient(api, http, arguments.namespace, arguments.share).run()


if __name__ == "__main__":
    asyncio.run(main())
