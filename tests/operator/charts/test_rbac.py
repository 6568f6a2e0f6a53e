"""The operator with only the permissions of the charts: what works, and the message where one is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway_operator.domain.model.names import job_backup_name
from tests.api.support.requirements import require_programs
from tests.operator.conftest import IMAGE
from tests.operator.support.audit import AGENT, program_of
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.rbac import (
    apply_backup_account,
    apply_operator_rbac,
    grant_gateway_role,
    kubeconfig_for_account,
    service_account_name,
)
from tests.operator.support.real_gateway import AgeKey, encrypted_gateway, real_gateway
from tests.operator.support.volumes import bound_backup_claim
from tests.operator.support.workloads import QUICK_HEALTH_CHECK, Kube, condition_states, custom_resource, wait_for
from tests.unit.charts.permission_page import OPERATOR_ROLES, audited

pytestmark = pytest.mark.cluster
KINDS = "gwb,gwr,gwbs,gwbi"


@pytest.fixture
def no_other_objects(kube: Kube) -> None:
    """The operator acts in all namespaces: its requests for the objects of earlier tests would count."""
    wait_for("earlier tests left no object", lambda: not kube.cluster.kubectl("get", KINDS, "-A", "-o", "name").strip())


@pytest.fixture
def account(kube: Kube) -> Iterator[str]:
    """The operator's ServiceAccount with the ClusterRole of the chart."""
    objects = apply_operator_rbac(kube)
    yield service_account_name(objects)
    for one in objects:
        if one["kind"].startswith("Cluster") and "people" not in one["metadata"]["name"]:
            kube.kubectl("delete", one["kind"], one["metadata"]["name"], check=False)


@pytest.fixture
def limited(kube: Kube, account: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator with the permissions of that account only, and with leader election as in the chart."""
    kubeconfig = kubeconfig_for_account(kube, account, tmp_path, default_namespace=kube.namespace)
    with OperatorProcess(
        kube.cluster, tmp_path / "operator.log", kubeconfig=kubeconfig, flags=["--pass-seconds=1", "--leader-elect"],
        environment={"GATEWAY_OPERATOR_IMAGE": IMAGE},
    ) as process:  # fmt: skip
        yield process


def run_commands(kube: Kube, account: str, commands: str) -> None:
    """Run the commands of a message in a shell, twice: they must not fail where something exists already.

    The first time for an operator in another namespace, as if it had moved since.
    """
    for operator in (f"elsewhere:{account}", f"{kube.namespace}:{account}"):
        # Outside a pod the operator does not know its account: the message has a placeholder.
        script = commands.replace("NAMESPACE:SERVICEACCOUNT", operator)
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, env=kube.cluster.environment)


def test_backup_without_permission_names_the_command_that_grants_it(
    kube: Kube, account: str, limited: OperatorProcess, tmp_path: Path
) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.apply_backup("early")
        status = kube.wait_status("gwb", "early", lambda status: status.get("reason") == "NotAuthorized")
        assert condition_states(status)["Authorized"] == "False"
        # The chart was installed for an operator that has moved since.
        grant_gateway_role(kube, "moved")
        run_commands(kube, account, status["message"].partition("by hand: ")[2])
        status = kube.wait_phase("gwb", "early", "Completed")
        assert condition_states(status)["Authorized"] == "True"
        assert len(gw.backup_files()) == 1


def test_schedule_without_permission_names_the_command_that_grants_it(
    kube: Kube, account: str, limited: OperatorProcess
) -> None:
    kube.apply_schedule("nightly")
    ready = kube.wait_condition("gwbs", "nightly", "Ready", "NotAuthorized")
    assert 'cannot create resource "cronjobs"' in ready["message"]
    assert kube.wait_condition("gwbs", "nightly", "Authorized", "NotAuthorized")["status"] == "False"
    kube.wait_event("nightly", "Warning", "NotAuthorized")
    # Without schedules in the chart's values the chart grants nothing for CronJobs.
    grant_gateway_role(kube, account)
    run_commands(kube, account, ready["message"].partition("by hand: ")[2])
    ready = kube.wait_condition("gwbs", "nightly", "Ready", "ServiceAccountMissing", timeout=90)
    run_commands(kube, account, ready["message"].partition("by hand: ")[2])
    kube.wait_condition("gwbs", "nightly", "Ready", "Scheduled", timeout=90)
    assert kube.wait_condition("gwbs", "nightly", "Authorized", "Authorized")["status"] == "True"
    kube.patch_spec("cronjob", "nightly", {"suspend": True})
    wait_for("the operator restores the CronJob", lambda: not kube.require("cronjob", "nightly")["spec"]["suspend"])
    kube.kubectl("delete", "gwbs", "nightly")
    wait_for("the CronJob is deleted", lambda: kube.get("cronjob", "nightly") is None)


# tests/operator/restore/test_drills.py and the check of the whole run have these.
DRILLS = {
    *(("create", "pods"), ("delete", "pods")),
    *((verb, "networkpolicies.networking.k8s.io") for verb in ("get", "create", "delete")),
}


def own_a_drill(kube: Kube, schedule: str) -> None:
    """Create a drill as the pod of a Job does, and wait until the operator makes it owned by the Job."""
    kube.kubectl("create", "job", f"--from=cronjob/{schedule}-drill", "drilled")
    uid = kube.require("job", "drilled")["metadata"]["uid"]
    name = job_backup_name("drilled", uid)
    kube.apply_restore(name, mode="Drill", backupName="none", job={"name": "drilled", "uid": uid})
    wait_for("the drill is owned", lambda: kube.require("gwr", name)["metadata"].get("ownerReferences"))


def test_audit_log_shows_each_documented_permission_and_no_other_request(
    kube: Kube, no_other_objects: None, account: str, limited: OperatorProcess, tmp_path: Path
) -> None:
    grant_gateway_role(kube, account, "operator.rbac.cronJobs=true")
    with bound_backup_claim(kube, "Retain"), real_gateway(kube, tmp_path, reload="Restart") as gw:
        kube.complete_backup("good")
        gw.write_config(users=5)
        with gw.gateway.simulated_kubelet():
            kube.apply_restore("back", latest={}, healthCheck={"timeoutSeconds": 40, "consecutive": 2})
            status = kube.wait_phase("gwr", "back", "Completed")
        assert status["restarted"] is True
        assert gw.count_users() == 2
        kube.delete_with_file("good", "--timeout=60s")
        assert not [one for one in gw.backup_files() if "good" in one.name and "safety" not in one.name]
        kube.wait_event("back", "Normal", "Restored")
        for name in ("brief", "newest"):
            kube.complete_backup(name, ttl="1s")
        wait_for("a backup is deleted by its ttl", lambda: kube.get("gwb", "brief") is None)
    kube.apply(custom_resource("GatewayBackupImport", "all", {"gatewayRef": {"name": "gw"}, "dryRun": True}))
    kube.apply_backup("ordinal", gatewayRef={"kind": "StatefulSet", "name": "gw"})
    uid = "00000000-0000-0000-0000-000000000000"
    kube.apply_backup(job_backup_name("none", uid), job={"name": "none", "uid": uid})
    apply_backup_account(kube)
    kube.apply_schedule("nightly", drill={"schedule": "0 5 1 1 *"})
    wait_for("the CronJobs", lambda: kube.get("cronjob", "nightly-drill"))
    own_a_drill(kube, "nightly")
    kube.patch_spec("gwbs", "nightly", {"drill": None})
    wait_for("the CronJob of the drills is deleted", lambda: kube.get("cronjob", "nightly-drill") is None)
    kube.patch_spec("cronjob", "nightly", {"suspend": True})
    # No node runs the pod of a Job that is due, so the operator reads the Job's pods and events.
    kube.kubectl("create", "job", "--from=cronjob/nightly", "waiting")
    kube.patch_status("cronjob", "nightly", {"lastScheduleTime": "2026-01-01T03:00:00Z"})
    user = f"system:serviceaccount:{kube.namespace}:{account}"
    expected = audited(*OPERATOR_ROLES) - DRILLS

    def used() -> set[tuple[str, str]]:
        return {one.permission for one in kube.cluster.requests_by(user)}

    with suppress(AssertionError):
        wait_for("all permissions are used", lambda: used() >= expected)
    assert used() == expected
    requests = list(kube.cluster.requests_by(user))
    assert [one for one in requests if not one.allowed] == []
    # The check of the whole session selects the operator's requests by these names.
    assert {program_of(one.agent) for one in requests} == {AGENT}
    log = limited.log()
    assert "forbidden" not in log.lower(), log[-3000:]


@pytest.mark.parametrize("by", ["the command in the message", "the chart"])
def test_identity_secret_is_not_read_before_it_is_granted_by_name(
    kube: Kube, account: str, limited: OperatorProcess, tmp_path: Path, by: str
) -> None:
    require_programs("age")
    grant_gateway_role(kube, account)
    key = AgeKey.generate(tmp_path / "key.txt")
    with encrypted_gateway(kube, tmp_path, key) as gw:
        kube.apply_backup("good")
        kube.wait_phase("gwb", "good", "Completed")
        gw.write_config(users=5)
        kube.kubectl("create", "secret", "generic", "restore-key", f"--from-file=identity={key.file}")
        kube.kubectl("label", "secret", "restore-key", "mcpgateway.dev/gateway=gw")
        kube.apply_restore(
            "back", backupName="good", identitySecretRef={"name": "restore-key"}, healthCheck=QUICK_HEALTH_CHECK
        )
        status = kube.wait_status("gwr", "back", lambda status: status.get("reason") == "NotAuthorized")
        assert condition_states(status) == {"Authorized": "False", "Ready": "False", "Reconciling": "True"}
        assert gw.count_users() == 5
        commands = status["message"].partition("or: ")[2]
        if by == "the chart":
            grant_gateway_role(kube, account, "restore.ageIdentitySecrets={restore-key}")
        else:
            run_commands(kube, account, commands)
        status = kube.wait_phase("gwr", "back", "Completed", "Failed", timeout=90)
        assert status["phase"] == "Completed", status
        assert condition_states(status)["Authorized"] == "True"
        assert key.secret not in limited.log()
