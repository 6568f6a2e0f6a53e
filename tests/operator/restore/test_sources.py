"""Every source of a restore on a real API server with the real admin API: dry runs, factory resets, other gateways."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.api.support.admin_process import AdminProcess, admin_key, gateway_config
from tests.api.support.responses import assert_ok, wait_for_recovery
from tests.operator.support.kubectl_gateway import KubectlGateway
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.trees import tree_digest
from tests.operator.support.workloads import QUICK_HEALTH_CHECK, Kube

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

RESET = {"confirm": True}


def admin_key_of(gw: RealGateway) -> str:
    return str(json.loads(gw.config.read_text())["admin_apikey"])


def test_dry_run_reports_the_difference_and_changes_no_file(
    kube: Kube, backed_up: RealGateway, cli: KubectlGateway
) -> None:
    """The digests of both volumes are the same before and after, for each source, also when it is refused."""
    good = kube.status("gwb", "good")
    (backed_up.backups / "broken.json").write_text("{")
    sources: dict[str, dict[str, Any]] = {
        "by-name": {"backupName": "good"},
        "newest": {"latest": {}},
        "earlier": {"before": "2999-01-01T00:00:00Z"},
        "by-path": {"path": good["path"]},
        "reset": {"factoryReset": RESET},
        "rotated": {"factoryReset": {**RESET, "rotateAdminKey": True}},
        "refused": {"path": "broken.json"},
    }
    before = tree_digest(backed_up.config.parent, backed_up.backups)
    for name, source in sources.items():
        kube.apply_restore(name, mode="DryRun", **source)
    statuses = {name: kube.wait_phase("gwr", name, "Completed", "Failed") for name in sources}
    shown = cli.run("restore", "diff", "--gateway", "gw", "--latest").stdout
    refused = cli.run("restore", "diff", "--gateway", "gw", "--path", "broken.json", code=1)
    assert tree_digest(backed_up.config.parent, backed_up.backups) == before
    assert {name: (one["phase"], one["reason"]) for name, one in statuses.items()} == {
        **dict.fromkeys(sources, ("Completed", "WouldRestore")),
        "refused": ("Failed", "BackupInvalid"),
    }
    users = {name: _section(one, "users") for name, one in statuses.items() if name != "refused"}
    removed = [f"user-{number}@example.com" for number in range(2, 5)]
    for name in ("by-name", "newest", "earlier", "by-path"):
        assert users[name] == {"name": "users", "added": 0, "removed": 3, "changed": 0, "removedNames": removed}
        assert statuses[name]["diff"]["adminKeyChanges"] is False
    assert users["reset"]["removed"] == users["rotated"]["removed"] == 5
    assert [statuses[name]["diff"]["adminKeyChanges"] for name in ("reset", "rotated")] == [False, True]
    assert statuses["rotated"]["message"].startswith("The admin key changes.")
    for status in statuses.values():
        assert not {"requestID", "safetyBackup", "safetyBackupUID", "previousDigest"} & status.keys()
    assert kube.kubectl("get", "gwb", "-o", "name").split() == ["gatewaybackup.mcpgateway.dev/good"]
    # The same on the terminal. The command deletes the dry run that it made.
    assert "Admin key: unchanged\n" in shown
    assert "Users: -3\n  - user-2@example.com\n" in shown
    assert "BackupInvalid" in refused.stderr
    names = kube.kubectl("get", "gwr", "-o", "name").split()
    assert {one.rpartition("/")[2] for one in names} == set(sources)
    shown = cli.run("restore", "diff", "by-name", "-o", "json").stdout
    assert json.loads(shown)["status"]["diff"] == statuses["by-name"]["diff"]


def _section(status: dict[str, Any], name: str) -> dict[str, Any]:
    (section,) = (one for one in status["diff"]["sections"] if one["name"] == name)
    assert isinstance(section, dict)
    return section


def test_factory_reset_leaves_an_empty_config_and_a_safety_backup(kube: Kube, gw: RealGateway) -> None:
    """With a rotated key the operator keeps its access, because its key is in the admin API's key file."""
    key = admin_key_of(gw)
    kube.apply_restore("reset", factoryReset=RESET, healthCheck=QUICK_HEALTH_CHECK)
    status = kube.wait_phase("gwr", "reset", "Completed")
    assert (gw.count_users(), admin_key_of(gw)) == (0, key)
    assert status["source"] == {"factoryReset": True}
    safety = kube.require("gwb", status["safetyBackup"]["backupName"])["status"]
    assert safety["counts"]["users"] == 2
    kube.apply_restore("rotate", factoryReset={**RESET, "rotateAdminKey": True}, healthCheck=QUICK_HEALTH_CHECK)
    status = kube.wait_phase("gwr", "rotate", "Completed")
    assert admin_key_of(gw) != key
    # The way back: the safety backup of the first reset.
    kube.apply_restore("back", path=safety["path"], healthCheck=QUICK_HEALTH_CHECK)
    kube.wait_phase("gwr", "back", "Completed")
    assert (gw.count_users(), admin_key_of(gw)) == (2, key)


def test_rotation_that_would_lock_the_operator_out_is_refused(kube: Kube, tmp_path: Path) -> None:
    with real_gateway(kube, tmp_path, admin_admin_key_file=None) as gw:
        config = gw.config.read_bytes()
        kube.apply_restore("rotate", factoryReset={**RESET, "rotateAdminKey": True})
        status = kube.wait_phase("gwr", "rotate", "Failed")
        assert status["reason"] == "AdminKeyWouldBeLost"
        assert "GATEWAY_ADMIN_KEY_FILE" in status["message"]
        assert gw.config.read_bytes() == config
        assert not kube.kubectl("get", "gwb", "-o", "name")


def test_supersede_commits_a_restore_that_was_left(kube: Kube, backed_up: RealGateway) -> None:
    backed_up.gateway.set_pod_ready(gateway=False)
    quick = {"timeoutSeconds": 5, "consecutive": 2}
    kube.apply_restore("left", backupName="good", healthCheck=quick, restart="Never", onFailure="Leave")
    left = kube.wait_phase("gwr", "left", "Failed")
    backed_up.gateway.set_pod_ready()
    kube.apply_restore("over", factoryReset=RESET, healthCheck=QUICK_HEALTH_CHECK, supersede=True)
    kube.wait_phase("gwr", "over", "Completed")
    assert backed_up.count_users() == 0
    assert backed_up.get_restore(left["requestID"])["data"]["state"] == "committed"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A backup of another gateway with a newer version: the data file, with its manifest beside it."""
    folder = tmp_path / "other"
    config, backups = folder / "config" / "config.json", folder / "backups"
    config.parent.mkdir(parents=True)
    backups.mkdir()
    key = admin_key()
    config.write_text(json.dumps(gateway_config(key, users=9)))
    with AdminProcess(config, backups, gateway_version="2.3.0") as other, other.client(key) as api:
        assert_ok(api.post("/api/v1/system/backup", json={"path": "theirs.json.zst"}))
    return backups / "theirs.json.zst"


def test_backup_of_another_gateway_or_version_needs_consent(kube: Kube, tmp_path: Path, foreign: Path) -> None:
    with real_gateway(kube, tmp_path, admin_gateway_version="2.2.4") as gw:
        for file in (foreign, foreign.with_name(f"{foreign.name}.manifest")):
            shutil.copy(file, gw.backups / file.name)
        with gw.process.client(gw.key) as client:
            wait_for_recovery(client)
        before = tree_digest(gw.config.parent)
        kube.apply_restore("theirs", path=foreign.name, healthCheck=QUICK_HEALTH_CHECK)
        status = kube.wait_phase("gwr", "theirs", "Failed")
        assert (status["reason"], "allowOtherGateway" in status["message"]) == ("OtherGateway", True)
        assert tree_digest(gw.config.parent) == before
        # The same gateway with a newer version, as after a downgrade of the chart.
        (gw.config.parent / ".gateway" / "gateway_id").write_text(f"{_gateway_id(foreign)}\n")
        kube.apply_restore("newer", path=foreign.name, healthCheck=QUICK_HEALTH_CHECK)
        status = kube.wait_phase("gwr", "newer", "Failed")
        assert (status["reason"], "2.3.0" in status["message"]) == ("NewerVersion", True)
        kube.apply_restore("allowed", path=foreign.name, allowOtherGateway=True, healthCheck=QUICK_HEALTH_CHECK)
        kube.wait_phase("gwr", "allowed", "Completed")
        assert gw.count_users() == 9


def _gateway_id(file: Path) -> str:
    return str(json.loads(file.with_name(f"{file.name}.manifest").read_text())["gateway_id"])
