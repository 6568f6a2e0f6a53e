"""Encrypted, signed backups of a real gateway: opened by hand, restored with the key, and found again on a new cluster.

docs/disaster-recovery.md tells the last of these as steps for a person; the commands are the same.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.api.conftest import needs
from tests.cluster.fixtures import create_namespace
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE, GatewayPod
from tests.demo.kube import Kube
from tests.demo.observers import Observer
from tests.demo.terminal_report import Report
from tests.node.conftest import RESTRICTED, InstalledGateway
from tests.node.test_end_to_end import Subject
from tests.operator.support.real_gateway import AgeKey

pytestmark = pytest.mark.node

OLD, NEW, NAME = "keys-old", "keys-new", "kept-gateway"
SECRET = "restore-key"


@dataclass
class Guarded:
    """A gateway whose backups are encrypted to a key that the test keeps outside the cluster."""

    installed: InstalledGateway
    subject: Subject
    key: AgeKey
    folder: Path

    def kubectl(self, *arguments: str, namespace: str = OLD) -> str:
        """kubectl in the gateway's namespace."""
        return self.installed.kubectl(*arguments, namespace=namespace)


def namespace_with_the_key(installed: InstalledGateway, namespace: str, key: AgeKey) -> None:
    """A namespace that enforces the restricted standard, and the Secret with the identity in it."""
    create_namespace(installed.cluster, namespace)
    installed.cluster.kubectl("label", "namespace", namespace, *RESTRICTED)
    installed.kubectl("create", "secret", "generic", SECRET, f"--from-file=identity={key.file}", namespace=namespace)
    installed.kubectl("label", "secret", SECRET, f"mcpgateway.dev/gateway={NAME}", namespace=namespace)


def values(key: AgeKey) -> list[str]:
    """The values that a person keeps with the key."""
    return [
        *("--set", "managementApi.enabled=true", "--set", "encryption.policy=require"),
        *("--set", f"encryption.recipients={{{key.recipient}}}", "--set", f"restore.ageIdentitySecrets={{{SECRET}}}"),
    ]


@pytest.fixture(scope="module")
def guarded(installed_gateway: InstalledGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The gateway, with users in it and a backup of them."""
    needs("age", "zstd", "jq", "openssl")
    folder = tmp_path_factory.mktemp("keys")
    key = AgeKey.make(folder / "key.txt")
    cluster = installed_gateway.cluster
    namespace_with_the_key(installed_gateway, OLD, key)
    installed_gateway.install_gateway(*values(key), release=NAME, namespace=OLD)
    kube = Kube(Report(io.StringIO()), cluster.environment)
    pod, observer = GatewayPod(kube, OLD, NAME), Observer(kube, OLD, NAME)
    subject = Subject(kube, pod, observer, pod.populate(PROJECTS)[0], "first")
    try:
        subject.completed(subject.create("GatewayBackup", "first"), timeout=120)
        yield Guarded(installed_gateway, subject, key, folder)
    finally:
        observer.close()
        for namespace in (OLD, NEW):
            cluster.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found", check=False)


def test_the_file_on_the_volume_opens_with_age_zstd_and_jq(guarded: Guarded) -> None:
    status = guarded.subject.status("gatewaybackup/first")
    assert status["path"].endswith(".json.zst.age")
    pod = guarded.installed.pod(NAME, OLD)["metadata"]["name"]
    copy = guarded.folder / "backup.json.zst.age"
    guarded.kubectl("cp", f"{pod}:/backups/{status['path']}", str(copy), "-c", "admin")
    script = "age -d -i key.txt backup.json.zst.age | zstd -d | jq -r '.projects[].project_name'"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], cwd=guarded.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {project.name for project in PROJECTS}


def test_the_signing_key_is_in_the_admin_container_alone_and_its_public_half_can_be_read(guarded: Guarded) -> None:
    def has(container: str) -> str:
        script = "test -e /etc/gateway-admin/signing/signing-key.pem && echo yes || echo no"
        return guarded.installed.run(container, "sh", "-c", script, release=NAME, namespace=OLD).strip()

    assert [has(container) for container in ("admin", "gateway", "management-api")] == ["yes", "no", "no"]
    script = "find /backups /app/.enkrypt/docker -name '*.pem'"
    assert guarded.installed.run("admin", "sh", "-c", script, release=NAME, namespace=OLD) == ""
    told = guarded.installed.get("configmap", f"{NAME}-signing", OLD)["data"]
    secret = guarded.installed.get("secret", f"{NAME}-signing", OLD)["data"]["signing-key.pem"]
    command = ["openssl", "pkey", "-pubout"]
    public = subprocess.run(command, input=base64.b64decode(secret), capture_output=True, check=True).stdout
    assert told["public-key.pem"].split() == public.decode().split()


def test_a_lost_config_comes_back_with_the_identity(guarded: Guarded) -> None:
    subject = guarded.subject
    subject.kube.kubectl(*subject.pod.exec_arguments("gateway", "rm", CONFIG_FILE))
    subject.delete_pod(grace=5)
    subject.rolled_out()
    assert subject.detailed_health().startswith("unhealthy")
    status = subject.completed(
        subject.create("GatewayRestore", "with-key", latest={}, identitySecretRef={"name": SECRET})
    )
    assert status["source"]["backupName"] == "first"
    assert subject.works()
    assert guarded.key.secret not in guarded.kubectl("get", "gwb,gwr,events,configmaps,pods,deployments", "-o", "json")
    log = guarded.kubectl("logs", f"deployment/{guarded.installed.operator}", namespace="gateway-backup-operator")
    assert guarded.key.secret not in log
    assert guarded.key.secret not in guarded.kubectl("logs", f"deployment/{NAME}", "-c", "admin")


def test_on_a_new_cluster_the_volume_and_the_keys_are_enough(guarded: Guarded) -> None:
    """All is lost but the backup volume, the age key, the signing key's public half and the values."""
    installed, subject = guarded.installed, guarded.subject
    public = guarded.folder / "public-key.pem"
    public.write_text(installed.get("configmap", f"{NAME}-signing", OLD)["data"]["public-key.pem"])
    volume = installed.get("pvc", f"{NAME}-backups", OLD)["spec"]["volumeName"]
    cluster = installed.cluster
    cluster.kubectl("patch", "pv", volume, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}')
    subject.observer.close()
    cluster.kubectl("delete", "namespace", OLD, "--timeout=120s", timeout=130)
    cluster.kubectl("patch", "pv", volume, "--type=json", "-p", '[{"op": "remove", "path": "/spec/claimRef"}]')

    # The new cluster.
    namespace_with_the_key(installed, NEW, guarded.key)
    found = json.loads(cluster.kubectl("get", "pv", volume, "-o", "json"))["spec"]
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "old-backups"},
        "spec": {
            "volumeName": volume,
            "storageClassName": found["storageClassName"],
            "accessModes": found["accessModes"],
            "resources": {"requests": {"storage": found["capacity"]["storage"]}},
        },
    }
    installed.kubectl("apply", "-f", "-", namespace=NEW, input=json.dumps(claim))
    kept = [*values(guarded.key), "--set", "backups.persistence.existingClaim=old-backups"]
    installed.install_gateway(*kept, release=NAME, namespace=NEW)
    script = "cd /backups && find manual -name '*.age' | sort | tail -n 1"
    newest = installed.run("admin", "sh", "-c", script, release=NAME, namespace=NEW).strip()

    pod, observer = GatewayPod(subject.kube, NEW, NAME), Observer(subject.kube, NEW, NAME)
    there = Subject(subject.kube, pod, observer, subject.user)
    try:
        spec = {"path": newest, "identitySecretRef": {"name": SECRET}}
        refused = there.create("GatewayRestore", "too-early", **spec)
        installed.kubectl("wait", "--for=condition=Finished", refused, "--timeout=60s", namespace=NEW)
        assert there.status(refused)["reason"] == "KeyNotTrusted"

        trust = ["--set-file", f"signing.trustedKeys.old-cluster={public}"]
        installed.install_gateway(*kept, *trust, release=NAME, namespace=NEW)
        status = there.completed(there.create("GatewayRestore", "found-again", **spec))
        assert status["counts"]["projects"] == len(PROJECTS)
        assert there.works()
        there.completed(there.create("GatewayBackup", "from-now-on"), timeout=120)
    finally:
        observer.close()
        cluster.kubectl("delete", "namespace", NEW, "--wait=false", check=False)
        cluster.kubectl("delete", "pv", volume, "--wait=false", "--ignore-not-found", check=False)
