"""Runs a real Kubernetes for the tests and the demo, from package registries only. See README.md in this folder."""

from tests.cluster.cluster import Cluster
from tests.cluster.lifecycle import attach, start, stop
from tests.cluster.paths import ClusterError
from tests.cluster.requirements import why_no_control_plane, why_no_node

__all__ = ["Cluster", "ClusterError", "attach", "start", "stop", "why_no_control_plane", "why_no_node"]
