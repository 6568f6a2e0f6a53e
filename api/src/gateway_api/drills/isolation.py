"""Checks that a drill pod reaches neither the API server nor the live gateway.

The pod's NetworkPolicy exists before the pod, but a policy engine may program it some time after the pod's start. The
check is therefore repeated. Only an accepted connection counts as an answer: some engines refuse what they deny, so a
refused connection proves nothing. The targets accept connections whenever they are reached.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

NOT_ISOLATED: Final = 3
"""Exit code of the init container. The operator recognizes by it that the drill pod is not isolated."""
TERMINATION_LOG: Final = Path("/dev/termination-log")
_CONNECT_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.5
_SILENT_ROUNDS: Final = 2
Target = tuple[str, int]


def parse_target(text: str) -> Target:
    """``HOST:PORT`` or ``[IPv6]:PORT``. Raises ``ValueError`` for any other text."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not 0 < int(port) < 65536:
        raise ValueError(text)
    return host.removeprefix("[").removesuffix("]"), int(port)


def api_server_targets(environment: Mapping[str, str]) -> list[Target]:
    """The API server, from the variables that Kubernetes sets in every container; empty outside a pod."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    return [(host, int(port))] if host else []


def accepts(target: Target) -> bool:
    """Whether a TCP connection to the target is accepted within a second. No byte is sent."""
    try:
        with socket.create_connection(target, timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def find_reachable(
    targets: Sequence[Target],
    seconds: float,
    *,
    connect: Callable[[Target], bool] = accepts,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Target]:
    """The targets that still answer after ``seconds``. Empty as soon as none has answered in two rounds in a row."""
    deadline = monotonic() + seconds
    silent = 0
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        while True:
            answers = [target for target, answered in zip(targets, pool.map(connect, targets), strict=True) if answered]
            silent = 0 if answers else silent + 1
            if silent >= _SILENT_ROUNDS:
                return []
            if answers and monotonic() >= deadline:
                return answers
            sleep(_PAUSE_SECONDS)


def check_isolation(targets: Sequence[Target], seconds: float, log: Path = TERMINATION_LOG) -> str:
    """Runs the check and writes its result to the termination log, where the operator reads it.

    Returns the sentence about the targets that answered; empty if the pod is isolated.
    """
    answers = find_reachable([*api_server_targets(os.environ), *targets], seconds)
    if not answers:
        return ""
    message = "The pod reached " + ", ".join(f"{host} port {port}" for host, port in answers) + "."
    if log.exists():
        log.write_text(message)
    return message
