"""``kubectl-gateway`` against a real API server, as a process: what it does, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway_api.contract import ErrorCode
from gateway_operator.cli.main import parser
from tests.operator.support.kubectl_gateway import MODULE, Plugin, ended
from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def plugin(kube: Kube) -> Plugin:
    """The program as cluster-admin."""
    return Plugin.of(kube)


def test_a_backup_is_made_and_waited_for(kube: Kube, gateway: Gateway, plugin: Plugin) -> None:
    done = plugin.run(
        "backup", "create", "first", "--gateway=gw", "--wait", "--description=by hand", "--pin", "--group=own"
    )
    assert done.stdout == "gatewaybackup.mcpgateway.dev/first completed\n"
    assert "GatewayBackup first: Completed" in done.stderr
    body = kube.get("gwb", "first")
    assert body is not None
    assert body["spec"]["description"] == "by hand"
    assert body["spec"]["pinned"] is True
    assert body["spec"]["group"] == "own"
    again = plugin.run("backup", "create", "first", "--gateway=gw", code=1)
    assert "GatewayBackup first already exists" in again.stderr


def test_without_a_name_each_has_its_own(gateway: Gateway, plugin: Plugin) -> None:
    names = {plugin.run("backup", "create", "--gateway=gw", "-o", "name").stdout for _ in range(2)}
    assert len(names) == 2
    assert all(re.fullmatch(r"gatewaybackup\.mcpgateway\.dev/gw-\d{8}-\d{6}-[0-9a-f]{4}\n", name) for name in names)


def test_a_policy_of_its_own_is_carried_by_the_backup(kube: Kube, gateway: Gateway, plugin: Plugin) -> None:
    rules = ("keepLast=7", "keepDaily=14", "failed.maxAge=30d", "timeZone=Europe/Berlin")
    plugin.run("backup", "create", "p", "--gateway=gw", "--group=own", *(f"--retention={rule}" for rule in rules))
    body = kube.get("gwb", "p")
    assert body is not None
    assert body["spec"]["retention"] == {
        "keepLast": 7, "keepDaily": 14, "failed": {"maxAge": "30d"}, "timeZone": "Europe/Berlin", "minKeep": 1,
        "includeAdopted": False, "dryRun": False,
    }  # fmt: skip


def test_a_backup_that_fails_is_exit_1_with_its_reason(gateway: Gateway, admin: ScriptedAdmin, plugin: Plugin) -> None:
    admin.refuse_backups = [ErrorCode.ConfigInvalid]
    done = plugin.run("backup", "create", "bad", "--gateway=gw", "--wait", code=1)
    assert "GatewayBackup bad is Failed (ConfigInvalid)" in done.stderr


def test_one_that_is_not_finished_in_time_is_exit_3_and_goes_on(kube: Kube, plugin: Plugin) -> None:
    done = plugin.run("backup", "create", "slow", "--gateway=nobody", "--wait", "--timeout=2", code=3)
    assert "timed out after 2 s waiting for GatewayBackup slow (Pending, " in done.stderr
    assert "The operation continues" in done.stderr
    assert kube.status("gwb", "slow")["phase"] == "Pending"


def test_a_wait_outlives_a_restart_of_the_api_server(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, plugin: Plugin
) -> None:
    admin.slow = 6
    process = plugin.start("backup", "create", "long", "--gateway=gw", "--wait", "-n", kube.namespace)
    until("the call", lambda: admin.bodies)
    kube.cluster.restart_api_server()
    code, said = ended(process)
    assert code == 0, said
    assert kube.status("gwb", "long")["phase"] == "Completed"


def test_a_wait_ends_when_its_object_is_deleted(kube: Kube, plugin: Plugin) -> None:
    process = plugin.start("backup", "create", "gone", "--gateway=nobody", "--wait", "-n", kube.namespace)
    until("it is there", lambda: kube.get("gwb", "gone"))
    time.sleep(2)
    kube.run("delete", "gwb/gone")
    code, said = ended(process)
    assert code == 1
    assert "was deleted" in said


def test_lists_are_for_people_and_for_programs(kube: Kube, gateway: Gateway, plugin: Plugin) -> None:
    nothing = plugin.run("backup", "list")
    assert nothing.stdout == ""
    assert "No GatewayBackup found in namespace" in nothing.stderr
    plugin.run("backup", "create", "one", "--gateway=gw", "--wait")
    plugin.run("backup", "create", "two", "--gateway=gw", "--wait", "--group=other")
    lines = plugin.run("backup", "list").stdout.splitlines()
    assert lines[0].split()[:4] == ["NAME", "PHASE", "GATEWAY", "SIZE"]
    assert {line.split()[0] for line in lines[1:]} == {"one", "two"}
    assert plugin.run("backup", "list", "--group=other", "-o", "name").stdout == "gatewaybackup.mcpgateway.dev/two\n"
    items = json.loads(plugin.run("backup", "list", "-o", "json").stdout)["items"]
    assert {item["metadata"]["name"] for item in items} == {"one", "two"}
    kube.schedule("nightly")
    table = plugin.run("schedule", "list").stdout.splitlines()
    assert table[1].split()[:2] == ["nightly", "gw"]


def test_pins_and_suspensions(kube: Kube, gateway: Gateway, plugin: Plugin) -> None:
    plugin.run("backup", "create", "one", "--gateway=gw", "--wait")
    plugin.run("backup", "pin", "one")
    assert (kube.get("gwb", "one") or {})["spec"]["pinned"] is True
    plugin.run("backup", "unpin", "one")
    assert (kube.get("gwb", "one") or {})["spec"]["pinned"] is False
    kube.schedule("nightly")
    for word, value in (("suspend", True), ("resume", False)):
        plugin.run("schedule", word, "nightly")
        assert (kube.get("gwbs", "nightly") or {})["spec"]["suspend"] is value
    assert "not found" in plugin.run("backup", "pin", "nothing", code=1).stderr


def test_a_deletion_takes_the_file_along_and_asks_first(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, plugin: Plugin
) -> None:
    for name in ("one", "two", "kept"):
        plugin.run("backup", "create", name, "--gateway=gw", "--wait")
    assert "Pass --yes" in plugin.run("backup", "delete", "one", code=2).stderr
    done = plugin.run("backup", "delete", "one", "two", "--yes")
    assert done.stdout.splitlines() == [f"gatewaybackup.mcpgateway.dev/{name} deleted" for name in ("one", "two")]
    assert [one["metadata"]["name"] for one in kube.items("gwb")] == ["kept"]
    assert [record.path.split("-")[1] for record in admin.backups.values()] == ["kept"]
    kube.run("delete", "gwb/kept")
    assert len(admin.backups) == 1, "kubectl delete forgets a backup and keeps its file"
    assert "not found" in plugin.run("backup", "delete", "kept", "--yes", code=1).stderr


def test_a_file_that_could_not_be_deleted_is_told(
    kube: Kube, gateway: Gateway, admin: ScriptedAdmin, plugin: Plugin
) -> None:
    plugin.run("backup", "create", "stays", "--gateway=gw", "--wait")
    kube.run("delete", "deployment", "gw")
    said = plugin.run("backup", "delete", "stays", "--yes", code=1)
    assert "Deployment gw is gone" in said.stderr
    assert kube.get("gwb", "stays") is None


def test_a_file_is_adopted(kube: Kube, plugin: Plugin) -> None:
    plugin.run("backup", "adopt", "found", "--gateway=gw", "--path=nightly/old.json.gz", "--group=nightly")
    spec = (kube.get("gwb", "found") or {})["spec"]
    assert spec["existing"] == {"path": "nightly/old.json.gz"}
    assert spec["group"] == "nightly"


def test_retention_explains_itself_and_tries_another_policy(kube: Kube, gateway: Gateway, plugin: Plugin) -> None:
    kube.schedule("nightly", retention={"keepLast": 5, "minKeep": 1}, suspend=True)
    for name in ("one", "two", "three"):
        plugin.run("backup", "create", name, "--gateway=gw", "--wait", "--group=nightly")
    done = plugin.run("retention", "explain", "nightly")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "three", "two", "one"]
    assert "keepLast" in done.stdout
    assert "Deployment gw, group nightly: 3 backups, 3 to keep, 0 to delete." in done.stderr
    other = plugin.run("retention", "explain", "nightly", "--policy=keepLast=1", "-o", "name")
    assert other.stdout.splitlines() == [f"gatewaybackup.mcpgateway.dev/{name}" for name in ("two", "one")]
    assert "which is not in force" in other.stderr
    rows = json.loads(plugin.run("retention", "explain", "--group=nightly", "-o", "json").stdout)
    assert {row["verdict"] for row in rows} == {"keep"}
    assert len(kube.items("gwb")) == 3
    assert "GatewayBackupSchedule nothing not found" in plugin.run("retention", "explain", "nothing", code=1).stderr
    plugin.run("retention", "explain", code=2)


def test_everything_on_a_volume_is_imported(kube: Kube, plugin: Plugin) -> None:
    done = plugin.run("backup", "import", "--gateway=gw", "--under=nightly/", "--dry-run", "-o", "json")
    made = json.loads(done.stdout)
    assert made["kind"] == "GatewayBackupImport"
    assert made["spec"]["paths"] == ["nightly/"]
    assert made["spec"]["dryRun"] is True
    plugin.run("backup", "import", "again", "--gateway=gw")
    assert "runs once" in plugin.run("backup", "import", "again", "--gateway=gw", code=1).stderr


def test_a_restore_is_made_and_a_second_of_its_name_refused(kube: Kube, gateway: Gateway, plugin: Plugin) -> None:
    options = ("--gateway=gw", "--latest", "--group=nightly", "--on-failure=Leave", "--safety-backup=Required")
    sealed = ("--identity-secret=key", "--accept-unsigned", f"--expected-sha256={'a' * 64}", "--health-consecutive=1")
    plugin.run("restore", "create", "back", *options, *sealed)
    spec = (kube.get("gwr", "back") or {})["spec"]
    assert spec["identitySecretRef"] == {"name": "key", "key": "identity"}
    assert (spec["acceptUnsigned"], spec["expectedSha256"]) == (True, "a" * 64)
    assert spec["healthCheck"]["consecutive"] == 1
    assert spec["latest"] == {"group": "nightly"}
    assert (spec["onFailure"], spec["safetyBackup"]) == ("Leave", "Required")
    assert "runs once" in plugin.run("restore", "create", "back", *options, code=1).stderr
    assert plugin.run("restore", "list").stdout.splitlines()[1].split()[0] == "back"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("backup",),
        ("backup", "create"),
        ("backup", "create", "UPPER", "--gateway=gw"),
        ("backup", "create", "--gateway=gw", "--ttl=1month"),
        ("backup", "create", "--gateway=gw", "--retention=keepEver=1"),
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
def test_a_command_that_cannot_be_meant_is_exit_2_and_does_nothing(
    kube: Kube, plugin: Plugin, words: tuple[str, ...]
) -> None:
    code, said = ended(plugin.start(*words))
    assert code == 2, said
    assert "Traceback" not in said
    assert kube.items("gwb") == []


def test_a_missing_right_is_named(kube: Kube, tmp_path: Path) -> None:
    kube.run("create", "serviceaccount", "nobody")
    plugin = Plugin.of(kube, "nobody", tmp_path)
    said = plugin.run("backup", "create", "x", "--gateway=gw", code=1).stderr
    assert 'cannot create resource "gatewaybackups"' in said
    assert "gateway-backup-edit" in said


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    for kubeconfig in (tmp_path / "absent", tmp_path / "empty"):
        (tmp_path / "empty").write_text("")
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}
        done = subprocess.run([*MODULE, "backup", "list"], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.stderr


def test_kubectl_finds_it(kube: Kube, tmp_path: Path) -> None:
    program = tmp_path / "kubectl-gateway"
    program.write_text(f'#!/bin/sh\nexec {" ".join(MODULE)} "$@"\n')
    program.chmod(0o755)
    environment = {**kube.cluster.environment}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    command = ["kubectl", "gateway", "backup", "list", "-n", kube.namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "No GatewayBackup found in namespace" in done.stderr


def test_every_command_explains_itself() -> None:
    for words in (
        ("backup", "create"), ("backup", "list"), ("backup", "delete"), ("backup", "adopt"),
        ("backup", "import"), ("backup", "pin"), ("backup", "unpin"),
        ("schedule", "list"), ("schedule", "suspend"), ("schedule", "resume"), ("schedule", "run"),
        ("restore", "create"), ("restore", "list"), ("retention", "explain"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended_with:
            parser().parse_args([*words, "--help"])
        assert ended_with.value.code == 0


def test_help_imports_no_client() -> None:
    script = "import sys\nfrom gateway_operator.cli.main import parser\nparser()\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"kubernetes", "aiohttp", "pydantic", "kopf"} & set(done.stdout.split())
