"""Approvals of restores: who is asked, which approvals count, and that nothing changes without one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway_operator.domain.gateway.admission import RESTORES_POLICY, InstalledPolicy
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import APPROVAL_TIMEOUT, APPROVED_BY, RESTORE_APPROVAL
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.approval import wait as approval
from gateway_operator.domain.restore.status import RestoreObservation
from tests.unit.gateway_operator.policies import INSTALLED_AT, installed_policy
from tests.unit.gateway_operator.simulation.fake_cluster import START
from tests.unit.gateway_operator.simulation.faults import Faults, World
from tests.unit.gateway_operator.simulation.test_crash_points import (
    check_restore,
    undisturbed,
    with_restore,
)

ASKER, APPROVER = "anna", "ben"
assert INSTALLED_AT < START


def with_approval(
    faults: Faults | None = None,
    *,
    by: str = APPROVER,
    at: str = "ApprovalRequired",
    required: str = "Required",
    workload: dict[str, str] | None = None,
    policy: InstalledPolicy | None = None,
    **spec: Any,
) -> tuple[World, Ref]:
    """A restore of a gateway that requires approval, and a person who approves it when it has the reason ``at``."""
    world, ref = with_restore(faults, **{"requestedBy": ASKER, **spec})
    world.cluster.workload_annotations = {RESTORE_APPROVAL: required, **(workload or {})}
    world.cluster.policy = policy or installed_policy(RESTORES_POLICY)

    def approve() -> None:
        body = world.cluster.objects.get((ref.kind, ref.name))
        if body and by and world.cluster.status(ref).get("reason") == at and APPROVED_BY not in _annotations(body):
            world.cluster.annotate(ref, APPROVED_BY, by)

    world.after_each_run.append(approve)
    return world, ref


def _annotations(body: dict[str, Any]) -> dict[str, str]:
    return body["metadata"].get("annotations") or {}


def refused(world: World, ref: Ref, reason: str) -> str:
    """Run the restore, check that it fails for this reason and that nothing was changed. Returns the message."""
    world.run(ref, limit=6000)
    status = world.cluster.status(ref)
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    assert check_restore(world, ref) == "Failed"
    assert not [one for kind, one in world.cluster.objects if kind == "GatewayBackup" and "-safety-" in one]
    return str(status["message"])


def test_an_approved_restore_runs_and_names_the_approver() -> None:
    world, ref = with_approval()
    world.run(ref)
    assert check_restore(world, ref) == "Completed"
    status = world.cluster.status(ref)
    assert status["approval"]["by"] == APPROVER
    assert [one["name"] for one in status["steps"]][:4] == ["Validating", "Approval", "Validating", "SafetyBackup"]
    reasons = [str(one.reason) for one in world.cluster.events]
    assert reasons[1:3] == ["ApprovalRequired", "Approved"]


def test_the_approver_sees_the_source_and_the_command() -> None:
    world, ref = with_approval(by="")
    statuses: list[dict[str, Any]] = []
    world.after_each_run.append(lambda: statuses.append(world.cluster.status(ref)))
    refused(world, ref, "ApprovalExpired")
    assert statuses[0]["phase"] == "Pending"
    assert statuses[0]["source"]["backupName"] == "good"
    assert "kubectl gateway restore approve -n prod r" in statuses[0]["message"]
    assert "GatewayBackup good" in statuses[0]["message"]
    assert world.clock.now() - START >= timedelta(hours=24)
    # While it waits, the status is written once.
    messages = {one["message"] for one in statuses if one["phase"] == "Pending"}
    assert messages == {statuses[0]["message"]}


@pytest.mark.parametrize("how", [{}, {"by": ""}])
def test_approval_has_one_outcome_after_any_crash_or_lost_answer(how: dict[str, Any]) -> None:
    expected = "Failed" if how else "Completed"
    workload = {APPROVAL_TIMEOUT: "90s"}
    quiet = undisturbed(with_approval, workload=workload, **how)
    for name, faults in itertools.chain([("nothing", Faults())], quiet.single_faults()):
        world, ref = with_approval(faults, workload=workload, **how)
        world.run(ref)
        status = world.cluster.status(ref)
        assert check_restore(world, ref) == expected, (name, status)
        assert [one.reason for one in world.cluster.events].count("Approved") <= 1
        assert ("by" in status["approval"]) == (expected == "Completed")


@pytest.mark.parametrize(("mode", "needed"), [("Apply", True), ("DryRun", False), ("Drill", False)])
def test_only_restores_that_change_a_config_need_an_approval(mode: str, needed: bool) -> None:
    world, ref = with_approval(mode=mode)
    restore = Restore.parse(world.cluster.objects[(ref.kind, ref.name)])
    assert approval.is_needed(RestoreObservation(restore, approval_required=True)) == needed
    assert not approval.is_needed(RestoreObservation(restore))


@pytest.mark.parametrize("mode", ["required", "true", "Yes"])
def test_a_misspelt_requirement_is_a_requirement(mode: str) -> None:
    refused(*with_approval(required=mode, by=""), "ApprovalExpired")


def test_gateways_without_the_requirement_ask_nobody() -> None:
    world, ref = with_approval(required="None", by="", policy=InstalledPolicy("op-restores"))
    world.run(ref)
    assert check_restore(world, ref) == "Completed"
    assert "approval" not in world.cluster.status(ref)


@pytest.mark.parametrize("asker", ["", "system:serviceaccount:prod:robot"])
def test_the_requester_must_be_a_person(asker: str) -> None:
    message = refused(*with_approval(requestedBy=asker), "RequesterInvalid")
    assert "person" in message or "requestedBy is missing" in message


@pytest.mark.parametrize("approver", [ASKER, "system:serviceaccount:prod:robot"])
def test_an_approval_that_the_policy_refuses_does_not_count(approver: str) -> None:
    assert approver in refused(*with_approval(by=approver), "ApprovalUnavailable")


def test_a_path_needs_a_digest_to_be_approved() -> None:
    world, ref = with_approval()
    (stored, _), *_ = world.admin.backups.values()
    world.cluster.objects[(ref.kind, ref.name)]["spec"] |= {"backupName": None, "path": stored.path}
    message = refused(world, ref, "SpecInvalid")
    assert "expectedSha256" in message


@pytest.mark.parametrize(("text", "hours"), [("1h", 1), ("2d", 48)])
def test_the_workload_decides_how_long_the_approval_may_take(text: str, hours: int) -> None:
    world, ref = with_approval(by="", workload={APPROVAL_TIMEOUT: text})
    refused(world, ref, "ApprovalExpired")
    assert timedelta(hours=hours) <= world.clock.now() - START < timedelta(hours=hours, minutes=2)


@pytest.mark.parametrize("text", ["soon", "0s", "-1h"])
def test_an_approval_timeout_that_is_no_duration_ends_the_restore(text: str) -> None:
    assert text in refused(*with_approval(workload={APPROVAL_TIMEOUT: text}), "ApprovalUnavailable")


POLICIES: dict[str, Callable[[InstalledPolicy], InstalledPolicy]] = {
    "not installed": lambda _: InstalledPolicy(),
    "deleted": lambda one: replace(one, policy=None),
    "without binding": lambda one: replace(one, binding=None),
    "not readable": lambda one: InstalledPolicy(one.name, error="forbidden"),
}


@pytest.mark.parametrize("case", POLICIES)
def test_without_the_policy_no_restore_is_approved(case: str) -> None:
    broken = POLICIES[case](installed_policy(RESTORES_POLICY))
    refused(*with_approval(policy=broken), "ApprovalUnavailable")
    # The policy is lost while the restore waits, and the annotation is set meanwhile.
    world, ref = with_approval()
    world.after_each_run.insert(0, lambda: setattr(world.cluster, "policy", broken))
    refused(world, ref, "ApprovalUnavailable")


def test_a_policy_that_cannot_be_read_for_a_while_is_read_again() -> None:
    world, ref = with_approval(policy=InstalledPolicy("op-restores", error="HTTP 503", retryable=True))
    runs = itertools.count()

    def recover() -> None:
        if next(runs) == 3:
            world.cluster.policy = installed_policy(RESTORES_POLICY)

    world.after_each_run.append(recover)
    world.run(ref)
    assert check_restore(world, ref) == "Completed"


def test_an_approval_is_judged_once() -> None:
    world, ref = with_approval(Faults(), at="ApprovalRequired", restart="Never")

    def withdraw() -> None:
        if world.cluster.status(ref).get("approval", {}).get("by"):
            world.cluster.policy = InstalledPolicy()
            world.cluster.annotate(ref, APPROVED_BY, "")

    world.clock.on_sleep.append(_asynchronous(withdraw))
    world.run(ref)
    assert check_restore(world, ref) == "Completed"


def test_removing_the_requirement_does_not_free_a_restore_that_waits() -> None:
    world, ref = with_approval(by="", workload={APPROVAL_TIMEOUT: "1h"})
    world.after_each_run.append(lambda: world.cluster.workload_annotations.clear())
    refused(world, ref, "ApprovalExpired")


def test_a_new_volume_after_the_approval_ends_the_restore() -> None:
    world, ref = with_approval()

    def swap() -> None:
        if APPROVED_BY in _annotations(world.cluster.objects[(ref.kind, ref.name)]):
            world.admin.volume = "another volume"

    world.after_each_run.append(swap)
    refused(world, ref, "WrongVolume")


@pytest.mark.parametrize("delay", ["0", "3h"])
def test_the_time_to_start_begins_with_the_approval(delay: str) -> None:
    world, ref = with_approval(by="")

    def approve_late() -> None:
        if delay == "0" or world.clock.now() - START > timedelta(hours=3):
            world.cluster.annotate(ref, APPROVED_BY, APPROVER)

    world.after_each_run.append(approve_late)
    world.run(ref, limit=4000)
    assert check_restore(world, ref) == "Completed"


def _asynchronous(call: Callable[[], None]) -> Callable[[], Any]:
    async def run() -> None:
        call()

    return run
