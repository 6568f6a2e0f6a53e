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
def test_explain_is_the_documentation(kube: Kube, kind: str) -> None:
    text = kube.run("explain", f"{kind}.spec", "--recursive")
    crd = json.loads(kube.cluster.kubectl("get", "crd", f"{kind}.mcpgateway.dev", "-o", "json"))
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert all(name in text for name in fields["spec"]["properties"])
    for part in ("spec", "status"):
        assert undocumented(fields[part], part) == []


@pytest.mark.usefixtures("operator")
def test_a_backup_is_readable_at_a_glance(kube: Kube, gateway: Gateway, admin: ScriptedAdmin) -> None:
    kube.backup("readable", pinned=True, group="daily")
    kube.wait_phase("gwb", "readable", "Completed")
    head, line = kube.run("get", "gwb").splitlines()
    assert head.split() == ["NAME", "PHASE", "GATEWAY", "SIZE", "VERIFIED", "GROUP", "PINNED", "AGE"]
    assert line.split()[:-1] == ["readable", "Completed", "gw", "80", "Verified", "daily", "true"]
    wide = kube.run("get", "gwb", "-o", "wide")
    assert "BackedUp" in wide
    assert kube.status("gwb", "readable")["path"] in wide
