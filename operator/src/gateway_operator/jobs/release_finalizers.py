"""Before an uninstall: stop the operator, then take its finalizer off everything. Nothing is deleted.

The operator is stopped first, for while it runs it puts each finalizer back.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Final

from gateway_operator.adapters.cluster import PLURALS, KubernetesCluster
from gateway_operator.adapters.conflicts import retry_on_conflict
from gateway_operator.adapters.kubernetes_api import MERGE
from gateway_operator.domain.gateway import Workload
from gateway_operator.domain.names import FINALIZER
from gateway_operator.domain.objects import GatewayRef, Json, Meta, Ref
from gateway_operator.ports import ClusterError, MissingError
from gateway_operator.settings import namespaces

STOP_TIMEOUT: Final = 90.0

log = logging.getLogger("gateway_operator.release_finalizers")


async def run(arguments: argparse.Namespace) -> int:
    """The command ``release-finalizers``."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cluster = await KubernetesCluster.connect()
    try:
        if arguments.deployment:
            await stop(cluster, arguments.namespace or "default", arguments.deployment)
        released = await release(cluster, namespaces([], os.environ))
    finally:
        await cluster.close()
    log.info("%d objects are released.", released)
    return 0


async def stop(cluster: KubernetesCluster, namespace: str, name: str) -> None:
    """Scale the operator to nothing, and see that none of its pods is left."""
    workload = await cluster.workload(namespace, GatewayRef("Deployment", name))
    if workload is None:
        return
    scale = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    await cluster.request("PATCH", scale, {"spec": {"replicas": 0}}, content_type=MERGE)
    deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT
    while await _pods(cluster, workload):
        if asyncio.get_running_loop().time() > deadline:
            raise ClusterError(f"a pod of {name} is still there after {STOP_TIMEOUT:.0f} s")
        await asyncio.sleep(1)
    log.info("Deployment %s is stopped.", name)


async def _pods(cluster: KubernetesCluster, workload: Workload) -> int:
    path = f"/api/v1/namespaces/{workload.namespace}/pods"
    return len(await cluster.all_of(path, workload.label_selector))


async def release(cluster: KubernetesCluster, where: Sequence[str]) -> int:
    """Take our finalizer off every object in these namespaces; in all, if there are none. Gives how many had it."""
    released = 0
    for kind in PLURALS:
        for namespace in where or ("",):
            try:
                bodies = await cluster.list_ours(kind, namespace)
            except MissingError:
                continue  # its definition is gone, and all of its kind with it
            for body in bodies:
                meta = Meta.parse(body, kind)
                released += await _release_one(cluster, meta.ref) if FINALIZER in meta.finalizers else 0
    return released


async def _release_one(cluster: KubernetesCluster, ref: Ref) -> int:
    async def remove(body: Json | None) -> int:
        meta = Meta.parse(body or {}, ref.kind)
        if FINALIZER not in meta.finalizers:
            return 0
        await cluster.set_finalizer(meta, present=False)
        return 1

    try:
        return await retry_on_conflict(partial(cluster.read, ref), remove)
    except MissingError:
        return 0
