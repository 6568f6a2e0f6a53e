"""Why a gateway cannot be used now, with a reason and a message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayProblem:
    """Why the gateway cannot be called now."""

    reason: str
    message: str
    forbidden: bool = False
