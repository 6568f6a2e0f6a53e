"""The permissions that the charts grant, applied without the rest of the charts, and kubeconfigs limited to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.cluster import Cluster
from tests.operator.support.workloads import Kube

ROOT = Path(__file__).resolve().parents[3]
RBAC_KINDS = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount", "Lease"}
"""With the Lease: its Role does not allow the operator to create it."""


def render_rbac(cluster: Cluster, chart: str, release: str, namespace: str, *values: str) -> list[dict[str, Any]]:
    """The RBAC objects, ServiceAccounts and the Lease of a chart, without its hooks."""
    objects = render_objects(cluster, chart, release, namespace, *values, "--no-hooks")
    return [one for one in objects if one["kind"] in RBAC_KINDS]


def render_objects(cluster: Cluster, chart: str, release: str, namespace: str, *values: str) -> list[dict[str, Any]]:
    """All objects of a chart. A value that begins with ``--`` is an option of helm."""
    settings = [word for one in values for word in ((one,) if one.startswith("--") else ("--set", one))]
    chart_folder = str(ROOT / "helm" / chart)
    text = cluster.helm("template", release, chart_folder, "-n", namespace, "--kube-version", "1.34.0", *settings)
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def apply_operator_rbac(kube: Kube, *values: str) -> list[dict[str, Any]]:
    """Apply the RBAC objects of the operator's chart, and return them."""
    objects = render_rbac(kube.cluster, "operator", "limited", kube.namespace, "crds.install=false", *values)
    for one in objects:
        kube.apply(one)
    return objects


def service_account_name(objects: list[dict[str, Any]]) -> str:
    return next(str(one["metadata"]["name"]) for one in objects if one["kind"] == "ServiceAccount")


def create_role_only_account(kube: Kube) -> str:
    """Create the operator's ServiceAccount and Role for Role-only mode in this namespace. Returns the account."""
    objects = apply_operator_rbac(kube, f"watchNamespaces={{{kube.namespace}}}")
    assert not [one for one in objects if one["kind"].startswith("Cluster")]
    return service_account_name(objects)


def render_gateway_rbac(kube: Kube, *values: str) -> list[dict[str, Any]]:
    """The RBAC objects of the chart of the gateway `gw`."""
    return render_rbac(
        kube.cluster, "gateway", "gw", kube.namespace,
        "fullnameOverride=gw", "tls.enabled=false", "adminKey.existingSecret=gw-admin", *values,
    )  # fmt: skip


def apply_backup_account(kube: Kube) -> None:
    """Apply the ServiceAccount of the gateway's schedules with exactly the Role of the chart."""
    for one in render_gateway_rbac(kube):
        if one["metadata"]["name"] == "gw-backup":
            kube.apply(one)


def grant_gateway_role(kube: Kube, account: str, *values: str) -> None:
    """Apply the Role and RoleBinding with which the chart of the gateway `gw` admits the operator's account."""
    owner = (f"operator.serviceAccount.name={account}", f"operator.serviceAccount.namespace={kube.namespace}")
    for one in render_gateway_rbac(kube, *owner, *values):
        if one["kind"] in ("Role", "RoleBinding"):
            kube.apply(one)


def kubeconfig_for_account(kube: Kube, account: str, folder: Path, *, default_namespace: str | None = None) -> Path:
    """Write a kubeconfig with a token of the ServiceAccount to the folder, and return its path."""
    config = yaml.safe_load(kube.cluster.kubeconfig.read_text())
    token = kube.cluster.token_for(account, kube.namespace)
    config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
    if default_namespace is not None:
        for one in config["contexts"]:
            one["context"]["namespace"] = default_namespace
    path = folder / f"kubeconfig-{account}"
    path.write_text(yaml.safe_dump(config))
    return path
