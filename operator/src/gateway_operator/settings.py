"""Everything that can be set, in one place: flags first, then the environment, then the default."""

from __future__ import annotations

import argparse
import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway_operator.domain.schedule.cronjob import Image

_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_PREFIX: Final = "GATEWAY_OPERATOR_"


@dataclass(frozen=True)
class OperatorSettings:
    """How the operator runs."""

    namespaces: tuple[str, ...] = ()
    """Which namespaces to watch; empty: all of them."""
    liveness: str = ":8080"
    """HOST:PORT of the probe's /healthz; empty: none."""
    log_format: str = "json"
    verbose: bool = False
    calls_in_flight: int = 32
    """How many calls to admin APIs run at once."""
    call_timeout: float = 120.0
    """Seconds for one call that works on files."""
    image: Image = field(default_factory=Image)
    """The operator's own image, which the pods of schedules run."""
    sweep_seconds: float = 30.0
    """Seconds between two passes of retention, ttl and objectives."""
    operator: str = ""
    """NAMESPACE:NAME of the operator's own service account, for the commands in messages."""

    @property
    def liveness_url(self) -> str | None:
        """The probe's address as kopf wants it."""
        if not self.liveness:
            return None
        host, _, port = self.liveness.rpartition(":")
        return f"http://{host or '0.0.0.0'}:{port}/healthz"  # noqa: S104 - the kubelet probes from outside the pod


def from_command_line(arguments: argparse.Namespace, environment: Mapping[str, str]) -> OperatorSettings:
    """The settings of ``gateway-operator run``."""
    return OperatorSettings(
        namespaces=namespaces(arguments.namespace, environment),
        liveness=arguments.liveness,
        log_format=arguments.log_format or environment.get(f"{_PREFIX}LOG_FORMAT", "json"),
        verbose=arguments.verbose,
        calls_in_flight=int(environment.get(f"{_PREFIX}CALLS_IN_FLIGHT", "32")),
        call_timeout=float(environment.get(f"{_PREFIX}CALL_TIMEOUT", "120")),
        image=image(environment),
        sweep_seconds=arguments.sweep_seconds,
        operator=service_account(_TOKEN),
    )


def namespaces(flags: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The namespaces named by flags, or by WATCH_NAMESPACES."""
    named = list(flags) or environment.get("WATCH_NAMESPACES", "").split(",")
    return tuple(dict.fromkeys(name.strip() for name in named if name.strip()))


def image(environment: Mapping[str, str]) -> Image:
    """The operator's own image, as its chart says."""
    secrets = environment.get(f"{_PREFIX}IMAGE_PULL_SECRETS", "").split(",")
    return Image(
        name=environment.get(f"{_PREFIX}IMAGE", ""),
        pull_policy=environment.get(f"{_PREFIX}IMAGE_PULL_POLICY", "IfNotPresent"),
        pull_secrets=tuple(name.strip() for name in secrets if name.strip()),
    )


def service_account(token: Path) -> str:
    """Who we are, read from the token's claims: only a hint for people, so nothing is verified."""
    try:
        payload = token.read_text().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        _, kind, namespace, name = str(claims["sub"]).split(":")
    except (OSError, IndexError, KeyError, ValueError, binascii.Error):
        return ""
    return f"{namespace}:{name}" if kind == "serviceaccount" else ""
