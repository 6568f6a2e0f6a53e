"""The interfaces to everything outside the process: the Kubernetes API, the admin APIs, receivers, and the clock.

The reconciles use only these protocols and errors. ``adapters`` implements them, and tests use implementations in
memory. This file hands on what almost every reconcile needs; the other interfaces are imported from their own files.
"""

from gateway_operator.ports.admin_api import AdminApi, AdminApiError, AdminTarget, Identity
from gateway_operator.ports.clock import Clock
from gateway_operator.ports.cluster import (
    Cluster,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
    Page,
    Secret,
)
from gateway_operator.ports.reconcile_ports import Ports

__all__ = [
    "AdminApi",
    "AdminApiError",
    "AdminTarget",
    "Clock",
    "Cluster",
    "ClusterError",
    "ConflictError",
    "ForbiddenError",
    "Identity",
    "InvalidError",
    "MissingError",
    "Page",
    "Ports",
    "Secret",
]
