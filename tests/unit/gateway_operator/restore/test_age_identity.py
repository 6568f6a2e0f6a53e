"""Tests of the age identity of a restore: permissions, when it is read, and that only the call contains it."""

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


def encrypted_world() -> tuple[World, Ref]:
    """A gateway that requires encryption, a backup of it, and its Secret with the age identity."""
    world = World()
    world.admin.encrypted = world.cluster.tls = True
    world.cluster.secrets["restore-key"] = Secret(LABELS, {"identity": RIGHT_IDENTITY})
    return world, world.cluster.add("GatewayBackup", "good", {})


def restore(world: World, backup: Ref, **spec: Any) -> dict[str, Any]:
    """The status after a backup, a change of the config and a restore with this spec."""
    world.run(backup)
    assert world.cluster.status(backup)["path"].endswith(".json.zst.age")
    world.admin.live = "new"
    spec = {"backupName": "good", "safetyBackup": "Skip", "identitySecretRef": IDENTITY, **spec}
    ref = world.cluster.add("GatewayRestore", "back", {name: one for name, one in spec.items() if one is not None})
    world.run(ref)
    return world.cluster.status(ref)


def test_identity_decrypts_the_backup_and_is_never_written() -> None:
    world, backup = encrypted_world()
    status = restore(world, backup)
    assert (status["phase"], world.admin.live) == ("Completed", "old")
    assert world.admin.identities == [RIGHT_IDENTITY]
    assert RIGHT_IDENTITY not in json.dumps(world.cluster.status(backup)) + json.dumps(status)
    assert RIGHT_IDENTITY not in str(world.cluster.events)


@pytest.mark.parametrize(
    ("case", "reason", "message"),
    [
        ("none named", "IdentityRequired", "spec.identitySecretRef"),
        ("no Secret", "IdentityMissing", "does not exist"),
        ("no such key", "IdentityMissing", "no key other"),
        ("an empty key", "IdentityMissing", "no key identity"),
        ("no label", "IdentityNotAllowed", "not have the label mcpgateway.dev/gateway=gw"),
        ("another gateway's", "IdentityNotAllowed", "not have the label mcpgateway.dev/gateway=gw"),
        ("plain HTTP", "IdentityNeedsTLS", "never sent over plain HTTP"),
        ("no right", "NotAuthorized", "--resource-name=restore-key"),
        ("the wrong one", "WrongIdentity", "stays closed"),
    ],
)
def test_each_identity_problem_has_a_reason_and_changes_nothing(case: str, reason: str, message: str) -> None:
    world, backup = encrypted_world()
    secrets, ref = world.cluster.secrets, dict(IDENTITY)
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
            world.cluster.tls = False
        case "no right":
            world.cluster.forbidden_secrets.add("restore-key")
        case "the wrong one":
            secrets["restore-key"] = Secret(LABELS, {"identity": "AGE-SECRET-KEY-1OTHER"})
    status = restore(world, backup, identitySecretRef=None if case == "none named" else ref, timeoutSeconds=60)
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    assert message in status["message"]
    assert (world.admin.live, world.admin.replaced_times) == ("new", 0)
    assert case == "the wrong one" or world.admin.identities == []
    assert "AGE-SECRET-KEY" not in json.dumps(status) + str(world.cluster.events)


def test_no_secret_is_read_for_an_unencrypted_backup() -> None:
    world = World()
    backup = world.cluster.add("GatewayBackup", "good", {})
    world.run(backup)
    world.admin.live = "new"
    world.cluster.forbidden_secrets.add("restore-key")
    ref = world.cluster.add("GatewayRestore", "back", {"backupName": "good", "identitySecretRef": IDENTITY})
    world.run(ref)
    assert (world.cluster.status(ref)["phase"], world.admin.live) == ("Completed", "old")
    assert world.admin.identities == [None]


@pytest.mark.parametrize(("tls", "ca"), [(False, None), (True, None), (False, "ca")])
def test_adapter_sends_no_identity_without_verified_tls(tls: bool, ca: str | None) -> None:
    endpoint = Endpoint("gw-1", "192.0.2.1", 8001, tls, None, True, "admin")
    call = CallRestore("r", "id", None, None, False, 5.0, IdentityRef("restore-key"))
    with pytest.raises(AdminApiError) as refused:
        asyncio.run(HttpAdminApi().restore(AdminTarget(endpoint, ("k" * 40,), ca), call, Identity("canary")))
    assert refused.value.code == "IdentityNeedsTLS"
    assert "canary" not in str(refused.value)


def test_no_safety_backup_if_the_source_cannot_be_decrypted() -> None:
    world, backup = encrypted_world()
    world.cluster.tls = False
    restore(world, backup, safetyBackup="Auto")
    assert [name for kind, name in world.cluster.objects if kind == "GatewayBackup"] == ["good"]


@pytest.mark.parametrize("late", ["the Secret", "the right"])
def test_restore_waits_for_a_late_secret_or_permission(late: str) -> None:
    world, backup = encrypted_world()
    world.run(backup)
    world.admin.live = "new"
    secret = world.cluster.secrets.pop("restore-key")
    if late == "the right":
        world.cluster.secrets["restore-key"] = secret
        world.cluster.forbidden_secrets.add("restore-key")
    ref = world.cluster.add("GatewayRestore", "back", {"backupName": "good", "identitySecretRef": IDENTITY})
    with pytest.raises(AssertionError, match="is not finished after"):
        world.run(ref, limit=4)
    waiting = world.cluster.status(ref)
    assert waiting["reason"] == ("IdentityMissing" if late == "the Secret" else "NotAuthorized")
    world.cluster.secrets["restore-key"] = secret
    world.cluster.forbidden_secrets.clear()
    world.run(ref)
    status = world.cluster.status(ref)
    assert (status["phase"], world.admin.live) == ("Completed", "old")
    authorized = {one["type"]: one["status"] for one in status["conditions"]}.get("Authorized")
    assert authorized == ("True" if late == "the right" else None)


def test_restored_once_after_a_crash_at_any_call() -> None:
    def begun() -> tuple[World, Ref]:
        world, backup = encrypted_world()
        world.run(backup)
        world.admin.live = "new"
        world.faults.calls = 0
        return world, world.cluster.add("GatewayRestore", "back", {"backupName": "good", "identitySecretRef": IDENTITY})

    quiet, ref = begun()
    quiet.run(ref)
    assert quiet.faults.calls > 10
    for number in range(1, quiet.faults.calls + 1):
        for before, after in (({number}, set[int]()), (set[int](), {number})):
            world, ref = begun()
            world.faults.before, world.faults.after = before, after
            world.run(ref)
            assert world.cluster.status(ref)["phase"] == "Completed", number
            assert (world.admin.live, world.admin.replaced_times) == ("old", 1)


def test_lost_answer_and_deleted_identity_still_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was lost after the config was replaced: the repeated call needs no identity."""
    world, backup = encrypted_world()
    do = world.admin.restore

    async def lost(*arguments: Any) -> Any:
        monkeypatch.setattr(world.admin, "restore", do)
        await do(*arguments)
        del world.cluster.secrets["restore-key"]
        raise AdminApiError("Unreachable", "cut", retryable=True, outcome_unknown=True)

    monkeypatch.setattr(world.admin, "restore", lost)
    status = restore(world, backup)
    assert status["phase"] == "Completed", status
    assert world.admin.identities == [RIGHT_IDENTITY, None]
    assert world.admin.replaced_times == 1


def test_request_id_contains_the_secret_reference_only() -> None:
    def request_id(**spec: Any) -> str:
        return restore_request_id("v", "prod", "back", {"gatewayRef": {"name": "gw"}, "backupName": "good", **spec})

    # A default from the schema does not change the request id.
    assert request_id(identitySecretRef={"name": "a"}) == request_id(identitySecretRef={"name": "a", "key": "identity"})
    assert (
        len({request_id(), request_id(identitySecretRef={"name": "a"}), request_id(identitySecretRef={"name": "b"})})
        == 3
    )
    assert request_id(acceptUnsigned=False) == request_id()


def test_repr_of_secret_values_has_no_secret() -> None:
    held = [Identity("canary"), Secret({"a": "b"}, {"identity": "canary"})]
    assert "canary" not in f"{held} {held[0]} {held[1]}"
