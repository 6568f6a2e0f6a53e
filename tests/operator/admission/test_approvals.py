"""A restore that two people must approve, from the plugin of the first one to the config, with the operator running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.operator.conftest import IMAGE
from tests.operator.support.admission import POLICIES, render_policies
from tests.operator.support.callers import Caller, grant_user, rule
from tests.operator.support.kubectl_gateway import KubectlGateway
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.rbac import kubeconfig_for_account
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster
RESTORES = f"{POLICIES}-restores"


@pytest.fixture(scope="module")
def gateway(team: Kube, operator_account: Caller, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealGateway]:
    """A gateway that requires approval, with a backup of two users and now seven; the operator; anna and ben."""
    folder = tmp_path_factory.mktemp("approvals")
    operator = kubeconfig_for_account(team, POLICIES, folder)
    environment = {"GATEWAY_OPERATOR_IMAGE": IMAGE, "GATEWAY_OPERATOR_ADMISSION_POLICIES": POLICIES}
    process = OperatorProcess(team.cluster, folder / "operator.log", kubeconfig=operator, environment=environment)
    for user in ("anna", "ben"):
        grant_user(team, user, rule("mcpgateway.dev", "gatewayrestores", "get list watch create patch apply"))
    with real_gateway(team, folder) as gw, process:
        team.complete_backup("good")
        gw.write_config(users=7)
        team.kubectl("annotate", "deployment", "gw", "mcpgateway.dev/restore-approval=Required")
        yield gw


@pytest.fixture(scope="module")
def cli(team: Kube) -> KubectlGateway:
    """The plugin of a cluster-admin, who impersonates anna and ben."""
    return KubectlGateway.as_admin(team)


def request(cli: KubectlGateway, name: str) -> None:
    cli.run("restore", "create", name, "--gateway=gw", "--backup=good", "--health-consecutive=1", "--as=anna")


def reason_of(kube: Kube, name: str, reason: str) -> dict[str, Any]:
    """Wait for this reason, and return the status."""
    return kube.wait_status("gwr", name, lambda status: status.get("reason") == reason)


def test_second_person_approves_with_the_plugin(team: Kube, gateway: RealGateway, cli: KubectlGateway) -> None:
    request(cli, "back")
    status = reason_of(team, "back", "ApprovalRequired")
    assert (status["phase"], status["source"]["backupName"]) == ("Pending", "good")
    assert "anna requests to restore GatewayBackup good" in status["message"]
    assert f"kubectl gateway restore approve -n {team.namespace} back" in status["message"]
    assert "ApprovalRequired" in cli.run("restore", "list", "--as=ben").stdout
    assert "another person" in cli.run("restore", "approve", "back", "--yes", "--as=anna", code=1).stderr
    assert "Pass --yes" in cli.run("restore", "approve", "back", "--as=ben", code=2).stderr
    assert gateway.count_users() == 7
    shown = cli.run("restore", "approve", "back", "--yes", "--as=ben").stderr
    for text in (f"namespace {team.namespace}", "Deployment gw", "good", status["source"]["sha256"], "anna"):
        assert text in shown, shown
    finished = team.wait_phase("gwr", "back", "Completed", "Failed", "RolledBack")
    assert (finished["phase"], finished["approval"]["by"]) == ("Completed", "ben"), finished
    assert gateway.count_users() == 2
    assert "Approved" in team.event_reasons("back")
    assert "waits for no approval" in cli.run("restore", "approve", "back", "--yes", "--as=ben", code=1).stderr


def test_restores_without_a_person_who_requests_fail(team: Kube, gateway: RealGateway) -> None:
    team.apply_restore("anonymous", backupName="good")
    assert reason_of(team, "anonymous", "RequesterInvalid")["phase"] == "Failed"
    assert "safetyBackup" not in team.status("gwr", "anonymous")


@contextmanager
def policies_put_back(kube: Kube) -> Iterator[None]:
    """Apply the policies of the chart again afterwards."""
    repository, _, tag = IMAGE.rpartition(":")
    items = render_policies(kube.cluster, f"image.repository={repository}", f"image.tag={tag}")
    try:
        yield
    finally:
        kube.cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


AUDIT = '{"spec": {"validationActions": ["Audit"]}}'
IGNORE = '{"spec": {"failurePolicy": "Ignore"}}'
POLICY, BINDING = "validatingadmissionpolicy", "validatingadmissionpolicybinding"


@pytest.mark.parametrize(
    "command",
    [
        ("patch", BINDING, RESTORES, "--type=merge", "-p", AUDIT),
        ("patch", POLICY, RESTORES, "--type=merge", "-p", IGNORE),
        ("delete", BINDING, RESTORES),
        ("delete", POLICY, RESTORES),
    ],
    ids=["audit", "ignore", "no binding", "no policy"],
)
def test_restore_fails_when_the_policy_is_not_in_force(
    team: Kube, gateway: RealGateway, cli: KubectlGateway, command: tuple[str, ...]
) -> None:
    name = f"lost-{command[0]}-{command[1][-7:]}"
    users = gateway.count_users()
    wait_for("the policies are older than the restore", lambda: _requested(team, cli, name))
    with policies_put_back(team):
        team.cluster.kubectl(*command)
        # The change of the restore starts a run at once. Under a weak policy anyone could have written this.
        team.kubectl("annotate", "gwr", name, "mcpgateway.dev/approved-by=admin", check=False)
        team.kubectl("annotate", "gwr", name, "a.example/b=c")
        status = reason_of(team, name, "ApprovalUnavailable")
    assert status["phase"] == "Failed"
    assert "by" not in status["approval"]
    assert gateway.count_users() == users


def _requested(kube: Kube, cli: KubectlGateway, name: str) -> bool:
    """Request a restore that waits. One that is as old as the policies is deleted, because it fails."""
    request(cli, name)
    status = kube.wait_status(
        "gwr", name, lambda status: status.get("reason") in ("ApprovalRequired", "ApprovalUnavailable")
    )
    if status["reason"] == "ApprovalRequired":
        return True
    kube.kubectl("delete", "gwr", name)
    return False
