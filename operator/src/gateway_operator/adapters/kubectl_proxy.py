"""Connects to the Kubernetes API through `kubectl proxy`, with exactly the connection that kubectl itself would use.

A kubeconfig has many rules: several files, impersonation, credential plugins, token files, certificates, proxies. Only
kubectl follows all of them in each version. The proxy listens on a Unix socket in a folder of this user, and it
ends with the command. It shares stdin and stderr, so that a credential plugin can ask the user to log in.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway_operator.ports import ClusterError

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
"""See prctl(2): the signal that this process gets when its parent ends."""
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class KubectlContext:
    """The context and namespace that kubectl uses. ``name`` is empty without a kubeconfig."""

    name: str
    namespace: str


@asynccontextmanager
async def kubectl_proxy(kubectl: str, flags: Sequence[str]) -> AsyncIterator[Path]:
    """Run `kubectl proxy` with the user's connection flags. Yields the path of its socket.

    Raises ClusterError if it does not start. kubectl has then printed the reason to stderr.
    """
    # Only this user may enter the folder. Another user could otherwise use the socket, and so these credentials.
    with tempfile.TemporaryDirectory(prefix="kubectl-gateway-") as folder:
        socket = Path(folder) / "proxy.sock"
        try:
            process = await asyncio.create_subprocess_exec(
                kubectl, "proxy", f"--unix-socket={socket}", *flags, stdout=subprocess.PIPE, preexec_fn=_end_with_parent
            )
        except OSError as error:
            raise ClusterError(f"{kubectl} cannot be started: {error.strerror}.") from error
        try:
            await _wait_until_started(process)
            yield socket
        finally:
            await _stop(process)


def _end_with_parent() -> None:
    """On Linux the proxy ends even if the command is killed. It would otherwise serve this user's credentials on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _wait_until_started(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_SECONDS):
            # The first line is printed when the socket is open. End of file: kubectl has ended with an error.
            line = await process.stdout.readline()
    except TimeoutError:
        raise ClusterError(f"kubectl proxy did not start within {_START_SECONDS:.0f} s.") from None
    if not line:
        raise ClusterError("kubectl cannot connect to a cluster with this kubeconfig. Its message is above.")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()


async def current_context(kubectl: str, flags: Sequence[str]) -> KubectlContext:
    """The context and namespace that kubectl uses with these flags.

    kubectl has no command that prints its namespace, so one of its rules is repeated here. Without a namespace in the
    context, it is the pod's namespace in a pod, and `default` elsewhere.
    """
    view = await _kubeconfig(kubectl, flags)
    context = next(iter(view.get("contexts") or ()), None) or {}
    namespace = (context.get("context") or {}).get("namespace") or pod_namespace(os.environ) or "default"
    return KubectlContext(str(context.get("name") or ""), str(namespace))


async def _kubeconfig(kubectl: str, flags: Sequence[str]) -> Mapping[str, Any]:
    """The part of the kubeconfig that kubectl uses; empty without a current context."""
    process = await asyncio.create_subprocess_exec(
        kubectl, "config", "view", "--minify", "--output=json", *flags,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    # kubectl refuses --minify without a current context. Every other mistake has stopped the proxy before.
    return dict(json.loads(out)) if process.returncode == 0 else {}


def pod_namespace(environment: Mapping[str, str]) -> str:
    """The namespace of this pod; empty outside a pod. The conditions are those of client-go."""
    in_pod = environment.get("KUBERNETES_SERVICE_HOST") and environment.get("KUBERNETES_SERVICE_PORT")
    if not in_pod or not (SERVICE_ACCOUNT / "token").is_file():
        return ""
    with suppress(OSError):
        return environment.get("POD_NAMESPACE") or (SERVICE_ACCOUNT / "namespace").read_text().strip()
    return ""
