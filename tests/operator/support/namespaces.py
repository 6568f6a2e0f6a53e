"""Namespaces that enforce the restricted Pod Security Standard, as in production."""

from __future__ import annotations

from tests.cluster import Cluster
from tests.cluster.fixtures import create_namespace

RESTRICTED = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]


def enforce_restricted_standard(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, *RESTRICTED)


def create_restricted_namespace(cluster: Cluster, namespace: str) -> None:
    create_namespace(cluster, namespace)
    enforce_restricted_standard(cluster, namespace)
