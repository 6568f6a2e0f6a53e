"""The reason why a gateway, or an age identity for it, cannot be used now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayProblem:
    """Why the gateway cannot be called now. ``forbidden``: Kubernetes denied the operator a permission."""

    reason: str
    message: str
    forbidden: bool = False
