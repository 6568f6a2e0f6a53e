"""Removes what the demo made on a cluster, and nothing else: it owns what carries its label and its releases' mark.

An earlier run may have been killed at any moment, so nothing is assumed to be whole: not the releases, and not the
operator, which else would take its finalizers off.
"""

import json
from typing import Any

from tests.demo.kube import Kube, DemoError

GATEWAY_NAMESPACE = "gateway-demo"
OPERATOR_NAMESPACE = "gateway-backup-operator"
OPERATOR_RELEASE = "gateway-backup-operator"
LABEL = "mcpgateway.dev/demo"
_NAMESPACES = (GATEWAY_NAMESPACE, OPERATOR_NAMESPACE)
_KINDS = ("gatewaybackups.mcpgateway.dev", "gatewayrestores.mcpgateway.dev")
_OWNERS = "deployments,replicasets,jobs"
_CLUSTER_WIDE = "clusterroles,clusterrolebindings"


def refuse_foreign(kube: Kube) -> None:
    """Stop before touching anything if somebody else's operator, or somebody's namespace of that name, is there."""
    for namespace in _NAMESPACES:
        found = _get(kube, "namespace", namespace)
        if found is not None and LABEL not in found["metadata"].get("labels", {}):
            raise DemoError(f"there is a namespace {namespace} that the demo did not make: it is left alone")
    for kind in _KINDS:
        found = _get(kube, "crd", kind)
        if found is not None and not _is_ours(found):
            raise DemoError(
                f"the cluster has the CRD {kind} already, from another installation: the demo would meddle"
            )


def remove(kube: Kube, *, crds: bool) -> bool:
    """Remove what an earlier run made; says whether there was anything. With `crds` their definitions go as well."""
    present = [name for name in _NAMESPACES if _get(kube, "namespace", name) is not None]
    for name in present:
        # Nothing may make new pods, and nobody waits for what these would still do.
        kube.kubectl("-n", name, "delete", _OWNERS, "--all", "--cascade=orphan", check=False)
        kube.kubectl("-n", name, "delete", "pods", "--all", "--grace-period=1", "--wait=false", check=False)
    if present:
        # Without its hook, which needs an image and a running operator.
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
    found = json.loads(kube.kubectl("get", _CLUSTER_WIDE, "-o", "json"))["items"]
    return [f"{item['kind'].lower()}/{item['metadata']['name']}" for item in found if _is_ours(item)]


def _remove_crds(kube: Kube) -> None:
    for kind in _KINDS:
        found = _get(kube, "crd", kind)
        if found is None or not _is_ours(found):
            continue
        if kube.kubectl("get", kind, "-A", "-o", "name", check=False).strip():
            kube.report.note(f"the CRD {kind} stays: there are objects of it that the demo did not make")
            continue
        kube.kubectl("delete", "crd", kind, "--ignore-not-found")


def _is_ours(item: dict[str, Any]) -> bool:
    """Whether our Helm release made it: the release's hooks carry no such mark, but its label."""
    metadata = item["metadata"]
    marks, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    by_release = marks.get("meta.helm.sh/release-namespace") == OPERATOR_NAMESPACE
    by_hook = "helm.sh/hook" in marks and labels.get("app.kubernetes.io/instance") == OPERATOR_RELEASE
    return by_release or by_hook


def _get(kube: Kube, kind: str, name: str) -> dict[str, Any] | None:
    text = kube.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
    return None if not text.strip() else json.loads(text)
