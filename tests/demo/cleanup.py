"""Removes the objects of the demo from a cluster, and no others: those with its label or of its Helm releases.

An earlier run may have been killed at any time, so the releases may be incomplete and the operator may not run. The
cleanup therefore removes finalizers itself.
"""

import json
from typing import Any

from tests.demo.kube import DemoError, Kube

GATEWAY_NAMESPACE = "gateway-demo"
OPERATOR_NAMESPACE = "gateway-backup-operator"
OPERATOR_RELEASE = "gateway-backup-operator"
LABEL = "mcpgateway.dev/demo"
_NAMESPACES = (GATEWAY_NAMESPACE, OPERATOR_NAMESPACE)
_KINDS = ("gatewaybackups.mcpgateway.dev", "gatewayrestores.mcpgateway.dev")
_OWNERS = "deployments,replicasets,jobs"
_CLUSTER_WIDE = "clusterroles,clusterrolebindings"


def refuse_foreign(kube: Kube) -> None:
    """Raise DemoError before any change if the cluster has another operator or a foreign namespace with these names."""
    for namespace in _NAMESPACES:
        existing = _get(kube, "namespace", namespace)
        if existing is not None and LABEL not in existing["metadata"].get("labels", {}):
            raise DemoError(f"the namespace {namespace} exists, and the demo did not create it: nothing was changed")
    for kind in _KINDS:
        existing = _get(kube, "crd", kind)
        if existing is not None and not _is_ours(existing):
            raise DemoError(
                f"the CRD {kind} exists, from another installation of the operator: the demo would conflict with it"
            )


def remove(kube: Kube, *, crds: bool) -> bool:
    """Remove the objects of an earlier run, with `crds` also the CRDs; returns whether there were any."""
    present = [name for name in _NAMESPACES if _get(kube, "namespace", name) is not None]
    for name in present:
        # First the controllers, so that they create no new pods. Then the pods, without a long grace period.
        kube.kubectl("-n", name, "delete", _OWNERS, "--all", "--cascade=orphan", check=False)
        kube.kubectl("-n", name, "delete", "pods", "--all", "--grace-period=1", "--wait=false", check=False)
    if present:
        # Without the pre-delete hook, which needs an image and a running operator.
        arguments = ["-n", OPERATOR_NAMESPACE, "--no-hooks", "--ignore-not-found"]
        kube.helm("uninstall", OPERATOR_RELEASE, *arguments, check=False)
    for name in present:
        kube.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
    if GATEWAY_NAMESPACE in present:
        _release_finalizers(kube)
    for name in present:
        kube.kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=120s", timeout=130)
    left = _cluster_wide_left(kube)
    if left:
        kube.kubectl("delete", "--ignore-not-found", *left)
    if crds:
        _remove_crds(kube)
    return bool(present or left)


def _release_finalizers(kube: Kube) -> None:
    for kind in _KINDS:
        names = kube.kubectl("-n", GATEWAY_NAMESPACE, "get", kind, "-o", "name", check=False).split()
        for name in names:
            patch = '{"metadata":{"finalizers":null}}'
            kube.kubectl("-n", GATEWAY_NAMESPACE, "patch", name, "--type=merge", "-p", patch, check=False)


def _cluster_wide_left(kube: Kube) -> list[str]:
    items = json.loads(kube.kubectl("get", _CLUSTER_WIDE, "-o", "json"))["items"]
    return [f"{item['kind'].lower()}/{item['metadata']['name']}" for item in items if _is_ours(item)]


def _remove_crds(kube: Kube) -> None:
    for kind in _KINDS:
        crd = _get(kube, "crd", kind)
        if crd is None or not _is_ours(crd):
            continue
        if kube.kubectl("get", kind, "-A", "-o", "name", check=False).strip():
            kube.report.note(f"the CRD {kind} is kept: it has objects that the demo did not create")
            continue
        kube.kubectl("delete", "crd", kind, "--ignore-not-found")


def _is_ours(item: dict[str, Any]) -> bool:
    """Whether the demo's Helm release created it. Hooks have no release annotation, but the release's label."""
    metadata = item["metadata"]
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    by_release = annotations.get("meta.helm.sh/release-namespace") == OPERATOR_NAMESPACE
    by_hook = "helm.sh/hook" in annotations and labels.get("app.kubernetes.io/instance") == OPERATOR_RELEASE
    return by_release or by_hook


def _get(kube: Kube, kind: str, name: str) -> dict[str, Any] | None:
    text = kube.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
    return None if not text.strip() else json.loads(text)
