"""The operator's settings. A flag takes precedence over an environment variable, and a variable over the default."""

from __future__ import annotations

import argparse
import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway_operator.domain.notifications.notification import Topic
from gateway_operator.domain.schedule.cronjob import Image

_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_PREFIX: Final = "GATEWAY_OPERATOR_"


@dataclass(frozen=True)
class OperatorSettings:
    """The settings of ``gateway-operator run``."""

    namespaces: tuple[str, ...] = ()
    """The namespaces to watch; empty means all namespaces."""
    liveness: str = ":8080"
    """HOST:PORT of the liveness probe's /healthz; without a host, all addresses over IPv4 and IPv6. Empty: no probe."""
    metrics: str = ":8081"
    """HOST:PORT of the Prometheus metrics, as for ``liveness``. Empty: no metrics."""
    log_format: str = "json"
    verbose: bool = False
    image: Image = field(default_factory=Image)
    """The operator's own image, which the pods of schedules run."""
    leader_elect: bool = False
    """Whether only the holder of a Lease acts. Without it there must be one process only."""
    lease_name: str = "gateway-backup-operator"
    """The name of the Lease, in the namespace of the operator's pod."""
    lease_seconds: float = 15.0
    """The duration of the Lease: at most this long after a leader's end another replica acts."""
    pass_seconds: float = 30.0
    """Seconds between two passes of retention, ttl and objectives."""
    operator: str = ""
    """The operator's ServiceAccount as NAMESPACE:NAME, for commands in messages."""
    policies: str = ""
    """The first part of the names of the chart's admission policies; empty if it did not install them."""
    notifications: str = ""
    """The directory with the Secret of the notifications; empty: no notifications."""
    notification_topics: tuple[Topic, ...] = ()
    """The topics to send; empty means all."""
    cluster_name: str = ""
    """The name of the cluster in notifications; may be empty."""


def from_command_line(arguments: argparse.Namespace, environment: Mapping[str, str]) -> OperatorSettings:
    """Combine the flags of ``gateway-operator run`` with the environment."""
    return OperatorSettings(
        namespaces=namespaces(arguments.namespace, environment),
        liveness=arguments.liveness,
        metrics=arguments.metrics,
        log_format=arguments.log_format,
        verbose=arguments.verbose,
        image=image(environment),
        leader_elect=arguments.leader_elect,
        lease_name=arguments.lease_name,
        lease_seconds=arguments.lease_seconds,
        pass_seconds=arguments.pass_seconds,
        operator=service_account(_TOKEN),
        policies=environment.get(f"{_PREFIX}ADMISSION_POLICIES", ""),
        notifications=environment.get(f"{_PREFIX}NOTIFICATIONS", ""),
        notification_topics=topics(environment.get(f"{_PREFIX}NOTIFICATION_TOPICS", "")),
        cluster_name=environment.get(f"{_PREFIX}CLUSTER_NAME", ""),
    )


def namespaces(flags: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The namespaces from the flags, or else from WATCH_NAMESPACES, a comma-separated list."""
    named = list(flags) or environment.get("WATCH_NAMESPACES", "").split(",")
    return tuple(dict.fromkeys(name.strip() for name in named if name.strip()))


def topics(names: str) -> tuple[Topic, ...]:
    """The topics of a comma-separated list. ValueError names a topic that does not exist."""
    return tuple(Topic(name.strip()) for name in names.split(",") if name.strip())


def image(environment: Mapping[str, str]) -> Image:
    """The operator's own image, from the variables that its chart sets."""
    secrets = environment.get(f"{_PREFIX}IMAGE_PULL_SECRETS", "").split(",")
    return Image(
        name=environment.get(f"{_PREFIX}IMAGE", ""),
        pull_policy=environment.get(f"{_PREFIX}IMAGE_PULL_POLICY", "IfNotPresent"),
        pull_secrets=tuple(name.strip() for name in secrets if name.strip()),
    )


def service_account(token: Path) -> str:
    """The operator's ServiceAccount as NAMESPACE:NAME, from the claims in its token; empty if there is no token.

    It is used only in messages, so the token's signature is not verified.
    """
    try:
        payload = token.read_text().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        _, kind, namespace, name = str(claims["sub"]).split(":")
    except (OSError, IndexError, KeyError, ValueError, binascii.Error):
        return ""
    return f"{namespace}:{name}" if kind == "serviceaccount" else ""
