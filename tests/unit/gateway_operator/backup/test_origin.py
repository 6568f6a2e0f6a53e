"""Tests of the origin of a backup: only objects that the creator cannot write give Schedule or Restore."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.domain.backup.origin import (
    OriginDecision,
    OriginEvidence,
    ScheduleEvidence,
    decide_origin,
)
from gateway_operator.domain.model.identifiers import GatewayRef, Origin
from gateway_operator.domain.model.names import RESTORE_LABEL, job_backup_name, safety_backup_name
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore

JOB_UID = "0f3c9a77-1111-4222-8333-444455556666"
NAME = job_backup_name("nightly-29000", JOB_UID)
CREATED = "2026-03-01T02:00:05Z"
GATEWAY = GatewayRef("Deployment", "gw")
SCHEDULE = ScheduleEvidence("nightly", GATEWAY, "cron-uid", "Stored", 10, "30d")
SPEC: dict[str, Any] = {"job": {"name": "nightly-29000", "uid": JOB_UID}, "group": "nightly"}


def backup(name: str = NAME, *, labels: Json | None = None, uid: str = "b-uid", **spec: Any) -> Backup:
    """A GatewayBackup without a status, as a creator wrote it."""
    meta = {"namespace": "prod", "name": name, "uid": uid, "creationTimestamp": CREATED, "labels": labels or {}}
    return Backup.parse({"metadata": meta, "spec": {"gatewayRef": {"name": "gw"}, **spec}})


def job(*, uid: str = JOB_UID, ended: str | None = None, **owner: Any) -> Json:
    """A Job that the schedule's CronJob controls."""
    reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "cron-uid", "controller": True}
    conditions = [{"type": "Complete", "status": "True", "lastTransitionTime": ended}] if ended else []
    meta = {"name": "nightly-29000", "uid": uid, "ownerReferences": [{**reference, **owner}]}
    return {"metadata": meta, "status": {"conditions": conditions}}


def restore(*, phase: str = "SafetyBackup", recorded: str | None = None, gateway: str = "gw") -> Restore:
    """A GatewayRestore; ``recorded`` is the uid of its safety backup in its status."""
    status = {"phase": phase, **({"safetyBackupUID": recorded} if recorded else {})}
    meta = {"namespace": "prod", "name": "back", "uid": "restore-uid"}
    return Restore.parse({"metadata": meta, "spec": {"gatewayRef": {"name": gateway}, "latest": {}}, "status": status})


GOOD = OriginEvidence(job=job(), schedule=SCHEDULE)


def test_confirmed_job_of_a_schedule_gives_the_schedule_and_its_thresholds() -> None:
    decision = decide_origin(backup(**SPEC, verification={"level": "Verified", "maxShrinkPercent": 100}), GOOD)
    assert isinstance(decision, OriginDecision)
    assert decision.status() == {
        "origin": "Schedule",
        "schedule": "nightly",
        "thresholds": {"level": "Stored", "maxShrinkPercent": 10, "ttl": "30d"},
    }


@pytest.mark.parametrize("of_schedule", ["30d", None])
@pytest.mark.parametrize("of_object", [{}, {"ttl": "1s"}])
def test_settings_of_a_scheduled_backup_are_those_of_the_schedule(
    of_schedule: str | None, of_object: dict[str, Any]
) -> None:
    created = backup(**SPEC, verification={"level": "Verified", "maxShrinkPercent": 100}, **of_object)
    decision = decide_origin(created, replace(GOOD, schedule=replace(SCHEDULE, ttl=of_schedule)))
    assert isinstance(decision, OriginDecision)
    claimed = replace(created, status=decision.status())
    assert (claimed.required_level, claimed.max_shrink, claimed.ttl) == ("Stored", 10, of_schedule)
    manual = replace(created, status={**decision.status(), "origin": "Manual"})
    assert (manual.required_level, manual.max_shrink, manual.ttl) == ("Verified", 100, of_object.get("ttl"))


@pytest.mark.parametrize(
    ("changed", "evidence", "refusal"),
    [
        ({}, replace(GOOD, job=None), "does not exist"),
        ({}, replace(GOOD, job=job(uid="1f3c9a77-another")), "another uid"),
        ({"name": "nightly-29000"}, GOOD, f"is named {NAME}"),
        ({"name": NAME + "x"}, GOOD, f"is named {NAME}"),
        ({}, replace(GOOD, job=job(ended="2026-03-01T02:00:04Z")), "ended before"),
        ({}, replace(GOOD, schedule=replace(SCHEDULE, cron_job_uid="older")), "not controlled by the CronJob"),
        ({}, replace(GOOD, schedule=replace(SCHEDULE, cron_job_uid="")), "not controlled by the CronJob"),
        ({"gatewayRef": {"name": "other"}}, GOOD, "backs up Deployment gw"),
        ({"gatewayRef": {"kind": "StatefulSet", "name": "gw"}}, GOOD, "backs up Deployment gw"),
        (
            {"gatewayRef": {"kind": "StatefulSet", "name": "gw", "ordinal": 1}},
            replace(GOOD, schedule=replace(SCHEDULE, gateway=GatewayRef("StatefulSet", "gw", 0))),
            "backs up",
        ),
        ({}, replace(GOOD, schedule=None), ""),
        ({}, replace(GOOD, job=job(kind="Deployment")), ""),
        ({}, replace(GOOD, job=job(apiVersion="evil.dev/v1")), ""),
        ({}, replace(GOOD, job=job(controller=False)), ""),
        ({"existing": {"path": "x.json"}}, GOOD, ""),
    ],
)
def test_any_unconfirmed_claim_of_a_job_is_no_schedule(
    changed: dict[str, Any], evidence: OriginEvidence, refusal: str
) -> None:
    decision = decide_origin(backup(**{**SPEC, **changed}), evidence)
    assert isinstance(decision, OriginDecision)
    assert decision.origin is (Origin.Adopted if "existing" in changed else Origin.Manual)
    assert refusal in decision.refusal
    assert bool(refusal) == bool(decision.refusal)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (restore(recorded="b-uid"), Origin.Restore),
        (restore(phase="Completed", recorded="b-uid"), Origin.Restore),
        (restore(recorded="another"), Origin.Manual),
        (restore(recorded="b-uid", gateway="other"), Origin.Manual),
        (restore(), None),
        (restore(phase="Restoring"), Origin.Manual),
        (restore(phase=""), Origin.Manual),
        (None, Origin.Manual),
    ],
)
def test_safety_backup_is_the_one_whose_uid_the_restore_recorded(
    named: Restore | None, expected: Origin | None
) -> None:
    safety = backup(safety_backup_name("back", "restore-uid"), labels={RESTORE_LABEL: "back"}, group="safety")
    decision = decide_origin(safety, OriginEvidence(restore=named))
    assert (decision.origin if isinstance(decision, OriginDecision) else None) is expected
    other = backup("other", labels={RESTORE_LABEL: "back"}, group="safety")
    assert decide_origin(other, OriginEvidence(restore=named)) == OriginDecision(Origin.Manual)


texts = st.sampled_from(["nightly", "nightly-29000", NAME, "safety", "back", JOB_UID, "cron-uid", "b-uid", "Schedule"])
specs = st.fixed_dictionaries(
    {},
    optional={
        "group": st.sampled_from(["nightly", "safety", "manual"]),
        "job": st.fixed_dictionaries({"name": texts, "uid": texts}),
        "existing": st.fixed_dictionaries({"path": texts}),
        "ttl": st.just("1s"),
        "accepted": st.booleans(),
        "verification": st.just({"level": "Stored", "maxShrinkPercent": 100}),
        "retention": st.just({"keepLast": 1}),
    },
)
marks = st.dictionaries(
    st.sampled_from(
        [f"mcpgateway.dev/{one}" for one in ("schedule", "restore", "restore-uid", "job-uid", "adopted", "import-uid")]
    ),
    texts,
)


@given(texts | st.just(safety_backup_name("back", "restore-uid")), specs, marks, marks)
def test_nothing_that_a_creator_writes_alone_gives_schedule_or_restore(
    name: str, spec: dict[str, Any], labels: Json, annotations: Json
) -> None:
    """The objects exist and are right, except that none of them names this object."""
    meta = {"namespace": "prod", "name": name, "uid": "b-uid", "creationTimestamp": CREATED}
    body = {
        "metadata": {**meta, "labels": labels, "annotations": annotations},
        "spec": {"gatewayRef": {"name": "gw"}, **spec},
    }
    # The creator knows Job, CronJob and schedule, but its Job is none that the CronJob controls.
    evidence = OriginEvidence(
        job=job(uid=spec.get("job", {}).get("uid", ""), controller=False),
        schedule=SCHEDULE,
        restore=restore(recorded="uid-of-the-real-one"),
    )
    decision = decide_origin(Backup.parse(body), evidence)
    assert isinstance(decision, OriginDecision)
    assert decision.origin in (Origin.Manual, Origin.Adopted)
    assert (decision.origin is Origin.Adopted) == ("existing" in spec)
    assert set(decision.status()) == {"origin"}


@given(st.text("abcdef0123456789-", min_size=1, max_size=63), st.uuids().map(str), st.uuids().map(str))
def test_backup_names_of_jobs_are_valid_and_differ_by_uid(name: str, uid: str, other: str) -> None:
    backup_name = job_backup_name(name, uid)
    assert len(backup_name) <= 63
    assert backup_name.endswith(f"-{uid[:5]}")
    assert (backup_name == job_backup_name(name, other)) == (uid[:5] == other[:5])
