"""Runs ``kubectl-gateway`` as a process: for a user, or with the arguments and the environment of a pod."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.operator.support.rbac import kubeconfig_for_account
from tests.operator.support.workloads import Kube

MODULE = (sys.executable, "-m", "gateway_operator.cli.main")


@dataclass
class KubectlGateway:
    """``kubectl-gateway`` with a kubeconfig, in a namespace."""

    kube: Kube
    kubeconfig: Path

    @classmethod
    def as_admin(cls, kube: Kube) -> KubectlGateway:
        """With the permissions of cluster-admin."""
        return cls(kube, kube.cluster.kubeconfig)

    @classmethod
    def as_account(cls, kube: Kube, account: str, folder: Path) -> KubectlGateway:
        """With the permissions of a ServiceAccount only. The kubeconfig is written to the folder."""
        return cls(kube, kubeconfig_for_account(kube, account, folder, default_namespace=kube.namespace))

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*MODULE, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.kube.cluster.environment, "KUBECONFIG": str(self.kubeconfig), **(environment or {})},
        )

    def run(self, *words: str, code: int = 0, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run it in the namespace and check its exit code. The timeout is in seconds."""
        with self.start(*words, "-n", self.kube.namespace) as process:
            out, err = process.communicate(timeout=timeout)
        assert process.returncode == code, f"{words} ended with {process.returncode}:\n{out}\n{err}"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def start_as_pod(self, pod: Mapping[str, Any]) -> subprocess.Popen[str]:
        """Start the command of a pod's container, with the environment that the kubelet would set."""
        (container,) = pod["spec"]["containers"]
        assert container["command"] == ["kubectl-gateway"]
        environment = {
            one["name"]: downward_api_value(pod, one["valueFrom"]["fieldRef"]["fieldPath"]) for one in container["env"]
        }
        assert not any("$" in word for word in container["args"])  # the kubelet would expand $(NAME)
        return self.start(*container["args"], environment=environment)


def downward_api_value(pod: Mapping[str, Any], path: str) -> str:
    """A label or annotation of a pod, as the downward API passes it to a container."""
    match = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    assert match is not None, path
    return str(pod["metadata"][match[1]][match[2]])


def wait_for_exit(process: subprocess.Popen[str], timeout: float = 90) -> tuple[int, str]:
    """Wait until the process exits. Returns the exit code, and stdout and stderr together."""
    with process:
        out, err = process.communicate(timeout=timeout)
    return process.returncode, out + err
