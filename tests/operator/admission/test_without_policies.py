"""A namespace without the policies: Role-only mode, or policies switched off. The last column of docs/security.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator.conftest import IMAGE
from tests.operator.support.callers import OUR_KINDS, Caller, grant_user, rule
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.rbac import (
    apply_backup_account,
    create_role_only_account,
    grant_gateway_role,
    kubeconfig_for_account,
)
from tests.operator.support.real_gateway import RealGateway, real_gateway
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster
GW = {"gatewayRef": {"name": "gw"}}


@pytest.fixture
def role_only_gateway(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway, and the operator in Role-only mode with a retention pass every half second."""
    account = create_role_only_account(kube)
    grant_gateway_role(kube, account, "operator.rbac.cronJobs=true")
    apply_backup_account(kube)
    kubeconfig = kubeconfig_for_account(kube, account, tmp_path)
    process = OperatorProcess(
        kube.cluster, tmp_path / "operator.log", kube.namespace, kubeconfig=kubeconfig,
        environment={"GATEWAY_OPERATOR_IMAGE": IMAGE}, flags=["--pass-seconds=0.5"],
    )  # fmt: skip
    with real_gateway(kube, tmp_path) as gw, process:
        yield gw


def test_creators_remove_only_objects_of_their_own(kube: Kube, role_only_gateway: RealGateway) -> None:
    kube.complete_backup("victim", group="team")
    pod = Caller.account(kube, "gw-backup")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "00000000-0000-0000-0000-000000000001"}
    owned = {"metadata": {"name": "owned", "ownerReferences": [owner]}, "spec": {**GW, "group": "team"}}
    assert pod.create("gatewaybackups", owned).allowed
    # The garbage collector deletes the object, because its owner does not exist. No file is deleted with an object.
    wait_for("the attacker's own object is deleted", lambda: kube.get("gwb", "owned") is None)
    final = {"metadata": {"name": "final", "finalizers": ["mcpgateway.dev/finalizer"]}, "spec": {**GW, "group": "team"}}
    assert pod.create("gatewaybackups", final).allowed
    kube.wait_phase("gwb", "final", "Completed")
    kube.kubectl("delete", "gwb", "final", "--timeout=60s")
    files = {path.name.split("-")[1] for path in role_only_gateway.backup_files()}
    assert files >= {"victim", "final"}
    assert kube.status("gwb", "victim")["phase"] == "Completed"


def test_update_means_delete_and_schedules_mean_retention(kube: Kube, role_only_gateway: RealGateway) -> None:
    verbs = "get list watch create update patch"
    writer = grant_user(kube, "writer", rule("mcpgateway.dev", " ".join(OUR_KINDS), verbs))
    kube.complete_backup("brief", group="team")
    kube.complete_backup("newer", group="team")
    assert writer.send("DELETE", "gatewaybackups", "brief").status == 403
    assert writer.patch("gatewaybackups", "brief", {"spec": {"ttl": "1s"}}).allowed
    wait_for("the backup is deleted", lambda: kube.get("gwb", "brief") is None)
    assert not [path for path in role_only_gateway.backup_files() if "brief" in path.name]
    spec = {**GW, "schedule": "0 3 1 1 *", "retention": {"keepLast": 1}}
    assert writer.create("gatewaybackupschedules", {"metadata": {"name": "nightly"}, "spec": spec}).allowed
