"""``kubectl-gateway`` as a process against a real API server: its effects, its output and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway_api.contract import ErrorCode
from gateway_operator.cli.options.commands import parser
from tests.operator.support.kubectl_gateway import MODULE, KubectlGateway, wait_for_exit
from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def cli(kube: Kube) -> KubectlGateway:
    """``kubectl-gateway`` with the permissions of cluster-admin."""
    return KubectlGateway.as_admin(kube)


def test_backup_create_waits_for_completion(kube: Kube, gateway: GatewayDeployment, cli: KubectlGateway) -> None:
    done = cli.run(
        "backup", "create", "first", "--gateway=gw", "--wait", "--description=by hand", "--pin", "--group=own"
    )
    assert done.stdout == "gatewaybackup.mcpgateway.dev/first completed\n"
    assert "GatewayBackup first: Completed" in done.stderr
    body = kube.require("gwb", "first")
    assert body["spec"]["description"] == "by hand"
    assert body["spec"]["pinned"] is True
    assert body["spec"]["group"] == "own"
    repeated = cli.run("backup", "create", "first", "--gateway=gw", code=1)
    assert "GatewayBackup first already exists" in repeated.stderr


def test_backup_create_generates_unique_names(gateway: GatewayDeployment, cli: KubectlGateway) -> None:
    names = {cli.run("backup", "create", "--gateway=gw", "-o", "name").stdout for _ in range(2)}
    assert len(names) == 2
    assert all(re.fullmatch(r"gatewaybackup\.mcpgateway\.dev/gw-\d{8}-\d{6}-[0-9a-f]{4}\n", name) for name in names)


def test_backup_accept_acknowledges_a_backup(kube: Kube, gateway: GatewayDeployment, cli: KubectlGateway) -> None:
    cli.run("backup", "create", "smaller", "--gateway=gw", "--wait")
    done = cli.run("backup", "accept", "smaller")
    assert done.stdout == "gatewaybackup.mcpgateway.dev/smaller accepted\n"
    assert kube.require("gwb", "smaller")["spec"]["accepted"] is True


def test_failed_backup_exits_1_with_its_reason(
    gateway: GatewayDeployment, admin: ScriptedAdminApi, cli: KubectlGateway
) -> None:
    admin.backup_errors = [ErrorCode.ConfigInvalid]
    done = cli.run("backup", "create", "bad", "--gateway=gw", "--wait", code=1)
    assert "GatewayBackup bad is Failed (ConfigInvalid)" in done.stderr


def test_wait_timeout_exits_3_and_the_backup_continues(kube: Kube, cli: KubectlGateway) -> None:
    done = cli.run("backup", "create", "slow", "--gateway=nobody", "--wait", "--timeout=2", code=3)
    assert "timed out after 2 s waiting for GatewayBackup slow (Pending, " in done.stderr
    assert "The operation continues" in done.stderr
    assert kube.status("gwb", "slow")["phase"] == "Pending"


def test_wait_survives_an_api_server_restart(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, cli: KubectlGateway
) -> None:
    admin.backup_seconds = 6
    process = cli.start("backup", "create", "long", "--gateway=gw", "--wait", "-n", kube.namespace)
    wait_for("the backup call", lambda: admin.backup_requests)
    kube.cluster.restart_api_server()
    code, output = wait_for_exit(process)
    assert code == 0, output
    assert kube.status("gwb", "long")["phase"] == "Completed"


def test_wait_ends_when_the_object_is_deleted(kube: Kube, cli: KubectlGateway) -> None:
    process = cli.start("backup", "create", "gone", "--gateway=nobody", "--wait", "-n", kube.namespace)
    wait_for("the GatewayBackup exists", lambda: kube.get("gwb", "gone"))
    time.sleep(2)
    kube.kubectl("delete", "gwb/gone")
    code, output = wait_for_exit(process)
    assert code == 1
    assert "was deleted" in output


def test_lists_print_tables_names_and_json(kube: Kube, gateway: GatewayDeployment, cli: KubectlGateway) -> None:
    nothing = cli.run("backup", "list")
    assert nothing.stdout == ""
    assert "No GatewayBackup found in namespace" in nothing.stderr
    cli.run("backup", "create", "one", "--gateway=gw", "--wait")
    cli.run("backup", "create", "two", "--gateway=gw", "--wait", "--group=other")
    lines = cli.run("backup", "list").stdout.splitlines()
    assert lines[0].split()[:4] == ["NAME", "PHASE", "REASON", "GATEWAY"]
    assert {line.split()[0] for line in lines[1:]} == {"one", "two"}
    assert cli.run("backup", "list", "--group=other", "-o", "name").stdout == "gatewaybackup.mcpgateway.dev/two\n"
    items = json.loads(cli.run("backup", "list", "-o", "json").stdout)["items"]
    assert {item["metadata"]["name"] for item in items} == {"one", "two"}
    assert cli.run("status", "gw").stdout.startswith("Gateway:         Deployment gw, namespace ")
    kube.apply_schedule("nightly")
    table = cli.run("schedule", "list").stdout.splitlines()
    assert table[1].split()[:2] == ["nightly", "gw"]


def test_pin_and_suspend_change_the_spec(kube: Kube, gateway: GatewayDeployment, cli: KubectlGateway) -> None:
    cli.run("backup", "create", "one", "--gateway=gw", "--wait")
    cli.run("backup", "pin", "one")
    assert kube.require("gwb", "one")["spec"]["pinned"] is True
    cli.run("backup", "unpin", "one")
    assert kube.require("gwb", "one")["spec"]["pinned"] is False
    kube.apply_schedule("nightly")
    for word, value in (("suspend", True), ("resume", False)):
        cli.run("schedule", word, "nightly")
        assert kube.require("gwbs", "nightly")["spec"]["suspend"] is value
    assert "not found" in cli.run("backup", "pin", "nothing", code=1).stderr


def test_backup_delete_asks_first_and_deletes_the_file(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, cli: KubectlGateway
) -> None:
    for name in ("one", "two", "kept"):
        cli.run("backup", "create", name, "--gateway=gw", "--wait")
    assert "Pass --yes" in cli.run("backup", "delete", "one", code=2).stderr
    done = cli.run("backup", "delete", "one", "two", "--yes")
    assert done.stdout.splitlines() == [f"gatewaybackup.mcpgateway.dev/{name} deleted" for name in ("one", "two")]
    assert [one["metadata"]["name"] for one in kube.items("gwb")] == ["kept"]
    assert [record.path.split("-")[1] for record in admin.backups.values()] == ["kept"]
    kube.kubectl("delete", "gwb/kept")
    assert len(admin.backups) == 1, "kubectl delete deletes the object and keeps the file"
    assert "not found" in cli.run("backup", "delete", "kept", "--yes", code=1).stderr


def test_backup_delete_reports_a_file_that_it_could_not_delete(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi, cli: KubectlGateway
) -> None:
    cli.run("backup", "create", "stays", "--gateway=gw", "--wait")
    kube.kubectl("delete", "deployment", "gw")
    done = cli.run("backup", "delete", "stays", "--yes", code=1)
    assert "Deployment gw no longer exists" in done.stderr
    assert kube.get("gwb", "stays") is None


def test_backup_adopt_creates_a_backup_of_an_existing_file(kube: Kube, cli: KubectlGateway) -> None:
    cli.run("backup", "adopt", "found", "--gateway=gw", "--path=nightly/old.json.gz", "--group=nightly")
    spec = kube.require("gwb", "found")["spec"]
    assert spec["existing"] == {"path": "nightly/old.json.gz"}
    assert spec["group"] == "nightly"


def test_retention_explain_shows_the_policy_and_tries_another(
    kube: Kube, gateway: GatewayDeployment, cli: KubectlGateway
) -> None:
    kube.kubectl("create", "serviceaccount", "gw-backup")
    kube.apply_schedule("nightly", retention={"keepLast": 5, "minKeep": 1}, suspend=True)
    one, two, three = [kube.complete_scheduled_backup("nightly", job) for job in ("one", "two", "three")]
    done = cli.run("retention", "explain", "nightly")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", three, two, one]
    assert "keepLast" in done.stdout
    assert "backups: 3, to keep: 3, to delete: 0." in done.stderr
    other = cli.run("retention", "explain", "nightly", "--policy=keepLast=1", "-o", "name")
    assert other.stdout.splitlines() == [f"gatewaybackup.mcpgateway.dev/{name}" for name in (two, one)]
    assert "which is not in force" in other.stderr
    kube.complete_backup("mine", group="nightly")
    rows = json.loads(cli.run("retention", "explain", "--group=nightly", "-o", "json").stdout)
    assert [(row["name"], row["decision"]) for row in rows] == [("mine", "keep")]
    assert len(kube.items("gwb")) == 4
    assert "GatewayBackupSchedule nothing not found" in cli.run("retention", "explain", "nothing", code=1).stderr
    cli.run("retention", "explain", code=2)


def test_backup_import_creates_an_import_that_runs_once(kube: Kube, cli: KubectlGateway) -> None:
    done = cli.run("backup", "import", "--gateway=gw", "--under=nightly/", "--dry-run", "-o", "json")
    created = json.loads(done.stdout)
    assert created["kind"] == "GatewayBackupImport"
    assert created["spec"]["paths"] == ["nightly/"]
    assert created["spec"]["dryRun"] is True
    cli.run("backup", "import", "again", "--gateway=gw")
    assert "runs once" in cli.run("backup", "import", "again", "--gateway=gw", code=1).stderr


def test_restore_create_refuses_an_existing_name(kube: Kube, gateway: GatewayDeployment, cli: KubectlGateway) -> None:
    options = ("--gateway=gw", "--latest", "--group=nightly", "--on-failure=Leave", "--safety-backup=Required")
    encryption = (
        "--identity-secret=key",
        "--accept-unsigned",
        f"--expected-sha256={'a' * 64}",
        "--health-consecutive=1",
    )
    cli.run("restore", "create", "back", *options, *encryption)
    spec = kube.require("gwr", "back")["spec"]
    assert spec["identitySecretRef"] == {"name": "key", "key": "identity"}
    assert (spec["acceptUnsigned"], spec["expectedSha256"]) == (True, "a" * 64)
    assert spec["healthCheck"]["consecutive"] == 1
    assert spec["latest"] == {"group": "nightly"}
    assert (spec["onFailure"], spec["safetyBackup"]) == ("Leave", "Required")
    assert "runs once" in cli.run("restore", "create", "back", *options, code=1).stderr
    assert cli.run("restore", "list").stdout.splitlines()[1].split()[0] == "back"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("backup",),
        ("backup", "create"),
        ("backup", "create", "UPPER", "--gateway=gw"),
        ("backup", "create", "--gateway=gw", "--ttl=1month"),
        ("backup", "create", "--gateway=gw", "--retention=keepLast=1"),
        ("backup", "create", "--gateway=gw", "--timeout=0"),
        ("backup", "create", "--gateway=gw", "--from-job"),
        ("backup", "delete", "--yes"),
        ("restore", "create", "x", "--gateway=gw"),
        ("restore", "create", "x", "--gateway=gw", "--before=yesterday"),
        ("restore", "create", "x", "--gateway=gw", "--path=a", "--latest"),
        ("restore", "create", "x", "--gateway=gw", "--path=a", "--group=b"),
        ("restore", "create", "x", "--gateway=gw", "--path=a", "--accept-unsigned"),
        ("restore", "create", "x", "--gateway=gw", "--path=a", "--identity-secret=AGE-SECRET-KEY-1"),
    ],
    ids=" ".join,
)
def test_invalid_arguments_exit_2_and_change_nothing(kube: Kube, cli: KubectlGateway, words: tuple[str, ...]) -> None:
    code, output = wait_for_exit(cli.start(*words))
    assert code == 2, output
    assert "Traceback" not in output
    assert kube.items("gwb") == []


def test_unknown_field_is_refused_for_good(kube: Kube, cli: KubectlGateway) -> None:
    done = cli.run("backup", "create", "x", "--gateway=gw", "--set=retian=1", code=1)
    assert "the API server rejected the object" in done.stderr
    assert 'unknown field "spec.retian"' in done.stderr
    assert kube.items("gwb") == []


def test_missing_permission_is_named_with_its_cluster_role(kube: Kube, tmp_path: Path) -> None:
    kube.kubectl("create", "serviceaccount", "nobody")
    cli = KubectlGateway.as_account(kube, "nobody", tmp_path)
    errors = cli.run("backup", "create", "x", "--gateway=gw", code=1).stderr
    assert 'cannot create resource "gatewaybackups"' in errors
    assert "gateway-backup-edit" in errors


def test_missing_kubeconfig_ends_with_one_error_line(kube: Kube, tmp_path: Path) -> None:
    for kubeconfig in (tmp_path / "absent", tmp_path / "empty"):
        (tmp_path / "empty").write_text("")
        environment = {**kube.cluster.environment, "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}
        done = subprocess.run([*MODULE, "backup", "list"], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 4
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.stderr


def test_kubectl_runs_it_as_a_plugin(kube: Kube, tmp_path: Path) -> None:
    program = tmp_path / "kubectl-gateway"
    program.write_text(f'#!/bin/sh\nexec {" ".join(MODULE)} "$@"\n')
    program.chmod(0o755)
    environment = {**kube.cluster.environment}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    command = ["kubectl", "gateway", "backup", "list", "-n", kube.namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "No GatewayBackup found in namespace" in done.stderr


def test_every_command_has_help() -> None:
    for words in (
        ("backup", "create"), ("backup", "list"), ("backup", "delete"), ("backup", "adopt"),
        ("backup", "import"), ("backup", "pin"), ("backup", "unpin"),
        ("schedule", "list"), ("schedule", "suspend"), ("schedule", "resume"), ("schedule", "run"),
        ("restore", "create"), ("restore", "list"), ("retention", "explain"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as exited:
            parser().parse_args([*words, "--help"])
        assert exited.value.code == 0


def test_parser_imports_no_client_library() -> None:
    script = (
        "import sys\nfrom gateway_operator.cli.options.commands import parser\nparser()\nprint(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"kubernetes", "aiohttp", "pydantic", "kopf"} & set(done.stdout.split())
