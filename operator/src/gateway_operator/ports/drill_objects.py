"""The interface to the objects of drills: their pods and NetworkPolicies. `cluster` documents the errors."""

from __future__ import annotations

from typing import Protocol

from gateway_operator.domain.model.resources import Json


class DrillObjects(Protocol):
    """Pods and NetworkPolicies of drills. Every call may raise ClusterError; a pod is read through the port Cluster."""

    async def create_pod(self, namespace: str, body: Json) -> None:
        """Create a pod. ConflictError if the name is taken, InvalidError if an admission policy rejects it."""
        ...

    async def create_policy(self, namespace: str, body: Json) -> None:
        """Create a NetworkPolicy. ConflictError if the name is taken."""
        ...

    async def policy(self, namespace: str, name: str) -> Json | None:
        """A NetworkPolicy; None if it does not exist."""
        ...

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete a pod if it has this uid. No error if there is none; ConflictError if it has another uid."""
        ...

    async def delete_policy(self, namespace: str, name: str, uid: str) -> None:
        """Delete a NetworkPolicy if it has this uid. Errors as for a pod."""
        ...

    async def pods(self, namespace: str) -> list[Json]:
        """The pods of all drills in a namespace; in all namespaces if it is empty."""
        ...
