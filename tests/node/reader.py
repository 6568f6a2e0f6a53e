"""A person who follows the documentation on a cluster: with a checkout, a home folder and terminals."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import Cluster
from tests.node.conftest import ROOT
from tests.node.page_commands import Page, PageReader
from tests.node.pages import KUBECTL_GATEWAY
from tests.node.shell import Shell

CHECKOUT = ("LICENSE", "README.md", "api", "crds", "examples", "helm", "operator", "pyproject.toml")


@dataclass
class Reader:
    """A person with a checkout, a home folder, a kubeconfig and one terminal for each page."""

    cluster: Cluster
    folder: Path
    environment: dict[str, str] = field(init=False)
    shells: dict[Path, Shell] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home = self.folder / "home"
        programs = home / "bin"
        programs.mkdir(parents=True)
        for name in CHECKOUT:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.folder / name)
        shutil.copy(self.cluster.kubeconfig, home / "kubeconfig")
        sudo = programs / "sudo"
        sudo.write_text('#!/bin/sh\nexec "$@"\n')
        sudo.chmod(0o755)
        path = os.pathsep.join([str(programs), self.cluster.environment["PATH"]])
        settings = {"HOME": str(home), "KUBECONFIG": str(home / "kubeconfig"), "PATH": path}
        self.environment = {**self.cluster.environment, **settings}

    def opens(self, page: Page, replacements: Mapping[str, str] | None = None) -> PageReader:
        """The page, with its own terminal. The replacements are the reader's own values."""
        if page.path not in self.shells:
            self.shells[page.path] = Shell(self.environment, self.folder)
        return PageReader(page, self.shells[page.path], replacements or {})

    def install_plugin(self) -> None:
        """Install `kubectl gateway` into the home folder, as its page does for the whole machine."""
        self.opens(KUBECTL_GATEWAY, {"/usr/local/bin/": f"{self.environment['HOME']}/bin/"}).run("install")

    def select_namespace(self, namespace: str) -> None:
        """Make this the current namespace of the reader's kubeconfig."""
        arguments = ["--kubeconfig", self.environment["KUBECONFIG"], "config", "set-context", "--current"]
        self.cluster.kubectl(*arguments, "--namespace", namespace)

    def wait_for_reason(self, restore: str, reason: str) -> None:
        """Wait until the GatewayRestore has this reason."""
        self.kubectl("wait", f"--for=jsonpath={{.status.reason}}={reason}", f"gwr/{restore}", "--timeout=60s")

    def close(self) -> None:
        """Close the terminals, and end the commands in their background."""
        for shell in self.shells.values():
            shell.close()

    def kubectl(self, *arguments: str, namespace: str = "team-b") -> str:
        """Run kubectl in the namespace of the pages, unless another one is given."""
        return self.cluster.kubectl("-n", namespace, *arguments)

    def get(self, kind: str, name: str, namespace: str = "team-b") -> dict[str, Any]:
        """The object. It is an error if it does not exist."""
        body: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json", namespace=namespace))
        return body
