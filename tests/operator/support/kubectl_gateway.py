"""``kubectl-gateway`` as a process, as a person and as a pod run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.operator.support.workloads import Kube

MODULE = (sys.executable, "-m", "gateway_operator.cli.main")


@dataclass
class Plugin:
    """The program with a kubeconfig, in a namespace."""

    kube: Kube
    kubeconfig: Path

    @classmethod
    def of(cls, kube: Kube, account: str | None = None, folder: Path | None = None) -> Plugin:
        """As cluster-admin, or with the rights of a ServiceAccount and no others."""
        if account is None or folder is None:
            return cls(kube, kube.cluster.kubeconfig)
        config = yaml.safe_load(kube.cluster.kubeconfig.read_text())
        token = kube.cluster.token_for(account, kube.namespace)
        config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
        for one in config["contexts"]:
            one["context"]["namespace"] = kube.namespace
        path = folder / f"kubeconfig-{account}"
        path.write_text(yaml.safe_dump(config))
        return cls(kube, path)

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start it."""
        return subprocess.Popen(
            [*MODULE, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), **(environment or {})},
        )

    def run(self, *words: str, code: int = 0, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run it to its end, in the namespace."""
        with self.start(*words, "-n", self.kube.namespace) as process:
            out, err = process.communicate(timeout=timeout)
        assert process.returncode == code, f"{words} ended with {process.returncode}:\n{out}\n{err}"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def as_pod(self, pod: Mapping[str, Any]) -> subprocess.Popen[str]:
        """Start what a pod's container would run, with the environment that the kubelet would give it."""
        (container,) = pod["spec"]["containers"]
        assert container["command"] == ["kubectl-gateway"]
        environment = {one["name"]: field(pod, one["valueFrom"]["fieldRef"]["fieldPath"]) for one in container["env"]}
        assert not any("$" in word for word in container["args"])  # the kubelet would expand it
        return self.start(*container["args"], environment=environment)


def field(pod: Mapping[str, Any], path: str) -> str:
    """A label or annotation of a pod, as the downward API gives it."""
    match = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    assert match is not None, path
    return str(pod["metadata"][match[1]][match[2]])


def ended(process: subprocess.Popen[str], timeout: float = 90) -> tuple[int, str]:
    """Wait for its end. Gives the exit code and all it said."""
    with process:
        out, err = process.communicate(timeout=timeout)
    return process.returncode, out + err
