"""Encrypted and signed backups of a real gateway: opened with age, restored, and recovered after a disaster.

Two disasters are recovered with the commands of docs/disaster-recovery.md: the namespace is lost and only the backup
volume is left, or only one file is left. tests/node/test_pages.py runs the third section of that page, a move.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.api.support.requirements import require_programs
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE
from tests.demo.mcp_client import Identity
from tests.demo.observers import Observer
from tests.node.conftest import InstalledGateway, Population, gateway_pod
from tests.node.page_commands import PageReader
from tests.node.pages import DISASTER_RECOVERY
from tests.node.shell import Shell
from tests.node.test_end_to_end import Subject
from tests.operator.support.namespaces import create_restricted_namespace
from tests.operator.support.real_gateway import AgeKey

pytestmark = pytest.mark.node

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW, LAPTOP, NAME = "keys-old", "keys-new", "keys-laptop", "kept-gateway"
SECRET = "restore-key"


@dataclass
class EncryptedGateway:
    """A gateway whose backups are encrypted to a key that exists only outside the cluster."""

    installed: InstalledGateway
    subject: Subject
    key: AgeKey
    folder: Path
    identities: list[Identity]
    environment: dict[str, str]
    shell: Shell

    def page(self, namespace: str, **replacements: str) -> PageReader:
        """The page about disasters, read by a person who works in this namespace."""
        chart = str(ROOT / "helm" / "gateway")
        values = {"team-a": namespace, "my-gateway": NAME, "helm/gateway": chart, **replacements}
        return PageReader(DISASTER_RECOVERY, self.shell, values)

    def kubectl(self, *arguments: str, namespace: str = OLD) -> str:
        return self.installed.kubectl(*arguments, namespace=namespace)


def create_namespace_with_identity(installed: InstalledGateway, namespace: str, key: AgeKey) -> None:
    """Create a namespace that enforces the restricted standard, with the Secret that holds the identity."""
    create_restricted_namespace(installed.cluster, namespace)
    installed.kubectl("create", "secret", "generic", SECRET, f"--from-file=identity={key.file}", namespace=namespace)
    installed.kubectl("label", "secret", SECRET, f"mcpgateway.dev/gateway={NAME}", namespace=namespace)


def values(key: AgeKey) -> list[str]:
    """The Helm values that users must keep together with the key."""
    return [
        *("--set", "encryption.policy=require", "--set", f"encryption.recipients={{{key.recipient}}}"),
        *("--set", f"restore.ageIdentitySecrets={{{SECRET}}}"),
    ]


@pytest.fixture(scope="module")
def encrypted_gateway(
    installed_gateway: InstalledGateway, population: Population, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EncryptedGateway]:
    """The gateway with projects and users, and the backup `first` of them."""
    require_programs("age", "zstd", "jq")
    folder = tmp_path_factory.mktemp("keys")
    key = AgeKey.generate(folder / "key.txt")
    cluster = installed_gateway.cluster
    create_namespace_with_identity(installed_gateway, OLD, key)
    installed_gateway.install_gateway(*values(key), release=NAME, namespace=OLD)
    pod = gateway_pod(cluster, OLD, NAME)
    population.copy_to(pod)
    observer = Observer(pod.kube, OLD, NAME)
    subject = Subject(pod.kube, pod, observer, population.identities[0], "first")
    # The plugin of this work tree, and the programs of the cluster.
    path = os.pathsep.join([str(Path(sys.executable).parent), cluster.environment["PATH"]])
    environment = {**cluster.environment, "PATH": path}
    shell = Shell(environment, folder)
    try:
        subject.completed(subject.create("GatewayBackup", "first"), timeout=120)
        yield EncryptedGateway(installed_gateway, subject, key, folder, population.identities, environment, shell)
    finally:
        observer.close()
        shell.close()
        for namespace in (OLD, NEW, LAPTOP):
            cluster.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found", check=False)


def test_file_on_the_volume_opens_with_age_zstd_and_jq(encrypted_gateway: EncryptedGateway) -> None:
    status = encrypted_gateway.subject.status("gatewaybackup/first")
    assert status["path"].endswith(".json.zst.age")
    pod = encrypted_gateway.installed.pod(NAME, OLD)["metadata"]["name"]
    copy = encrypted_gateway.folder / "backup.json.zst.age"
    encrypted_gateway.kubectl("cp", f"{pod}:/backups/{status['path']}", str(copy), "-c", "admin")
    script = "age -d -i key.txt backup.json.zst.age | zstd -d | jq -r '.projects[].project_name'"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], cwd=encrypted_gateway.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {project.name for project in PROJECTS}


def test_lost_config_is_not_seeded_over_and_is_restored_with_the_key(encrypted_gateway: EncryptedGateway) -> None:
    subject = encrypted_gateway.subject
    subject.kube.kubectl(*subject.pod.exec_arguments("gateway", "rm", CONFIG_FILE))
    subject.delete_pod(grace=5)
    subject.rolled_out()
    # The seed must not replace a lost config: an empty config would look healthy and hide the loss.
    assert subject.detailed_health().startswith("unhealthy")
    status = subject.completed(
        subject.create("GatewayRestore", "with-key", latest={}, identitySecretRef={"name": SECRET})
    )
    assert status["source"]["backupName"] == "first"
    assert status["safetyBackup"]["kind"] == "missing"
    assert subject.works()
    assert encrypted_gateway.key.secret not in encrypted_gateway.kubectl(
        "get", "gwb,gwr,events,configmaps,pods,deployments", "-o", "json"
    )
    pods = "app.kubernetes.io/name=gateway-backup-operator"
    log = encrypted_gateway.kubectl("logs", "-l", pods, "--tail=-1", namespace="gateway-backup-operator")
    assert encrypted_gateway.key.secret not in log
    assert encrypted_gateway.key.secret not in encrypted_gateway.kubectl("logs", f"deployment/{NAME}", "-c", "admin")


def assert_everyone_works(gateway: EncryptedGateway, namespace: str) -> None:
    """Each user gets the servers of the user's project, with the same key as before the disaster."""
    kube = gateway.subject.kube
    observer = Observer(kube, namespace, NAME)
    try:
        for identity in gateway.identities:
            servers = next(project.servers for project in PROJECTS if project.name == identity.project)
            assert observer.wait_for_servers(identity, servers, timeout=60).servers == servers
    finally:
        observer.close()


@pytest.fixture(scope="module")
def lost(encrypted_gateway: EncryptedGateway) -> dict[str, Any]:
    """The PersistentVolume of the backups. Its namespace is being deleted, after a person has kept the page's files."""
    page = encrypted_gateway.page(OLD)
    page.run("keep")
    page.run("retain")
    page.run("copy one file")
    name = encrypted_gateway.installed.get("pvc", f"{NAME}-backups", OLD)["spec"]["volumeName"]
    encrypted_gateway.subject.observer.close()
    cluster = encrypted_gateway.installed.cluster
    # Kubernetes needs half a minute to delete a namespace with pods. Only the volume's test waits for that.
    cluster.kubectl("delete", "namespace", OLD, "--wait=false")
    volume: dict[str, Any] = json.loads(cluster.kubectl("get", "pv", name, "-o", "json"))
    return volume


@pytest.mark.usefixtures("lost")
def test_new_gateway_recovers_from_one_file_on_a_laptop(encrypted_gateway: EncryptedGateway, tmp_path: Path) -> None:
    """Only one backup file and its age key remain."""
    for name in ("key.txt", "laptop.json.zst.age"):
        shutil.copy(encrypted_gateway.folder / name, tmp_path)
    with Shell(encrypted_gateway.environment, tmp_path) as shell:
        page = replace(encrypted_gateway, shell=shell).page(LAPTOP)
        assert f'Completed {{"apiKeys":{len(encrypted_gateway.identities)},' in page.run("one file")
    assert_everyone_works(encrypted_gateway, LAPTOP)


def test_new_gateway_recovers_from_the_volume_and_the_keys(
    encrypted_gateway: EncryptedGateway, lost: dict[str, Any]
) -> None:
    """Only the backup volume, the age key, the public half of the signing key and the Helm values remain."""
    cluster, volume, spec = encrypted_gateway.installed.cluster, lost["metadata"]["name"], lost["spec"]
    cluster.kubectl("wait", "--for=delete", f"namespace/{OLD}", "--timeout=120s", timeout=130)
    create_restricted_namespace(cluster, NEW)
    storage = {"storageClassName: CLASS": f"storageClassName: {json.dumps(spec['storageClassName'])}"}
    page = encrypted_gateway.page(NEW, **storage, **{"storage: 5Gi": f"storage: {spec['capacity']['storage']}"})
    try:
        for part in ("volume", "identity", "install", "import"):
            page.run(part)
        assert f'Completed {{"apiKeys":{len(encrypted_gateway.identities)},' in page.run("restore")
        assert_everyone_works(encrypted_gateway, NEW)
        page.run("clean up")
    finally:
        cluster.kubectl("delete", "namespace", NEW, "--wait=false", check=False)
        cluster.kubectl("delete", "pv", volume, "--wait=false", "--ignore-not-found", check=False)
