"""What kubectl shows by itself: one line a backup, and a sentence for every field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operator.support.scripted_admin_api import ScriptedAdmin
from tests.operator.support.workloads import Gateway, Kube

pytestmark = pytest.mark.cluster


OBVIOUS = ("conditions", "lastErrors", "problems", "counts")
"""The parts of a condition, of an error and of a count are words of their own."""


def undocumented(schema: dict[str, Any], at: str) -> list[str]:
    """Fields without a sentence."""
    found: list[str] = []
    for name, field in schema.get("properties", {}).items():
        here = f"{at}.{name}"
        if not field.get("description") and not any(part in at for part in OBVIOUS):
            found.append(here)
        found += undocumented(field.get("items", field), here)
    return found


@pytest.mark.parametrize("kind", ["gatewaybackups", "gatewaybackupimports"])
def test_every_field_has_a_description(kube: Kube, kind: str) -> None:
    text = kube.kubectl("explain", f"{kind}.spec", "--recursive")
    crd = json.loads(kube.cluster.kubectl("get", "crd", f"{kind}.mcpgateway.dev", "-o", "json"))
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert all(name in text for name in fields["spec"]["properties"])
    for part in ("spec", "status"):
        assert undocumented(fields[part], part) == []


@pytest.mark.usefixtures("operator")
def test_printer_columns_show_the_state_of_a_backup(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    kube.complete_backup("readable", pinned=True, group="daily")
    head, line = kube.kubectl("get", "gwb").splitlines()
    assert head.split() == ["NAME", "PHASE", "GATEWAY", "SIZE", "VERIFIED", "GROUP", "PINNED", "AGE"]
    assert line.split()[:-1] == ["readable", "Completed", "gw", "80", "Verified", "daily", "true"]
    wide = kube.kubectl("get", "gwb", "-o", "wide")
    assert "BackedUp" in wide
    assert kube.status("gwb", "readable")["path"] in wide
