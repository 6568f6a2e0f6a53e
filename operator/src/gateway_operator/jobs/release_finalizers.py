"""Prepares `helm uninstall`: stops the operator, then removes its finalizer from all objects. Nothing is deleted.

The Job is a Helm hook. `helm template | kubectl apply` creates it as well, together with the operator. Helm writes its
annotation only to what it has installed, so without the annotation on the operator's Deployment nothing is done.

GatewayBackups with ``spec.deleteFile`` have one, and GatewayRestores that are open at their gateway. Without the
operator it would block their deletion. The operator is stopped first, because a running one would add it again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Final

from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.conflicts import retry_on_conflict
from gateway_operator.adapters.kubernetes_api import MERGE, OPERATOR_AGENT
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.model.identifiers import GatewayRef, Ref
from gateway_operator.domain.model.names import FINALIZERS
from gateway_operator.domain.model.resources import Json, Meta
from gateway_operator.ports import ClusterError, MissingError
from gateway_operator.settings import namespaces

STOP_TIMEOUT: Final = 90.0
_HELM_RELEASE: Final = "meta.helm.sh/release-name"

log = logging.getLogger("gateway_operator.release_finalizers")


async def run(arguments: argparse.Namespace) -> int:
    """The command ``release-finalizers``."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cluster = await KubernetesCluster.connect(f"{OPERATOR_AGENT}/release-finalizers")
    try:
        if arguments.deployment:
            workload = await cluster.workload(
                arguments.namespace or "default", GatewayRef("Deployment", arguments.deployment)
            )
            if workload is not None and _HELM_RELEASE not in workload.annotations:
                log.info("Helm did not install Deployment %s, so nothing is changed.", arguments.deployment)
                return 0
            # The operator before the finalizers: it would add them again.
            await stop(cluster, workload)
        released = await release(cluster, namespaces([], os.environ))
    finally:
        await cluster.close()
    log.info("Removed the finalizer from %d objects.", released)
    return 0


async def stop(cluster: KubernetesCluster, workload: Workload | None) -> None:
    """Scale the operator's Deployment to zero and wait until it has no pods. ClusterError after ``STOP_TIMEOUT``."""
    if workload is None:
        return
    scale = f"/apis/apps/v1/namespaces/{workload.namespace}/deployments/{workload.ref.name}/scale"
    await cluster.request("PATCH", scale, {"spec": {"replicas": 0}}, content_type=MERGE)
    deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT
    while await _pods(cluster, workload):
        if asyncio.get_running_loop().time() > deadline:
            raise ClusterError(f"Deployment {workload.ref.name} still has pods after {STOP_TIMEOUT:.0f} s")
        await asyncio.sleep(1)
    log.info("Deployment %s is scaled to zero and has no pods.", workload.ref.name)


async def _pods(cluster: KubernetesCluster, workload: Workload) -> int:
    path = f"/api/v1/namespaces/{workload.namespace}/pods"
    return len(await cluster.list_all(path, workload.label_selector))


async def release(cluster: KubernetesCluster, in_namespaces: Sequence[str]) -> int:
    """Remove our finalizer in the given namespaces, or in all if none is given. Returns the number of objects."""
    released = 0
    for kind, namespace in itertools.product(FINALIZERS, in_namespaces or ("",)):
        try:
            bodies = await cluster.list_ours(kind, namespace)
        except MissingError:
            continue  # the CRD is deleted, and all its objects with it
        for body in bodies:
            meta = Meta.parse(body, kind)
            released += await _release_one(cluster, meta.ref) if FINALIZERS[kind] in meta.finalizers else 0
    return released


async def _release_one(cluster: KubernetesCluster, ref: Ref) -> int:
    async def remove(body: Json | None) -> int:
        meta = Meta.parse(body or {}, ref.kind)
        if FINALIZERS[ref.kind] not in meta.finalizers:
            return 0
        await cluster.set_finalizer(meta, present=False)
        return 1

    try:
        return await retry_on_conflict(partial(cluster.read, ref), remove)
    except MissingError:
        return 0
