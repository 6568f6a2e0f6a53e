"""Implements the port Cluster with requests to the Kubernetes API.

The methods are in three classes, one for each kind of object, that share the connection of ``KubernetesApi``.
"""

from __future__ import annotations

from gateway_operator.adapters.custom_resources import CustomResources
from gateway_operator.adapters.events import Events
from gateway_operator.adapters.gateway_objects import GatewayObjects


class KubernetesCluster(CustomResources, GatewayObjects, Events):
    """The port Cluster over one connection to the Kubernetes API."""
