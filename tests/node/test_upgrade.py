"""A broken upgrade of a real gateway, undone with the backup that the chart's hook has made before it.

The commands come from docs/upgrades.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cluster import ClusterError
from tests.cluster.output import wait_until
from tests.demo.gateway_pod import CONFIG_FILE
from tests.node.conftest import ROOT, InstalledGateway
from tests.node.page_commands import PageReader
from tests.node.pages import UPGRADES
from tests.node.shell import Shell
from tests.operator.support.namespaces import create_restricted_namespace

pytestmark = pytest.mark.node

NAMESPACE, NAME = "upgrade", "upgraded"
CHART = str(ROOT / "helm" / "gateway")
# A new version of the gateway that ruins its config at the start and never listens.
BROKEN = f"""\
gateway: {{command: [sh, -c, 'echo {{ > {CONFIG_FILE}; exec sleep 600']}}
terminationGracePeriodSeconds: 2
"""


@dataclass
class UpgradedGateway:
    """A gateway whose release has the hook, and a reader of the page about it."""

    installed: InstalledGateway
    page: PageReader
    folder: Path

    def config(self) -> str:
        return self.installed.run("admin", "cat", CONFIG_FILE, release=NAME, namespace=NAMESPACE)

    def is_ruined(self) -> bool:
        """Whether the new version has ruined the config. While the pod is being replaced there is none."""
        with suppress(ClusterError, ValueError):
            return self.config() == "{\n"
        return False

    def upgrade(self, *values: str) -> None:
        arguments = ["--namespace", NAMESPACE, "--reset-then-reuse-values", "--timeout", "150s", *values]
        self.installed.cluster.helm("upgrade", NAME, CHART, *arguments, timeout=180)

    def backups(self) -> list[str]:
        """The names of the Verified backups that the hook has made, oldest first."""
        text = self.installed.kubectl(
            "get", "gwb", "--sort-by=.metadata.creationTimestamp", "-o", "json", namespace=NAMESPACE
        )
        bodies = [one for one in json.loads(text)["items"] if one["spec"]["group"] == "before-upgrade"]
        verified = [one for one in bodies if one["status"].get("verification", {}).get("level") == "Verified"]
        return [str(one["metadata"]["name"]) for one in verified]

    def workload(self) -> str:
        """The command of the gateway's container, and the generation of its Deployment."""
        body = self.installed.get("deployment", NAME, NAMESPACE)
        return f"{body['metadata']['generation']} {body['spec']['template']['spec']['containers'][0].get('command')}"


@pytest.fixture(scope="module")
def upgraded(
    installed_gateway: InstalledGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UpgradedGateway]:
    """The gateway after an upgrade that enables the hook, as the page shows it."""
    cluster, folder = installed_gateway.cluster, tmp_path_factory.mktemp("upgrade")
    create_restricted_namespace(cluster, NAMESPACE)
    installed_gateway.install_gateway(release=NAME, namespace=NAMESPACE)
    own = {"my-gateway": NAME, "team-a": NAMESPACE, "helm/gateway": CHART}
    shell = Shell(cluster.environment, folder)
    page = PageReader(UPGRADES, shell, own)
    try:
        page.run("backup before an upgrade")
        yield UpgradedGateway(installed_gateway, page, folder)
    finally:
        shell.close()
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def test_upgrade_makes_a_verified_backup_first(upgraded: UpgradedGateway) -> None:
    (name,) = upgraded.backups()
    assert name.startswith(f"{NAME}-upgrade-2-")
    assert upgraded.installed.get("gwb", name, NAMESPACE)["status"]["origin"] == "Manual"
    jobs = upgraded.installed.kubectl("get", "jobs", "-o", "name", namespace=NAMESPACE)
    assert "-upgrade-" not in jobs, "Helm deletes the Job after its success"


def test_broken_upgrade_is_undone_with_its_backup(upgraded: UpgradedGateway) -> None:
    before = upgraded.config()
    (upgraded.folder / "broken.yaml").write_text(BROKEN)
    upgraded.upgrade("--values", str(upgraded.folder / "broken.yaml"))
    wait_until(upgraded.is_ruined, "the new version has ruined the config", timeout=90, pause=1)
    first, second = upgraded.backups()
    assert second.startswith(f"{NAME}-upgrade-3-")
    broken = upgraded.workload()

    # The ruined config cannot be backed up, so the next upgrade stops before it changes anything.
    with pytest.raises(ClusterError, match="pre-upgrade"):
        upgraded.upgrade("--set", "gateway.command=null")
    assert upgraded.workload() == broken
    assert upgraded.backups() == [first, second]

    # The refused upgrade had another manifest: Helm compares with it. The page therefore has two rollbacks.
    upgraded.page.run("history")
    upgraded.page.run("after a refused upgrade")
    output = upgraded.page.run("undo the upgrade")
    assert "Completed" in output, output
    assert upgraded.installed.get("gwr", "undo-upgrade", NAMESPACE)["status"]["source"]["backupName"] == second
    assert upgraded.config() == before
    upgraded.installed.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=60s", namespace=NAMESPACE)
