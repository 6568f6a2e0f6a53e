"""The output of kubectl for the CRDs: the printer columns of `get`, and a description of every field in `explain`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operator.support.scripted_admin_api import ScriptedAdminApi
from tests.operator.support.workloads import GatewayDeployment, Kube

pytestmark = pytest.mark.cluster


OBVIOUS = ("conditions", "lastErrors", "problems", "counts")
"""Fields whose parts need no description."""


def undocumented(schema: dict[str, Any], path: str) -> list[str]:
    """Paths of the fields that have no description."""
    missing: list[str] = []
    for name, field in schema.get("properties", {}).items():
        field_path = f"{path}.{name}"
        if not field.get("description") and not any(part in path for part in OBVIOUS):
            missing.append(field_path)
        missing += undocumented(field.get("items", field), field_path)
    return missing


@pytest.mark.parametrize("kind", ["gatewaybackups", "gatewaybackupimports"])
def test_every_field_has_a_description(kube: Kube, kind: str) -> None:
    text = kube.kubectl("explain", f"{kind}.spec", "--recursive")
    crd = json.loads(kube.cluster.kubectl("get", "crd", f"{kind}.mcpgateway.dev", "-o", "json"))
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert all(name in text for name in fields["spec"]["properties"])
    for part in ("spec", "status"):
        assert undocumented(fields[part], part) == []


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
