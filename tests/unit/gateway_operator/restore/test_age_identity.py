"""The age identity of a restore: who may name one, when it is read, and that it is nowhere but in the one call."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.actions import CallRestore
from gateway_operator.domain.model.identifiers import IdentityRef, Ref
from gateway_operator.domain.restore.request_id import restore_request_id
from gateway_operator.ports import AdminApiError, AdminTarget, Identity, Secret
from tests.unit.gateway_operator.simulation.fake_admin_api import RIGHT_IDENTITY
from tests.unit.gateway_operator.simulation.faults import World

IDENTITY = {"name": "restore-key", "key": "identity"}
LABELS = {"mcpgateway.dev/gateway": "gw"}


def world() -> tuple[World, Ref]:
    """A gateway that demands encryption, a backup of it, and its Secret with the identity."""
    made = World()
    made.admin.encrypted = made.cluster.tls = True
    made.cluster.secrets["restore-key"] = Secret(LABELS, {"identity": RIGHT_IDENTITY})
    return made, made.cluster.add("GatewayBackup", "good", {})


def restore(made: World, backup: Ref, **spec: Any) -> dict[str, Any]:
    """Back it up, change the config, restore it with what the spec says; the status at the end."""
    made.run(backup)
    assert made.cluster.status(backup)["path"].endswith(".json.zst.age")
    made.admin.live = "new"
    spec = {"backupName": "good", "safetyBackup": "Skip", "identitySecretRef": IDENTITY, **spec}
    ref = made.cluster.add("GatewayRestore", "back", {name: one for name, one in spec.items() if one is not None})
    made.run(ref)
    return made.cluster.status(ref)


def test_the_identity_opens_the_backup_and_is_told_nowhere() -> None:
    made, backup = world()
    status = restore(made, backup)
    assert (status["phase"], made.admin.live) == ("Completed", "old")
    assert made.admin.identities == [RIGHT_IDENTITY]
    assert RIGHT_IDENTITY not in json.dumps(made.cluster.status(backup)) + json.dumps(status)
    assert RIGHT_IDENTITY not in str(made.cluster.events)


@pytest.mark.parametrize(
    ("case", "reason", "said"),
    [
        ("none named", "IdentityRequired", "spec.identitySecretRef"),
        ("no Secret", "IdentityMissing", "does not exist"),
        ("no such key", "IdentityMissing", "no key other"),
        ("an empty key", "IdentityMissing", "no key identity"),
        ("no label", "IdentityNotAllowed", "not labelled mcpgateway.dev/gateway=gw"),
        ("another gateway's", "IdentityNotAllowed", "not labelled mcpgateway.dev/gateway=gw"),
        ("plain HTTP", "IdentityNeedsTLS", "never crosses plain HTTP"),
        ("no right", "NotAuthorized", "--resource-name restore-key"),
        ("the wrong one", "WrongIdentity", "stays closed"),
    ],
)
def test_each_thing_that_is_wrong_has_its_own_reason_and_changes_nothing(case: str, reason: str, said: str) -> None:
    made, backup = world()
    secrets, ref = made.cluster.secrets, dict(IDENTITY)
    match case:
        case "no Secret":
            del secrets["restore-key"]
        case "no such key":
            ref["key"] = "other"
        case "an empty key":
            secrets["restore-key"] = Secret(LABELS, {"identity": ""})
        case "no label":
            secrets["restore-key"] = replace(secrets["restore-key"], labels={})
        case "another gateway's":
            secrets["restore-key"] = replace(secrets["restore-key"], labels={"mcpgateway.dev/gateway": "gw2"})
        case "plain HTTP":
            made.cluster.tls = False
        case "no right":
            made.cluster.forbidden_secrets.add("restore-key")
        case "the wrong one":
            secrets["restore-key"] = Secret(LABELS, {"identity": "AGE-SECRET-KEY-1OTHER"})
    status = restore(made, backup, identitySecretRef=None if case == "none named" else ref, timeoutSeconds=60)
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    assert said in status["message"]
    assert (made.admin.live, made.admin.replaced_times) == ("new", 0)
    assert case == "the wrong one" or made.admin.identities == []
    assert "AGE-SECRET-KEY" not in json.dumps(status) + str(made.cluster.events)


def test_no_secret_is_read_for_a_backup_that_is_not_encrypted() -> None:
    made = World()
    backup = made.cluster.add("GatewayBackup", "good", {})
    made.run(backup)
    made.admin.live = "new"
    made.cluster.forbidden_secrets.add("restore-key")
    ref = made.cluster.add("GatewayRestore", "back", {"backupName": "good", "identitySecretRef": IDENTITY})
    made.run(ref)
    assert (made.cluster.status(ref)["phase"], made.admin.live) == ("Completed", "old")
    assert made.admin.identities == [None]


@pytest.mark.parametrize(("tls", "ca"), [(False, None), (True, None), (False, "ca")])
def test_the_adapter_sends_no_identity_where_nobody_is_proven(tls: bool, ca: str | None) -> None:
    endpoint = Endpoint("gw-1", "192.0.2.1", 8001, tls, None, True, "admin")
    call = CallRestore("r", "id", None, None, False, 5.0, IdentityRef("restore-key"))
    with pytest.raises(AdminApiError) as refused:
        asyncio.run(HttpAdminApi().restore(AdminTarget(endpoint, "k" * 40, ca), call, Identity("canary")))
    assert refused.value.code == "IdentityNeedsTLS"
    assert "canary" not in str(refused.value)


def test_no_safety_backup_is_made_for_a_restore_that_cannot_open_its_file() -> None:
    made, backup = world()
    made.cluster.tls = False
    restore(made, backup, safetyBackup="Auto")
    assert [name for kind, name in made.cluster.objects if kind == "GatewayBackup"] == ["good"]


@pytest.mark.parametrize("late", ["the Secret", "the right"])
def test_a_secret_or_a_right_that_comes_after_the_restore_is_waited_for(late: str) -> None:
    made, backup = world()
    made.run(backup)
    made.admin.live = "new"
    secret = made.cluster.secrets.pop("restore-key")
    if late == "the right":
        made.cluster.secrets["restore-key"] = secret
        made.cluster.forbidden_secrets.add("restore-key")
    ref = made.cluster.add("GatewayRestore", "back", {"backupName": "good", "identitySecretRef": IDENTITY})
    with pytest.raises(AssertionError, match="does not end"):
        made.run(ref, limit=4)
    seen = made.cluster.status(ref)
    assert seen["reason"] == ("IdentityMissing" if late == "the Secret" else "NotAuthorized")
    made.cluster.secrets["restore-key"] = secret
    made.cluster.forbidden_secrets.clear()
    made.run(ref)
    status = made.cluster.status(ref)
    assert (status["phase"], made.admin.live) == ("Completed", "old")
    authorized = {one["type"]: one["status"] for one in status["conditions"]}.get("Authorized")
    assert authorized == ("True" if late == "the right" else None)


def test_killed_before_or_after_any_call_it_is_restored_once() -> None:
    def begun() -> tuple[World, Ref]:
        made, backup = world()
        made.run(backup)
        made.admin.live = "new"
        made.faults.calls = 0
        return made, made.cluster.add("GatewayRestore", "back", {"backupName": "good", "identitySecretRef": IDENTITY})

    quiet, ref = begun()
    quiet.run(ref)
    assert quiet.faults.calls > 10
    for number in range(1, quiet.faults.calls + 1):
        for before, after in (({number}, set[int]()), (set[int](), {number})):
            made, ref = begun()
            made.faults.before, made.faults.after = before, after
            made.run(ref)
            assert made.cluster.status(ref)["phase"] == "Completed", number
            assert (made.admin.live, made.admin.replaced_times) == ("old", 1)


def test_an_identity_that_is_gone_when_the_answer_was_lost_undoes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The config was replaced, the answer was lost, and the Secret was deleted: the repeat is answered without it."""
    made, backup = world()
    do = made.admin.restore

    async def lost(*arguments: Any) -> Any:
        monkeypatch.setattr(made.admin, "restore", do)
        await do(*arguments)
        del made.cluster.secrets["restore-key"]
        raise AdminApiError("Unreachable", "cut", retryable=True, outcome_unknown=True)

    monkeypatch.setattr(made.admin, "restore", lost)
    status = restore(made, backup)
    assert status["phase"] == "Completed", status
    assert made.admin.identities == [RIGHT_IDENTITY, None]
    assert made.admin.replaced_times == 1


def test_the_reference_is_part_of_what_was_asked_and_the_identity_is_not() -> None:
    def asked(**spec: Any) -> str:
        return restore_request_id("v", "prod", "back", {"gatewayRef": {"name": "gw"}, "backupName": "good", **spec})

    # The default that the schema fills in is no other request.
    assert asked(identitySecretRef={"name": "a"}) == asked(identitySecretRef={"name": "a", "key": "identity"})
    assert len({asked(), asked(identitySecretRef={"name": "a"}), asked(identitySecretRef={"name": "b"})}) == 3
    assert asked(acceptUnsigned=False) == asked()


def test_what_holds_a_secret_does_not_print_it() -> None:
    held = [Identity("canary"), Secret({"a": "b"}, {"identity": "canary"})]
    assert "canary" not in f"{held} {held[0]} {held[1]}"
