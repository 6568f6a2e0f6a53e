"""The output of kubectl for the CRDs: the printer columns of `get`, and the fields in `explain`."""

from __future__ import annotations

import json

import pytest

from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("kind", ["gatewaybackups", "gatewaybackupimports"])
def test_explain_shows_the_fields_of_the_spec(kube: Kube, kind: str) -> None:
    text = kube.kubectl("explain", f"{kind}.spec", "--recursive")
    crd = json.loads(kube.cluster.kubectl("get", "crd", f"{kind}.mcpgateway.dev", "-o", "json"))
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert all(name in text for name in fields["spec"]["properties"])


@pytest.mark.usefixtures("operator")
def test_printer_columns_show_the_state_of_a_backup(
    kube: Kube, gateway: GatewayDeployment, admin: ScriptedAdminApi
) -> None:
    kube.complete_backup("readable", pinned=True, group="daily")
    header, line = kube.kubectl("get", "gwb").splitlines()
    assert header.split() == ["NAME", "PHASE", "REASON", "GATEWAY", "SIZE", "VERIFIED", "GROUP", "AGE"]
    assert line.split()[:-1] == ["readable", "Completed", "BackedUp", "gw", "80", "Verified", "daily"]
    wide = kube.kubectl("get", "gwb", "-o", "wide")
    assert kube.status("gwb", "readable")["path"] in wide
