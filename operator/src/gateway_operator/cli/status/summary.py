"""Summarizes the objects of each gateway: its newest backups, its schedules, and all problems that they report.

Everything comes from objects of the API server. The summary repeats the operator's conditions and judges nothing again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway_operator.domain.gateway.health import GATEWAY_HEALTHY
from gateway_operator.domain.gateway.volumes import BACKUP_VOLUME_RETAINED
from gateway_operator.domain.gateway.workload import Workload
from gateway_operator.domain.index.backup_index import BackupSummary, newest_restorable
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.identifiers import GatewayRef, NamespacedGateway
from gateway_operator.domain.model.levels import DRILLED, VERIFIED, reaches
from gateway_operator.domain.model.names import ADMIN_KEY_SECRET
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import CHANGING_PHASES, is_open
from gateway_operator.domain.retention.status import QUIET_REASONS
from gateway_operator.domain.schedule.certificate import CERTIFICATE_VALID
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

_OF_THE_GATEWAY: Final = frozenset({GATEWAY_HEALTHY, CERTIFICATE_VALID, BACKUP_VOLUME_RETAINED})
"""Conditions that each schedule of a gateway repeats."""


class StatusProblem(NamedTuple):
    """Something that a person should look at. ``object`` names the kind and the object that reports it."""

    object: str
    reason: str
    message: str


@dataclass
class GatewayStatus:
    """All objects of one gateway, and what follows from them."""

    gateway: NamespacedGateway
    exists: bool = True
    """False if no workload of this name is configured as a gateway, as far as the user may list workloads."""
    backups: list[BackupSummary] = field(default_factory=list)
    schedules: list[GatewayBackupSchedule] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)

    @property
    def newest(self) -> BackupSummary | None:
        """The newest Completed backup whose file is not known to be missing."""
        return newest_restorable(self.backups)

    @property
    def newest_verified(self) -> BackupSummary | None:
        """The newest of them that is at least Verified."""
        return newest_restorable(one for one in self.backups if reaches(one.level, VERIFIED))

    @property
    def newest_drilled(self) -> BackupSummary | None:
        """The newest of them that a drill has restored."""
        return newest_restorable(one for one in self.backups if reaches(one.level, DRILLED))

    @property
    def phases(self) -> Mapping[str, int]:
        """The number of its GatewayBackups in each phase."""
        return Counter(one.phase or "Pending" for one in self.backups)

    @property
    def next_backup(self) -> str:
        """The time of the next scheduled backup; empty without one."""
        times = (str(one.status.get("nextScheduleTime") or "") for one in self.schedules if not one.suspend)
        return min((time for time in times if time), default="")

    def condition(self, kind: str) -> Json:
        """A condition that the schedules have; one that is not True comes first. Empty without one."""
        present = [conditions.find_condition(schedule.conditions, kind) for schedule in self.schedules]
        return min((one for one in present if one), key=lambda one: one.get("status") == "True", default={})

    @property
    def problems(self) -> list[StatusProblem]:
        """All problems that the objects report, those of schedules first."""
        repeated = [*self._schedule_problems(), *self._backup_problems(), *self._restore_problems()]
        return list(dict.fromkeys(repeated))

    def _schedule_problems(self) -> Iterator[StatusProblem]:
        if not self.exists:
            message = f"No {self.gateway.gateway} with the annotation {ADMIN_KEY_SECRET} exists, but objects name it."
            yield StatusProblem("gateway", str(Reason.GatewayNotFound), message)
        elif not self.schedules:
            yield StatusProblem("gateway", "NoSchedule", "No GatewayBackupSchedule makes backups of it.")
        for schedule in self.schedules:
            name = f"schedule {schedule.name}"
            if schedule.suspend:
                resume = f"`kubectl gateway schedule resume {schedule.name}` starts it again."
                yield StatusProblem(name, "Suspended", f"It makes no backups. {resume}")
            for one in schedule.conditions:
                reason = str(one.get("reason"))
                if one.get("status") == "False" and reason not in QUIET_REASONS:
                    owner = "gateway" if one.get("type") in _OF_THE_GATEWAY else name
                    yield StatusProblem(owner, reason, str(one.get("message")))

    def _backup_problems(self) -> Iterator[StatusProblem]:
        newest = self.newest
        if newest is None and self.exists:
            yield StatusProblem("gateway", "NoBackup", "There is no Completed backup of it.")
        # As in the metrics: the time of a failure has whole seconds.
        failures = (one for one in self.backups if one.phase == "Failed")
        failed = max(failures, key=lambda one: (one.time, one.uid), default=None)
        if failed is not None and (newest is None or failed.time >= newest.time.replace(microsecond=0)):
            yield StatusProblem(
                f"backup {failed.name}", failed.reason, "It has failed, and no later one has succeeded."
            )
        missing = sum(one.phase == "Completed" and one.file_absent_since is not None for one in self.backups)
        if missing:
            yield StatusProblem("gateway", "FileMissing", f"{missing} backups have no file on the volume.")
        for one in self.backups:
            if one.phase == "Completed" and one.needs_review:
                accept = f"If that is right: `kubectl gateway backup accept {one.name}`."
                yield StatusProblem(f"backup {one.name}", "Suspicious", f"It has lost much of its content. {accept}")

    def _restore_problems(self) -> Iterator[StatusProblem]:
        for one in self.restores:
            changing = one.mode == "Apply" and one.phase in CHANGING_PHASES
            if changing or is_open(one) or one.awaits_approval:
                message = str(one.status.get("message") or "It is neither committed nor rolled back.")
                yield StatusProblem(f"restore {one.meta.ref.name}", one.reason or one.phase, message)


def summarize(
    gateways: Iterable[NamespacedGateway] | None,
    backups: Iterable[BackupSummary],
    schedules: Iterable[GatewayBackupSchedule],
    restores: Iterable[Restore],
) -> list[GatewayStatus]:
    """The status of each gateway: those in ``gateways``, and all others that an object names. Sorted by name.

    ``gateways`` are those of the workloads; None if they are not known.
    """
    statuses: dict[NamespacedGateway, GatewayStatus] = {}

    def of(gateway: NamespacedGateway) -> GatewayStatus:
        return statuses.setdefault(gateway, GatewayStatus(gateway, exists=gateways is None))

    for gateway in gateways or ():
        statuses[gateway] = GatewayStatus(gateway)
    for backup in backups:
        of(backup.set_id.namespaced_gateway).backups.append(backup)
    for schedule in schedules:
        of(schedule.set_id.namespaced_gateway).schedules.append(schedule)
    for restore in restores:
        of(restore.namespaced_gateway).restores.append(restore)
    return [statuses[one] for one in sorted(statuses, key=_name)]


def gateways_of_workloads(kind: str, bodies: Iterable[Json]) -> Iterator[NamespacedGateway]:
    """The gateways among Deployments or StatefulSets: those with the annotation of the admin key.

    Each replica of a StatefulSet has its own volumes, so it is a gateway of its own.
    """
    for body in bodies:
        meta = body["metadata"]
        workload = Workload(GatewayRef(kind, str(meta["name"])), str(meta["namespace"]), str(meta["uid"]), body)
        if workload.key_secret is None:
            continue
        replicas = int(workload.spec.get("replicas", 1)) if kind == "StatefulSet" else 1
        for ordinal in range(replicas):
            yield NamespacedGateway(workload.namespace, GatewayRef(kind, workload.ref.name, ordinal))


def _name(gateway: NamespacedGateway) -> tuple[str, str, str, int]:
    ref = gateway.gateway
    return gateway.namespace, ref.name, ref.kind, ref.ordinal
