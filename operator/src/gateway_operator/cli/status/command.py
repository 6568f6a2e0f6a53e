"""The command ``kubectl gateway status``: reads the objects of the gateways and prints their summaries."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from gateway_operator.cli.session import FailedError, Session, ago
from gateway_operator.cli.status.summary import GatewayStatus, gateways_of_workloads, summarize
from gateway_operator.domain.gateway.health import GATEWAY_HEALTHY
from gateway_operator.domain.gateway.volumes import BACKUP_VOLUME_RETAINED
from gateway_operator.domain.index.backup_index import BackupSummary
from gateway_operator.domain.model import conditions, timestamps
from gateway_operator.domain.model.identifiers import NamespacedGateway
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.retention.result import RETENTION_APPLIED
from gateway_operator.domain.retention.status import OBJECTIVE_MET
from gateway_operator.domain.schedule.certificate import CERTIFICATE_VALID
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.ports import ForbiddenError

_WORKLOADS: Final = (("Deployment", "deployments"), ("StatefulSet", "statefulsets"))
_HEAD: Final = ("GATEWAY", "HEALTH", "LAST BACKUP", "VERIFIED", "DRILLED", "NEXT", "ENCRYPTED", "PROBLEMS")
_SCHEDULE_HEAD: Final = ("SCHEDULE", "CRON", "NEXT", "LAST SUCCESS", "OBJECTIVE", "RETENTION", "DRILLED", "READY")
_UNKNOWN: Final = "unknown: only gateways with a schedule are checked"


async def show(session: Session, arguments: argparse.Namespace) -> None:
    """``status``: one gateway in detail, or all gateways of the namespace in one table."""
    namespace = "" if arguments.all_namespaces else session.namespace
    statuses = await _read(session, namespace)
    if arguments.gateway:
        statuses = [one for one in statuses if one.gateway.gateway.name == arguments.gateway]
    if not statuses:
        name = f"gateway {arguments.gateway}" if arguments.gateway else "gateway"
        where = f"in namespace {namespace}" if namespace else "in any namespace"
        raise FailedError(f"no {name} found {where}: no workload has the annotations, and no object names one")
    if session.print_document({"gateways": [_document(one) for one in statuses]}):
        return
    if arguments.gateway:
        for status in statuses:
            _print_details(session, status)
    else:
        _print_table(session, statuses, with_namespace=not namespace)


async def _read(session: Session, namespace: str) -> list[GatewayStatus]:
    kinds = (BACKUP_KIND, SCHEDULE_KIND, RESTORE_KIND)
    lists = (session.cluster.list_ours(kind, namespace) for kind in kinds)
    backups, schedules, restores = await asyncio.gather(*lists)
    return summarize(
        await _gateways(session, namespace),
        (BackupSummary.from_backup(Backup.parse(body)) for body in backups),
        (GatewayBackupSchedule.parse(body) for body in schedules),
        (Restore.parse(body) for body in restores),
    )


async def _gateways(session: Session, namespace: str) -> list[NamespacedGateway] | None:
    """The gateways among the workloads, so that one without backups is in the list. None without permission."""
    scope = f"/namespaces/{quote(namespace)}" if namespace else ""
    gateways: list[NamespacedGateway] = []
    for kind, plural in _WORKLOADS:
        try:
            bodies = await session.cluster.list_all(f"/apis/apps/v1{scope}/{plural}")
        except ForbiddenError:
            session.stderr(f"warning: no permission to list {plural}, so gateways without any object are left out")
            return None
        gateways += gateways_of_workloads(kind, bodies)
    return gateways


def _print_table(session: Session, statuses: list[GatewayStatus], *, with_namespace: bool) -> None:
    rows = [
        (
            *((one.gateway.namespace,) if with_namespace else ()),
            _label(one),
            _health(one),
            _ago(one.newest),
            _ago(one.newest_verified),
            _ago(one.newest_drilled),
            one.next_backup,
            _encrypted(one.newest),
            str(len(one.problems) or ""),
        )
        for one in statuses
    ]
    session.table((*(("NAMESPACE",) if with_namespace else ()), *_HEAD), rows)
    for one in statuses:
        if one.problems:
            session.stdout(f"\n{_label(one)}{f' in {one.gateway.namespace}' if with_namespace else ''}:")
            _print_problems(session, one)


def _print_details(session: Session, status: GatewayStatus) -> None:
    lines = [(title, text) for title, text in _details(status) if text]
    width = max(len(title) for title, _ in lines) + 1
    for title, text in lines:
        session.stdout(f"{title + ':':<{width}}  {text}")
    if status.schedules:
        session.stdout("")
        session.table(_SCHEDULE_HEAD, [_schedule_row(one) for one in status.schedules])
    session.stdout("\nProblems:" if status.problems else "\nProblems: none")
    _print_problems(session, status)


def _details(status: GatewayStatus) -> Iterator[tuple[str, str]]:
    ref = status.gateway.gateway
    ordinal = f", ordinal {ref.ordinal}" if ref.kind == "StatefulSet" else ""
    health, certificate = (status.condition(kind) for kind in (GATEWAY_HEALTHY, CERTIFICATE_VALID))
    unowned = max((int(one.status.get("unownedFiles") or 0) for one in status.schedules), default=0)
    counts = [f"{count} {phase}" for phase, count in sorted(status.phases.items())]
    yield "Gateway", f"{ref}{ordinal}, namespace {status.gateway.namespace}"
    yield "Health", str(health.get("message") or _UNKNOWN)
    yield "Certificate", str(certificate.get("message") or "")
    yield "Backup volume", str(status.condition(BACKUP_VOLUME_RETAINED).get("message") or "")
    yield "Last backup", _described(status.newest)
    yield "Last verified", _described(status.newest_verified)
    yield "Last drilled", _described(status.newest_drilled)
    yield "Next backup", status.next_backup or "none is scheduled"
    yield "GatewayBackups", ", ".join(counts) or "none"
    yield "Unowned files", f"{unowned}, which no GatewayBackup names" if unowned else ""


def _described(backup: BackupSummary | None) -> str:
    if backup is None:
        return "none"
    size = "" if backup.size_bytes is None else f", {backup.size_bytes} bytes"
    protection = "encrypted" if backup.encrypted else "not encrypted"
    return f"{backup.name}, {_ago(backup)} ago, {backup.level}{size}, {protection}"


def _schedule_row(schedule: GatewayBackupSchedule) -> tuple[str, ...]:
    return (
        schedule.name,
        schedule.schedule,
        "suspended" if schedule.suspend else str(schedule.status.get("nextScheduleTime") or ""),
        ago(schedule.status.get("lastSuccessfulTime")),
        *(_state(schedule, kind) for kind in (OBJECTIVE_MET, RETENTION_APPLIED, conditions.DRILLED, conditions.READY)),
    )


def _state(schedule: GatewayBackupSchedule, kind: str) -> str:
    """``yes``, or the reason why not; empty without the condition."""
    condition = conditions.find_condition(schedule.conditions, kind)
    if not condition:
        return ""
    return "yes" if condition.get("status") == "True" else str(condition.get("reason"))


def _print_problems(session: Session, status: GatewayStatus) -> None:
    for problem in status.problems:
        session.stdout(f"  {problem.object}: {problem.reason}: {problem.message}")


def _label(status: GatewayStatus) -> str:
    ref = status.gateway.gateway
    return ref.name if ref.kind == "Deployment" else f"{ref.name}-{ref.ordinal}"


def _health(status: GatewayStatus) -> str:
    condition = status.condition(GATEWAY_HEALTHY)
    if not condition:
        return "unknown"
    return "healthy" if condition.get("status") == "True" else str(condition.get("reason"))


def _encrypted(backup: BackupSummary | None) -> str:
    return "" if backup is None else "yes" if backup.encrypted else "no"


def _ago(backup: BackupSummary | None) -> str:
    return "" if backup is None else ago(timestamps.text(backup.time))


def _document(status: GatewayStatus) -> dict[str, Any]:
    ref = status.gateway.gateway
    newest = status.newest
    return {
        "namespace": status.gateway.namespace,
        "gateway": {"kind": ref.kind, "name": ref.name, "ordinal": ref.ordinal},
        "health": _health(status),
        "lastBackup": _backup_document(newest),
        "lastVerified": _backup_document(status.newest_verified),
        "lastDrilled": _backup_document(status.newest_drilled),
        "nextBackupTime": status.next_backup or None,
        "encrypted": None if newest is None else newest.encrypted,
        "backups": dict(status.phases),
        "schedules": [one.name for one in status.schedules],
        "problems": [problem._asdict() for problem in status.problems],
    }


def _backup_document(backup: BackupSummary | None) -> dict[str, Any] | None:
    if backup is None:
        return None
    return {"name": backup.name, "time": timestamps.text(backup.time), "level": backup.level, "path": backup.path}
