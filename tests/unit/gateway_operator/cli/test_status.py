"""``kubectl gateway status``: the newest backups and the problems of each gateway, as text and as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
import yaml

from gateway_operator.cli.options.commands import parser
from gateway_operator.cli.session import FailedError, Session
from gateway_operator.cli.status import command
from gateway_operator.cli.status.summary import GatewayStatus, gateways_of_workloads, summarize
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.identifiers import BackupSetId, GatewayRef, NamespacedGateway, SetKind
from gateway_operator.domain.model.names import ADMIN_KEY_SECRET, BACKUP_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ForbiddenError
from tests.unit.gateway_operator.summaries import SET_ID, summary

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
GATEWAY: Final = SET_ID.namespaced_gateway
GOOD: Final = summary("good", NOW - timedelta(hours=3), path="nightly/a.json.zst")
LOST: Final = summary("b", NOW, file_absent_since=NOW)


def body(
    kind: str, name: str, spec: Mapping[str, Any], status: Mapping[str, Any], gateway: str = "gw"
) -> dict[str, Any]:
    """An object of the API server in the namespace of the tests."""
    metadata = {"namespace": "prod", "name": name, "uid": name, "creationTimestamp": timestamps.text(NOW)}
    return {
        "kind": kind,
        "metadata": metadata,
        "spec": {"gatewayRef": {"name": gateway}, **spec},
        "status": dict(status),
    }


def schedule_body(conditions: Mapping[str, tuple[str, str]] | None = None, **spec: Any) -> dict[str, Any]:
    """The schedule `nightly` with these conditions: type to status and reason."""
    rows = [
        {"type": kind, "status": status, "reason": reason, "message": f"{reason}."}
        for kind, (status, reason) in (conditions or {"Ready": ("True", "Scheduled")}).items()
    ]
    times = {"nextScheduleTime": "2026-06-02T02:00:00Z", "lastSuccessfulTime": "2026-06-01T09:00:00Z"}
    return body(SCHEDULE_KIND, "nightly", {"schedule": "0 2 * * *", **spec}, {"conditions": rows, **times})


def status_of(
    backups: Sequence[BackupSummary] = (GOOD,),
    schedules: Sequence[dict[str, Any]] | None = None,
    restores: Sequence[dict[str, Any]] = (),
) -> GatewayStatus:
    """The status of the one gateway of these objects."""
    bodies = [schedule_body()] if schedules is None else schedules
    parsed = [GatewayBackupSchedule.parse(one) for one in bodies]
    (status,) = summarize([GATEWAY], backups, parsed, [Restore.parse(one) for one in restores])
    return status


def restore(phase: str, reason: str = "", mode: str = "Apply", **status: Any) -> dict[str, Any]:
    """A GatewayRestore in that phase."""
    return body(RESTORE_KIND, "undo", {"mode": mode}, {"phase": phase, "reason": reason, "message": "why.", **status})


@pytest.mark.parametrize(
    ("backup", "newest", "verified", "drilled"),
    [
        (summary("b", NOW), "b", "b", None),
        (summary("b", NOW, level="Drilled"), "b", "b", "b"),
        (summary("b", NOW, level="Stored"), "b", "good", None),
        (summary("b", NOW, phase="Failed"), "good", "good", None),
        (summary("b", NOW, phase="Running", level=""), "good", "good", None),
        (LOST, "good", "good", None),
        (summary("b", NOW, deleting_since=NOW), "good", "good", None),
    ],
    ids=lambda value: value.phase + value.level if isinstance(value, BackupSummary) else "",
)
def test_newest_backups_are_those_that_a_restore_can_use(
    backup: BackupSummary, newest: str, verified: str, drilled: str | None
) -> None:
    status = status_of([GOOD, backup])
    rows = (status.newest, status.newest_verified, status.newest_drilled)
    assert [one and one.name for one in rows] == [newest, verified, drilled]


HELD: Final = schedule_body({"RetentionApplied": ("False", "LargeDeletion")})
QUIET: Final = schedule_body({"RetentionApplied": ("False", "NoPolicy"), "Stalled": ("True", "JobFailed")})
UNHEALTHY: Final = {"GatewayHealthy": ("False", "GatewayUnhealthy")}
DELETED: Final = "BackupVolumeDeletedWithClaim"
VOLUME: Final = {"BackupVolumeRetained": ("False", DELETED)}


@pytest.mark.parametrize(
    ("objects", "problems"),
    [
        ({}, []),
        ({"schedules": [QUIET]}, []),
        ({"schedules": []}, [("gateway", "NoSchedule")]),
        ({"backups": []}, [("gateway", "NoBackup")]),
        ({"schedules": [HELD]}, [("schedule nightly", "LargeDeletion")]),
        ({"schedules": [schedule_body(suspend=True)]}, [("schedule nightly", "Suspended")]),
        ({"schedules": [schedule_body(UNHEALTHY), schedule_body(UNHEALTHY)]}, [("gateway", "GatewayUnhealthy")]),
        ({"schedules": [schedule_body(VOLUME), schedule_body(VOLUME)]}, [("gateway", DELETED)]),
        ({"schedules": [schedule_body({"BackupVolumeRetained": ("Unknown", "NotAuthorized")})]}, []),
        ({"backups": [GOOD, summary("b", NOW, phase="Failed", reason="Unreachable")]}, [("backup b", "Unreachable")]),
        ({"backups": [GOOD, summary("b", NOW - timedelta(days=1), phase="Failed")]}, []),
        ({"backups": [GOOD, summary("b", NOW, suspicious=True)]}, [("backup b", "Suspicious")]),
        ({"backups": [GOOD, summary("b", NOW, suspicious=True, accepted=True)]}, []),
        ({"backups": [GOOD, LOST]}, [("gateway", "FileMissing")]),
        ({"restores": [restore("Completed")]}, []),
        ({"restores": [restore("Failed", "BackupCorrupt")]}, []),
        ({"restores": [restore("HealthCheck", "HealthCheck")]}, [("restore undo", "HealthCheck")]),
        ({"restores": [restore("RollbackFailed", "ConfigOverwritten")]}, [("restore undo", "ConfigOverwritten")]),
        (
            {"restores": [restore("Failed", "HealthCheckFailed", restoredDigest="a")]},
            [("restore undo", "HealthCheckFailed")],
        ),
        (
            {"restores": [restore("Pending", "ApprovalRequired", approval={"requestedTime": "x"})]},
            [("restore undo", "ApprovalRequired")],
        ),
    ],
    ids=lambda value: " ".join(reason for _, reason in value) if isinstance(value, list) else "",
)
def test_problems_are_those_that_a_person_should_look_at(
    objects: dict[str, Any], problems: list[tuple[str, str]]
) -> None:
    status = status_of(**objects)
    assert [(one.object, one.reason) for one in status.problems] == problems
    assert all(one.message.endswith(".") for one in status.problems)


def test_backups_of_another_gateway_are_separate() -> None:
    other = BackupSetId("prod", GatewayRef("StatefulSet", "gw", 1), SetKind.Group, "manual")
    statuses = summarize(None, [GOOD, summary("b", NOW, set_id=other)], [], [])
    assert [one.newest and one.newest.name for one in statuses] == ["good", "b"]
    assert all(one.exists for one in statuses)


def test_gateway_without_a_workload_is_a_problem() -> None:
    (status,) = summarize([], [], [], [Restore.parse(restore("Failed", "GatewayNotFound"))])
    assert [(one.object, one.reason) for one in status.problems] == [("gateway", "GatewayNotFound")]


def test_gateways_are_the_annotated_workloads_and_each_replica_of_a_set() -> None:
    def workload(name: str, annotations: dict[str, str], replicas: int) -> dict[str, Any]:
        meta = {"namespace": "prod", "name": name, "uid": name, "annotations": annotations}
        return {"metadata": meta, "spec": {"replicas": replicas}}

    bodies = [workload("gw", {ADMIN_KEY_SECRET: "key"}, 2), workload("other", {}, 1)]
    assert list(gateways_of_workloads("Deployment", bodies)) == [
        NamespacedGateway("prod", GatewayRef("Deployment", "gw"))
    ]
    sets = list(gateways_of_workloads("StatefulSet", bodies))
    assert [one.gateway.ordinal for one in sets] == [0, 1]


class _Session(Session):
    """Answers the lists of the command with fixed objects, and keeps the lines that it prints."""

    def __init__(self, objects: Sequence[dict[str, Any]], workloads: Sequence[dict[str, Any]] | None = ()) -> None:
        super().__init__(cast(Any, self), "prod", None)
        self._objects, self._workloads = objects, workloads
        self.lines: list[str] = []

    async def list_ours(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        assert namespace in ("prod", "")
        return [one for one in self._objects if one["kind"] == kind]

    async def list_all(self, path: str) -> list[dict[str, Any]]:
        if self._workloads is None:
            raise ForbiddenError(path)
        return list(self._workloads) if path.endswith("/deployments") else []

    def stdout(self, line: str) -> None:
        self.lines.append(line)

    def stderr(self, line: str) -> None:
        self.lines.append(line)


def shown(session: _Session, *words: str) -> str:
    """The output of ``kubectl gateway status`` with these arguments."""
    arguments = parser().parse_args(["status", *words])
    session.output = arguments.output
    asyncio.run(command.show(session, arguments))
    return "\n".join(session.lines)


BACKUP: Final = body(
    BACKUP_KIND,
    "nightly-1",
    {"group": "manual"},
    {
        "phase": "Completed", "snapshotTime": "2026-06-01T09:00:00Z", "path": "manual/x.json.zst.age", "sizeBytes": 914,
        "verification": {"level": "Verified"}, "origin": "Manual",
    },
)  # fmt: skip
HEALTHY: Final = {"Ready": ("True", "Scheduled"), "GatewayHealthy": ("True", "GatewayHealthy")}
WORKLOAD: Final = {
    "metadata": {"namespace": "prod", "name": "gw", "uid": "w", "annotations": {ADMIN_KEY_SECRET: "key"}}
}
ALONE: Final = {
    "metadata": {"namespace": "prod", "name": "alone", "uid": "d", "annotations": {ADMIN_KEY_SECRET: "key"}}
}


def test_details_name_the_newest_backup_and_the_next_one() -> None:
    output = shown(_Session([BACKUP, schedule_body(HEALTHY)], [WORKLOAD]), "gw")
    assert "Gateway:         Deployment gw, namespace prod\n" in output
    assert "Health:          GatewayHealthy." in output
    assert "Last backup:     nightly-1, " in output
    assert " ago, Verified, 914 bytes, encrypted\n" in output
    assert "Last drilled:    none\n" in output
    assert "Next backup:     2026-06-02T02:00:00Z\n" in output
    assert "\nSCHEDULE  CRON" in output
    assert output.endswith("Problems: none")


def test_table_has_each_gateway_also_one_without_any_object() -> None:
    output = shown(_Session([BACKUP, schedule_body(HEALTHY)], [WORKLOAD, ALONE]))
    assert output.startswith("GATEWAY  HEALTH   LAST BACKUP")
    assert "gw       healthy  " in output
    assert "\nalone    unknown" in output
    assert "\nalone:\n  gateway: NoSchedule: " in output
    assert shown(_Session([BACKUP], [ALONE]), "-A").startswith("NAMESPACE  GATEWAY")


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_documents_have_the_same_answers(output: str, load: Callable[[str], Any]) -> None:
    document = load(shown(_Session([BACKUP, schedule_body(HEALTHY)], [WORKLOAD]), "-o", output))
    (gateway,) = document["gateways"]
    assert gateway["health"] == "healthy"
    assert gateway["lastVerified"]["name"] == "nightly-1"
    assert gateway["lastDrilled"] is None
    assert gateway["encrypted"] is True
    assert gateway["backups"] == {"Completed": 1}
    assert gateway["problems"] == []


def test_missing_permission_leaves_workloads_out() -> None:
    output = shown(_Session([BACKUP, schedule_body(HEALTHY)], None), "gw")
    assert output.startswith("warning: no permission to list deployments")
    assert output.endswith("Problems: none")


@pytest.mark.parametrize(("words", "message"), [(["nobody"], "no gateway nobody found"), ([], "no gateway found")])
def test_status_of_no_gateway_is_an_error(words: list[str], message: str) -> None:
    with pytest.raises(FailedError, match=message):
        shown(_Session([]), *words)
