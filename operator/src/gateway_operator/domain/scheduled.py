"""A GatewayBackupSchedule as decisions read it, and what they need to know of its backups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway_operator.domain import conditions, times
from gateway_operator.domain.names import MANUAL_GROUP, SAFETY_GROUP, SCHEDULE_KIND
from gateway_operator.domain.objects import Backup, GatewayRef, Json, Meta

_PROVEN: Final = ("Verified", "Drilled")
NO_SCHEDULES_GROUP: Final = frozenset({MANUAL_GROUP, SAFETY_GROUP})
"""Groups that no schedule can have."""


@dataclass(frozen=True)
class Schedule:
    """A GatewayBackupSchedule."""

    meta: Meta
    gateway: GatewayRef
    schedule: str
    time_zone: str
    suspend: bool
    concurrency_policy: str
    starting_deadline: int
    successful_jobs: int
    failed_jobs: int
    template: Json
    status: Json

    @classmethod
    def parse(cls, body: Json) -> Schedule:
        """From an object as the API server gives it; the defaults are those of the schema."""
        spec = body.get("spec") or {}
        return cls(
            meta=Meta.parse(body, SCHEDULE_KIND),
            gateway=GatewayRef.parse(spec),
            schedule=str(spec.get("schedule", "")),
            time_zone=str(spec.get("timeZone", "UTC")),
            suspend=bool(spec.get("suspend", False)),
            concurrency_policy=str(spec.get("concurrencyPolicy", "Forbid")),
            starting_deadline=int(spec.get("startingDeadlineSeconds", 3600)),
            successful_jobs=int(spec.get("successfulJobsHistoryLimit", 1)),
            failed_jobs=int(spec.get("failedJobsHistoryLimit", 3)),
            template=spec.get("backupTemplate") or {},
            status=body.get("status") or {},
        )

    @property
    def name(self) -> str:
        """Its name, which is also that of its CronJob and of its backups' group."""
        return self.meta.ref.name

    @property
    def phase(self) -> str:
        """Whether it does what it is there for: Ready or not."""
        ready = conditions.holds(self.conditions, "Ready")
        return "" if ready is None else "Ready" if ready else "NotReady"

    @property
    def reason(self) -> str:
        """Why."""
        return next((str(one.get("reason")) for one in self.conditions if one.get("type") == "Ready"), "")

    @property
    def conditions(self) -> Sequence[Json]:
        """The conditions, those of retention included."""
        return self.status.get("conditions") or ()

    @property
    def wants_proof(self) -> bool:
        """Whether only a Verified backup is a good one."""
        return bool((self.template.get("verification") or {}).get("level", "Verified") == "Verified")


@dataclass(frozen=True, slots=True)
class Member:
    """What a schedule's status is made of, of one backup: small, since there is one of each in memory."""

    name: str
    phase: str
    created: datetime
    snapshot: datetime | None
    completed: datetime | None
    proven: bool
    suspicious: bool
    pinned: bool
    reason: str

    @property
    def finished(self) -> bool:
        """Whether it has come to an end, well or not."""
        return self.completed is not None

    @classmethod
    def of(cls, backup: Backup) -> Member:
        """From the object."""
        return cls(
            name=backup.meta.ref.name,
            phase=backup.phase,
            created=backup.meta.created,
            snapshot=backup.time("snapshotTime"),
            completed=backup.time("completionTime"),
            proven=backup.level in _PROVEN,
            suspicious=bool(conditions.holds(backup.conditions, "Suspicious")),
            pinned=backup.pinned,
            reason=backup.reason,
        )


Set = tuple[str, GatewayRef, str]
"""The set that a backup belongs to: namespace, gateway, group."""


def set_of(backup: Backup) -> Set | None:
    """Which set a GatewayBackup belongs to; None for one that no schedule can have."""
    if backup.group in NO_SCHEDULES_GROUP:
        return None
    return backup.meta.ref.namespace, backup.gateway, backup.group


class Members:
    """The backups of each set, fed by the watch."""

    def __init__(self) -> None:
        self._sets: dict[Set, dict[str, Member]] = {}

    def see(self, backup: Backup) -> Set | None:
        """One was created, changed, or listed. Gives its set."""
        found = set_of(backup)
        if found is not None:  # for ever: gateway and group never change
            self._sets.setdefault(found, {})[backup.meta.ref.uid] = Member.of(backup)
        return found

    def forget(self, backup: Backup) -> Set | None:
        """One is gone. Gives its set."""
        found = set_of(backup)
        if found is not None and found in self._sets:
            self._sets[found].pop(backup.meta.ref.uid, None)
            if not self._sets[found]:
                del self._sets[found]
        return found

    async def __call__(self, schedule: Schedule) -> Sequence[Member]:
        """The backups of a schedule."""
        wanted = (schedule.meta.ref.namespace, schedule.gateway, schedule.name)
        return list(self._sets.get(wanted, {}).values())


def progress(schedule: Schedule, backups: Sequence[Member]) -> dict[str, Any]:
    """The part of the status that tells of its backups. Each field that has nothing to say is None."""
    newest = max(backups, key=lambda one: (one.created, one.name), default=None)
    completed = [one for one in backups if one.phase == "Completed"]
    failed = [one for one in backups if one.phase == "Failed"]
    good = [(one.snapshot, one.name) for one in completed if one.snapshot and (one.proven or not schedule.wants_proof)]
    bad = [(one.completed, one.name, one.reason) for one in failed if one.completed]
    last_good, last_bad = max(good, default=None), max(bad, default=None)
    running = [one.name for one in backups if not one.finished and one.phase != "Deleting"]
    return {
        "active": sorted(running)[:100] or None,
        "lastBackup": newest.name if newest else None,
        "lastSuccessfulTime": times.precise(last_good[0]) if last_good else None,
        "lastSuccessfulBackup": last_good[1] if last_good else None,
        "lastFailedTime": times.text(last_bad[0]) if last_bad else None,
        "lastFailure": f"{last_bad[1]}: {last_bad[2]}" if last_bad else None,
        "backups": {
            "completed": len(completed),
            "failed": len(failed),
            "suspicious": sum(one.suspicious for one in completed),
            "pinned": sum(one.pinned for one in backups),
            "total": len(backups),
        },
    }
