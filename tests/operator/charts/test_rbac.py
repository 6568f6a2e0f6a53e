"""With the rights of the charts and no others: what they suffice for, and what is said where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.conftest import needs
from tests.cluster import Cluster
from tests.operator.conftest import IMAGE
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import AgeKey, encrypted_gateway, real_gateway
from tests.operator.support.workloads import Kube, until

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[3]
RIGHTS = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}


def rendered(cluster: Cluster, chart: str, release: str, namespace: str, *values: str) -> list[dict[str, Any]]:
    """A chart's objects about rights, without its hooks."""
    settings = [word for value in values for word in ("--set", value)]
    where = str(ROOT / "helm" / chart)
    text = cluster.helm(
        "template", release, where, "-n", namespace, "--kube-version", "1.34.0", "--no-hooks", *settings
    )
    return [one for one in yaml.safe_load_all(text) if one and one["kind"] in RIGHTS]


@pytest.fixture
def account(kube: Kube) -> Iterator[str]:
    """The operator's ServiceAccount with its ClusterRole, as the chart makes them."""
    objects = rendered(kube.cluster, "operator", "limited", kube.namespace, "crds.install=false")
    for one in objects:
        kube.apply(one)
    yield next(one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount")
    for one in objects:
        if one["kind"].startswith("Cluster") and "people" not in one["metadata"]["name"]:
            kube.run("delete", one["kind"], one["metadata"]["name"], check=False)


def role_only(kube: Kube) -> str:
    """The operator's ServiceAccount with the Role of Role-only mode in this namespace, as the chart makes them."""
    values = ("crds.install=false", f"watchNamespaces={{{kube.namespace}}}")
    objects = rendered(kube.cluster, "operator", "limited", kube.namespace, *values)
    assert not [one for one in objects if one["kind"].startswith("Cluster")]
    for one in objects:
        kube.apply(one)
    return next(str(one["metadata"]["name"]) for one in objects if one["kind"] == "ServiceAccount")


def kubeconfig_of(kube: Kube, account: str, tmp_path: Path) -> Path:
    """A kubeconfig with that account's token."""
    token = kube.cluster.token_for(account, kube.namespace)
    config = yaml.safe_load(kube.cluster.kubeconfig.read_text())
    config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
    kubeconfig = tmp_path / "limited-kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    return kubeconfig


@pytest.fixture
def limited(kube: Kube, account: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator under that account's token."""
    kubeconfig = kubeconfig_of(kube, account, tmp_path)
    environment = {"GATEWAY_OPERATOR_IMAGE": IMAGE}
    log = tmp_path / "operator.log"
    with OperatorProcess(kube.cluster, log, kubeconfig=kubeconfig, environment=environment) as process:
        yield process


def grant(kube: Kube, account: str, *more: str) -> None:
    """The Role and RoleBinding that the gateway's chart makes for a gateway of that name."""
    for one in rendered(
        kube.cluster, "gateway", "gw", kube.namespace,
        "fullnameOverride=gw", "tls.enabled=false", "adminKey.existingSecret=gw-admin",
        f"operator.serviceAccount.name={account}", f"operator.serviceAccount.namespace={kube.namespace}", *more,
    ):  # fmt: skip
        if one["kind"] in ("Role", "RoleBinding"):
            kube.apply(one)


def test_without_the_gateways_role_it_says_which_command_grants_it(
    kube: Kube, account: str, limited: OperatorProcess, tmp_path: Path
) -> None:
    with real_gateway(kube, tmp_path) as gw:
        kube.backup("early")
        status = kube.wait_status("gwb", "early", lambda status: status.get("reason") == "NotAuthorized")
        assert "kubectl create rolebinding gw-backup-operator --namespace" in status["message"]
        conditions = {one["type"]: one["status"] for one in status["conditions"]}
        assert conditions == {"Authorized": "False"}
        grant(kube, account)
        status = kube.wait_phase("gwb", "early", "Completed", timeout=40)
        conditions = {one["type"]: one["status"] for one in status["conditions"]}
        assert conditions["Authorized"] == "True"
        assert len(gw.files()) == 1


def test_a_schedule_without_the_gateways_role_says_which_command_grants_it(
    kube: Kube, account: str, limited: OperatorProcess
) -> None:
    kube.schedule("nightly")
    said = kube.wait_condition("gwbs", "nightly", "Ready", "NotAuthorized")
    assert 'cannot create resource "cronjobs"' in said["message"]
    assert f"kubectl -n {kube.namespace} create role gw-backup-schedules --verb=" in said["message"]
    assert kube.wait_condition("gwbs", "nightly", "Authorized", "NotAuthorized")["status"] == "False"
    assert ("Warning", "NotAuthorized") in kube.events("nightly")
    grant(kube, account)
    kube.run("create", "serviceaccount", "gw-backup")
    kube.wait_condition("gwbs", "nightly", "Ready", "Scheduled", timeout=90)
    assert kube.wait_condition("gwbs", "nightly", "Authorized", "Authorized")["status"] == "True"
    kube.run("patch", "cronjob", "nightly", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    until("it is put right", lambda: not (kube.get("cronjob", "nightly") or {})["spec"]["suspend"])
    kube.run("delete", "gwbs", "nightly")
    until("the CronJob goes", lambda: kube.get("cronjob", "nightly") is None)


def test_with_the_charts_rights_everything_works(
    kube: Kube, account: str, limited: OperatorProcess, tmp_path: Path
) -> None:
    grant(kube, account)
    with real_gateway(kube, tmp_path, reload="Restart") as gw:
        kube.backup("good")
        kube.wait_phase("gwb", "good", "Completed")
        gw.write(users=5)
        with gw.gateway.kubelet():
            kube.restore("back", latest={}, healthCheck={"timeoutSeconds": 40, "consecutive": 2})
            status = kube.wait_phase("gwr", "back", "Completed", timeout=60)
        assert status["restarted"] is True
        assert gw.users() == 2
        kube.delete_with_file("good", "--timeout=30s")
        assert not [one for one in gw.files() if "good" in one.name and "safety" not in one.name]
        assert kube.events("back")
        log = limited.log()
        assert "forbidden" not in log.lower(), log[-3000:]


@pytest.mark.parametrize("by", ["the line in the message", "the chart"])
def test_an_identity_is_read_only_once_it_is_granted_by_name(
    kube: Kube, account: str, limited: OperatorProcess, tmp_path: Path, by: str
) -> None:
    needs("age")
    grant(kube, account)
    key = AgeKey.make(tmp_path / "key.txt")
    with encrypted_gateway(kube, tmp_path, key) as gw:
        kube.backup("good")
        kube.wait_phase("gwb", "good", "Completed", timeout=60)
        gw.write(users=5)
        kube.run("create", "secret", "generic", "restore-key", f"--from-file=identity={key.file}")
        kube.run("label", "secret", "restore-key", "mcpgateway.dev/gateway=gw")
        quick = {"timeoutSeconds": 8, "consecutive": 2}
        kube.restore("back", backupName="good", identitySecretRef={"name": "restore-key"}, healthCheck=quick)
        status = kube.wait_status("gwr", "back", lambda status: status.get("reason") == "NotAuthorized")
        assert {one["type"]: one["status"] for one in status["conditions"]} == {"Authorized": "False"}
        assert gw.users() == 5
        line = status["message"].partition("or: ")[2]
        if by == "the chart":
            grant(kube, account, "restore.ageIdentitySecrets={restore-key}")
        else:
            # Outside the pod the operator does not know its own account.
            for command in line.replace("NAMESPACE:SERVICEACCOUNT", f"{kube.namespace}:{account}").split(" && "):
                kube.run(*command.split()[1:])
        status = kube.wait_phase("gwr", "back", "Completed", "Failed", timeout=90)
        assert status["phase"] == "Completed", status
        assert {one["type"]: one["status"] for one in status["conditions"]}["Authorized"] == "True"
        assert key.secret not in limited.log()
