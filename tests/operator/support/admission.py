"""The admission policies of the operator's chart, installed in the test cluster for one module."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from tests.cluster import Cluster
from tests.operator.support.callers import Caller, grant_user, rule
from tests.operator.support.rbac import ROOT
from tests.operator.support.workloads import Kube, wait_for

POLICIES = "gateway-backup-operator"
"""The first part of the names of the policies."""
KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def render_policies(cluster: Cluster, *values: str) -> list[dict[str, Any]]:
    """The policies and bindings of the operator's chart."""
    settings = [word for value in values for word in ("--set", value)]
    chart = str(ROOT / "helm" / "operator")
    text = cluster.helm("template", "op", chart, "-n", "default", "--kube-version", "1.34.0", *settings)
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one and one["kind"] in KINDS]


@contextmanager
def installed_policies(kube: Kube, image: str) -> Iterator[None]:
    """Install the policies for an operator with this image, wait until they act, and delete them afterwards.

    The policies hold in all namespaces. A cluster-admin passes them all. As after an uninstall with Helm, those with
    the annotation `keep` stay: an API server watches the parameters of policies until the last such policy is deleted,
    and never again.
    """
    repository, _, tag = image.rpartition(":")
    items = render_policies(kube.cluster, f"image.repository={repository}", f"image.tag={tag}")
    kube.cluster.kubectl("apply", "-f", "-", input=_list(items))
    try:
        stranger = grant_user(kube, "stranger", rule("mcpgateway.dev", "gatewaybackups", "create"))
        # While the objects arrive the API server loads the policies several times, and one that acts may be gone for a
        # moment. So it must act for a second.
        wait_for("the policies act", lambda: not any(_creates_with_finalizer(stranger) for _ in range(10)))
        yield
    finally:
        outdated = [one for one in items if "annotations" not in one["metadata"]]
        kube.cluster.kubectl("delete", "-f", "-", "--wait=false", input=_list(outdated))
        # The next module must not begin while they still act.
        wait_for("the policies are gone", lambda: _creates_with_finalizer(stranger))


def _list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _creates_with_finalizer(caller: Caller) -> bool:
    body = {"metadata": {"name": "probe", "finalizers": ["a.example/b"]}, "spec": {"gatewayRef": {"name": "gw"}}}
    time.sleep(0.1)
    return caller.create("gatewaybackups", body, dryRun="All").allowed
