"""The README, the quickstart, and the pages about schedules and cron, run by a reader on a new cluster.

The reader has one namespace for the quickstart (team-a) and one for the other pages (team-b), each with a gateway.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.api.support.requirements import require_programs
from tests.cluster import Cluster
from tests.cluster.output import wait_until
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE
from tests.demo.observers import Observer
from tests.node.conftest import ROOT, InstalledGateway, Population, gateway_pod, load_with_short_names
from tests.node.page_commands import Page, PageReader
from tests.node.pages import (
    APPROVALS,
    BACKUPS,
    DISASTER_RECOVERY,
    FROM_CRON,
    KUBECTL_GATEWAY,
    QUICKSTART,
    README,
    RESTORES,
    RETENTION,
    SCHEDULES,
    SECURITY,
)
from tests.node.shell import Shell
from tests.operator.support.namespaces import create_restricted_namespace
from tests.operator.support.real_gateway import AgeKey

pytestmark = pytest.mark.node

CHECKOUT = ("LICENSE", "README.md", "api", "crds", "examples", "helm", "operator", "pyproject.toml")
OPERATOR = "gateway-backup-operator"
OLD_SCRIPTS_FILE = "gateway-backup-20260101-020000.json.gz"


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


@pytest.fixture(scope="module")
def reader(
    new_node_cluster: Cluster, built_images: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    """A reader who has built the images and follows the quickstart until two gateways run."""
    require_programs("curl", "jq", "zstd")
    reader = Reader(new_node_cluster, tmp_path_factory.mktemp("checkout"))
    with ThreadPoolExecutor(1) as pool:
        # pip needs half a minute: it installs the plugin while images are loaded and pods start.
        plugin = pool.submit(reader.install_plugin)
        load_with_short_names(new_node_cluster, built_images)
        try:
            quickstart = reader.opens(QUICKSTART)
            quickstart.run("operator")
            quickstart.run("gateway")
            arguments = ["exec", "deployment/my-gateway", "-c", "admin", "--", "cat", CONFIG_FILE]
            config = reader.kubectl(*arguments, namespace="team-a")
            (reader.folder / "enkrypt_mcp_config.json").write_text(config)
            quickstart.run("own config")
            plugin.result()
            yield reader
        finally:
            reader.close()


@pytest.fixture
def team_b(reader: Reader) -> Reader:
    """The reader, whose current namespace is that of the second gateway."""
    select_namespace(reader, "team-b")
    return reader


def select_namespace(reader: Reader, namespace: str) -> None:
    """Make this the current namespace of the reader's kubeconfig."""
    arguments = ["--kubeconfig", reader.environment["KUBECONFIG"], "config", "set-context", "--current"]
    reader.cluster.kubectl(*arguments, "--namespace", namespace)


def test_quickstart_backs_up_breaks_and_restores_a_gateway(reader: Reader) -> None:
    page = reader.opens(QUICKSTART)
    assert "ada@example.com" in page.run("user")
    backup = page.run("backup")
    assert "ada@example.com" in backup
    assert "ada@example.com" not in page.run("break")
    assert "ada@example.com" in page.run("restore")


def test_readme_backs_up_schedules_and_restores(team_b: Reader) -> None:
    output = team_b.opens(README).run_all()
    assert "before-upgrade   Completed   BackedUp   my-gateway" in output
    team_b.kubectl("wait", "--for=condition=Finished", "gwr/undo-the-upgrade", "--timeout=120s")
    assert team_b.get("gwr", "undo-the-upgrade")["status"]["phase"] == "Completed"
    team_b.kubectl("delete", "gwbs", "nightly")


def test_page_of_schedules_runs_a_schedule(team_b: Reader) -> None:
    page = team_b.opens(SCHEDULES)
    page.run("chart")
    page.run("list")
    assert "Completed" in page.run("suspend and run")
    assert team_b.get("gwbs", "my-gateway")["spec"]["suspend"] is True
    page.run("pods")
    page.run("drills")
    page.run("quota")

    def pods() -> dict[str, Any]:
        pod: dict[str, Any] = team_b.get("cronjob", "my-gateway")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        return pod

    wait_until(lambda: pods().get("nodeSelector") == {"pool": "tools"}, "the CronJob follows", timeout=60, pause=0.2)
    wait_until(lambda: "my-gateway-drill" in team_b.kubectl("get", "cronjobs"), "the drills' CronJob", timeout=60)
    assert pods()["priorityClassName"] == "low"
    assert pods()["tolerations"] == [{"key": "tools", "operator": "Exists", "effect": "NoSchedule"}]


def test_page_of_the_plugin_shows_a_protected_gateway(team_b: Reader) -> None:
    page = team_b.opens(KUBECTL_GATEWAY)
    output = page.run("status")
    assert "Gateway:         Deployment my-gateway, namespace team-b\n" in output
    assert "  schedule my-gateway: Suspended: " in output  # by the test before
    assert page.run("problems") == "my-gateway\n"


def test_page_of_schedules_gives_the_permissions_without_the_chart(reader: Reader) -> None:
    create_restricted_namespace(reader.cluster, "by-hand")
    reader.opens(SCHEDULES, {"NS": "by-hand"}).run("permissions")
    allowed = {
        "by-hand:my-gateway-backup": [("create", "gatewaybackups"), ("watch", "gatewaybackups")],
        f"{OPERATOR}:{OPERATOR}": [("create", "cronjobs"), ("get", "serviceaccounts/my-gateway-backup")],
    }
    for account, permissions in allowed.items():
        for verb, resource in permissions:
            user = f"--as=system:serviceaccount:{account}"
            assert reader.kubectl("auth", "can-i", verb, resource, user, namespace="by-hand").strip() == "yes"


def test_page_for_cron_users_migrates_from_the_script(team_b: Reader) -> None:
    script = f"gzip -c {CONFIG_FILE} > /backups/{OLD_SCRIPTS_FILE}"
    team_b.kubectl("exec", "deployment/my-gateway", "-c", "admin", "--", "sh", "-c", script)
    page = team_b.opens(FROM_CRON)
    page.run("schedule")
    assert "Completed" in page.run("run")
    page.run("adopt")
    assert team_b.get("gwb", "from-the-script")["status"]["verification"]["level"] == "Verified"


def test_page_of_restores_replaces_the_programs_of_the_guide(team_b: Reader) -> None:
    page = team_b.opens(RESTORES)
    page.run("backup")
    page.run("dry run")
    assert team_b.get("gwr", "what-would-change")["status"]["reason"] == "WouldRestore"
    assert "Completed: " in page.run("verified")
    restore = team_b.get("gwr", "verified")["status"]
    assert restore["safetyBackup"]["sha256"] == restore["previousDigest"]
    page.run("undo")
    assert team_b.get("gwr", "undo-the-restore")["status"]["restoredDigest"] == restore["previousDigest"]
    assert "Completed {" in page.run("reset")
    assert team_b.get("gwr", "start-again")["status"]["counts"]["users"] == 0
    page.run("undo the reset")
    assert team_b.get("gwr", "undo-the-reset")["status"]["counts"] == restore["counts"]


def test_page_of_backups_imports_files_without_an_object(team_b: Reader) -> None:
    team_b.kubectl("delete", "gwb", "from-the-script")
    page = team_b.opens(BACKUPS)
    assert "nightly/" in page.run("list")
    assert "after-the-move" in page.run("import")
    assert team_b.get("gwbi", "after-the-move")["status"]["adopted"] == 1


def test_page_of_retention_explains_what_a_schedule_keeps(team_b: Reader) -> None:
    assert "keepWithin 30d" in team_b.opens(RETENTION).run("explain")


def test_page_of_approvals_restores_with_the_permissions_that_it_gives(team_b: Reader) -> None:
    backup = team_b.get("gwr", "verified")["status"]["source"]["backupName"]
    page = team_b.opens(
        APPROVALS,
        {
            "team-a": "team-b",
            "restore create back-to-monday": "restore create back-to-monday --as anna",
            "2026-11-23T18:00:00Z": team_b.get("gwb", backup)["status"]["completionTime"],
            "restore list": "restore list --as ben",
            "restore diff": "restore diff --as ben",
            "nightly-29400120": backup,
            "restore approve back-to-monday": "restore approve back-to-monday --as ben --yes",
        },
    )
    page.run("turn on")
    page.run("permissions")
    page.run("request")
    team_b.wait_for_reason("back-to-monday", "ApprovalRequired")
    page.run("approve")
    team_b.kubectl("wait", "--for=condition=Finished", "gwr/back-to-monday", "--timeout=120s")
    restore = team_b.get("gwr", "back-to-monday")["status"]
    assert (restore["phase"], restore["approval"]["by"]) == ("Completed", "ben")


def test_page_of_security_limits_a_namespace_and_adds_a_recipient(team_b: Reader) -> None:
    require_programs("age-keygen")
    keys = [AgeKey.generate(team_b.folder / f"{name}.txt") for name in ("daily", "paper")]
    recipients = {f"age1…{key.file.stem}": key.recipient for key in keys}
    page = team_b.opens(SECURITY, {"team-a": "team-b", "restore-anna": "restore-alone", **recipients})
    page.run("limits")
    page.run("second recipient")
    team_b.kubectl("rollout", "status", "deployment/my-gateway", "--timeout=120s")
    page.run("public key")
    assert "PUBLIC KEY" in (team_b.folder / "public-key.pem").read_text()


def test_gateway_moves_to_another_cluster(
    reader: Reader, installed_gateway: InstalledGateway, population: Population
) -> None:
    """The first cluster of the tests is the new one. Only files on the reader's machine reach it."""
    population.copy_to(gateway_pod(reader.cluster, "team-a", "my-gateway"))
    page = reader.opens(DISASTER_RECOVERY)
    page.run("keep")
    page.run("copy all files")

    cluster, namespace = installed_gateway.cluster, "moved"
    observer = Observer(gateway_pod(cluster, namespace, "my-gateway").kube, namespace, "my-gateway")
    not_encrypted = {"  identitySecretRef: {name: restore-key}\n": ""}
    with Shell(cluster.environment, reader.folder) as terminal:
        page = PageReader(DISASTER_RECOVERY, terminal, {"team-a": namespace, **not_encrypted})
        try:
            page.run("move")
            page.run("import")
            assert "Completed" in page.run("restore")
            for identity in population.identities:
                servers = next(project.servers for project in PROJECTS if project.name == identity.project)
                assert observer.wait_for_servers(identity, servers, timeout=60).servers == servers
        finally:
            observer.close()
            cluster.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def test_quickstart_uninstalls_everything(reader: Reader) -> None:
    def left() -> list[str]:
        names = reader.cluster.kubectl("get", "crd,clusterrole,clusterrolebinding,ns", "-o", "name").split()
        return [name for name in names if any(part in name for part in ("mcpgateway", "gateway-backup", "team-"))]

    # Kubernetes needs half a minute to delete a namespace with pods. The page deletes its own ones meanwhile.
    reader.kubectl("delete", "namespace", "team-b", "by-hand", "--wait=false")
    select_namespace(reader, "team-a")
    reader.opens(QUICKSTART).run("uninstall")
    assert "team-a" not in " ".join(left())
    wait_until(lambda: left() == [], f"the deletion of {left()}", timeout=60, pause=0.5)
