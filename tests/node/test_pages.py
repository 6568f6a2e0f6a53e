"""The pages of the documentation for users of a cluster, run by a reader on a new one.

The reader has one namespace for the quickstart (team-a) and one for the other pages (team-b), each with a gateway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.api.support.admin_process import free_port
from tests.api.support.requirements import require_programs
from tests.cluster import Cluster
from tests.cluster.output import wait_until
from tests.demo.gateway_api import PROJECTS
from tests.demo.gateway_pod import CONFIG_FILE
from tests.demo.observers import Observer
from tests.node.conftest import InstalledGateway, Population, gateway_pod, load_with_short_names
from tests.node.page_commands import PageReader
from tests.node.pages import (
    APPROVALS,
    BACKUPS,
    DISASTER_RECOVERY,
    FROM_CRON,
    KUBECTL_GATEWAY,
    NOTIFICATIONS,
    OTHER_GATEWAYS,
    QUICKSTART,
    README,
    RESTORES,
    RETENTION,
    RUNBOOK,
    SCHEDULES,
    SECURITY,
)
from tests.node.reader import Reader
from tests.node.shell import Shell
from tests.operator.support.namespaces import create_restricted_namespace
from tests.operator.support.real_gateway import AgeKey

pytestmark = pytest.mark.node

OPERATOR = "gateway-backup-operator"
OLD_SCRIPTS_FILE = "gateway-backup-20260101-020000.json.gz"


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
    reader.select_namespace("team-b")
    return reader


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


def test_page_of_other_gateways_prepares_one_without_the_chart(reader: Reader) -> None:
    namespace = "other-gateway"
    create_restricted_namespace(reader.cluster, namespace)
    deployment = gateway_alone(reader.get("deployment", "my-gateway", "team-a"))
    for manifest in (reader.get("pvc", "my-gateway-config", "team-a"), deployment):
        reader.cluster.kubectl("apply", "-f", "-", input=json.dumps(moved_to(namespace, manifest)))
    reader.select_namespace(namespace)
    page = reader.opens(OTHER_GATEWAYS, {"NS": namespace})
    page.run("admin API")
    page.run("annotations")
    page.run("permissions")
    status = reader.get("gwb", "first", namespace)["status"]
    assert (status["phase"], status["verification"]["level"]) == ("Completed", "Verified")
    reader.kubectl("delete", "namespace", namespace, "--wait=false", namespace=namespace)


def gateway_alone(deployment: dict[str, Any]) -> dict[str, Any]:
    """The Deployment of the chart without all that the page adds: the container, its volumes and the annotations."""
    pod = deployment["spec"]["template"]["spec"]
    pod["containers"] = [one for one in pod["containers"] if one["name"] == "gateway"]
    mounted = {mount["name"] for one in (*pod["containers"], *pod["initContainers"]) for mount in one["volumeMounts"]}
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] in mounted]
    return deployment


def moved_to(namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    """A new object with the name and the spec of this one."""
    spec = {field: value for field, value in body["spec"].items() if field != "volumeName"}
    metadata = {"name": body["metadata"]["name"], "namespace": namespace}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata, "spec": spec}


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


def test_runbook_shows_the_state_and_retains_the_volume(team_b: Reader) -> None:
    port = free_port()
    own = {
        "GATEWAY": "my-gateway",
        "NAMESPACE": "team-b",
        "CLAIM": "my-gateway-backups",
        "describe gwb NAME": "describe gwb before-upgrade",
        "8001 > ": f"{port}:8001 > ",
        "127.0.0.1:8001": f"127.0.0.1:{port}",
    }
    page = team_b.opens(RUNBOOK, own)
    looked = page.run("look")
    for text in ("Gateway:         Deployment my-gateway", "Finished", '"event": "started"'):
        assert text in looked
    assert "gatewaybackup.mcpgateway.dev/before-upgrade" in page.run("alert")
    page.run("retain")
    volume = team_b.get("pvc", "my-gateway-backups")["spec"]["volumeName"]
    assert team_b.get("pv", volume)["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert '"ready"' in page.run("not ready")


def test_page_of_notifications_creates_the_secret(reader: Reader) -> None:
    for receiver in ("slack-url", "webhook-url"):
        (reader.folder / receiver).write_text(f"https://{receiver}.example/x")
    reader.opens(NOTIFICATIONS).run("secret")
    secret = reader.get("secret", "backup-notifications", OPERATOR)
    assert sorted(secret["data"]) == ["slack-url", "webhook-url"]


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
    reader.select_namespace("team-a")
    reader.opens(QUICKSTART).run("uninstall")
    assert "team-a" not in " ".join(left())
    wait_until(lambda: left() == [], f"the deletion of {left()}", timeout=60, pause=0.5)
