"""Injects unexpected exceptions at every call of every port: each object still reaches an end, with a status.

Also the inputs that once raised: odd times, odd Secrets and objects that cannot be parsed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.import_resource import Import
from gateway_operator.domain.model.names import BACKUP_KIND, FINALIZER, IMPORT_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.schedule.cronjob import Image
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule
from gateway_operator.handlers.common import parse_or_defaults
from gateway_operator.ports import AdminApiError, ClusterError, Ports, Secret
from gateway_operator.reconcile.backup.object import reconcile_backup_object
from gateway_operator.reconcile.backup_import import reconcile_import
from gateway_operator.reconcile.gateway_lock import GatewayLocks
from gateway_operator.reconcile.restore_object import reconcile_restore
from gateway_operator.reconcile.schedule import ScheduleParts, reconcile_schedule
from gateway_operator.reconcile.unexpected import record_error
from tests.unit.gateway_operator.schedule.world import CronJobs
from tests.unit.gateway_operator.simulation.fake_cluster import CA_BUNDLE, NAMESPACE
from tests.unit.gateway_operator.simulation.faults import World
from tests.unit.gateway_operator.simulation.test_crash_points import with_backup, with_restore

log = logging.getLogger("tests")
KINDS = {
    BACKUP_KIND: Backup.parse,
    RESTORE_KIND: Restore.parse,
    IMPORT_KIND: Import.parse,
    SCHEDULE_KIND: GatewayBackupSchedule.parse,
}


class UnexpectedError(Exception):
    """An exception that no code expects. Its text must not appear in any object."""

    def __init__(self) -> None:
        super().__init__("s3cret")


class Throwing:
    """A port whose chosen calls raise. ``choose`` gets the method's name and the number of the call, from 1 on."""

    def __init__(self, port: Any, shared: Errors) -> None:
        self._port = port
        self._errors = shared

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in ("backup_id", "now") or not callable(method):
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            self._errors.raise_if_chosen(name)
            return await method(*arguments, **options)

        return call


class Errors:
    """Which calls raise. All wrapped ports share the count of the calls."""

    def __init__(self, choose: Callable[[str, int], bool], error: Callable[[], Exception] = UnexpectedError) -> None:
        self.choose = choose
        self.error = error
        self.calls = 0
        self.raised = 0
        self.suspended = False

    def raise_if_chosen(self, name: str) -> None:
        if self.suspended:
            return
        self.calls += 1
        if self.choose(name, self.calls):
            self.raised += 1
            raise self.error()


class Operator:
    """The work queue's loop for one object, with the ports of a world, some of which raise."""

    def __init__(self, world: World, errors: Errors) -> None:
        self.world = world
        self.errors = errors
        self.ports = Ports(
            Throwing(world.cluster, errors),
            Throwing(world.admin, errors),
            world.clock,
            "ops:operator",
        )
        self.locks = GatewayLocks()
        cron_jobs = Throwing(CronJobs(), errors)
        self.schedule_parts = ScheduleParts(self.ports, cron_jobs, Image("operator:1"))

    def run(self, ref: Ref, seconds: float = 3 * 24 * 3600, rounds: int = 1500) -> None:
        asyncio.run(self._run(ref, seconds, rounds))

    async def _run(self, ref: Ref, seconds: float, rounds: int) -> None:
        until = self.world.clock.now().timestamp() + seconds
        failures = 0
        for _ in range(rounds):
            body = self.world.cluster.objects.get((ref.kind, ref.name))
            if body is None or self.world.clock.now().timestamp() > until:
                return
            try:
                wait = await self._reconcile(ref, body)
            except Exception as error:
                wait = min(15.0, 2.0 ** min(failures, 4))
                failures += 1
                try:
                    wait = max(wait, await record_error(self.ports, ref, error, log) or 0.0)
                except Exception:
                    log.info("The error cannot be recorded.")
            if wait is None:
                return
            self.world.clock.advance(wait)

    async def _reconcile(self, ref: Ref, body: Any) -> float | None:
        if ref.kind == BACKUP_KIND:
            return await reconcile_backup_object(self.ports, self.locks, parse_or_defaults(Backup.parse, body))
        if ref.kind == RESTORE_KIND:
            return await reconcile_restore(self.ports, self.locks, ref, log)
        if ref.kind == IMPORT_KIND:
            return await reconcile_import(self.ports, ref, log)
        await reconcile_schedule(self.schedule_parts, ref, log)
        return None


def make(kind: str) -> tuple[World, Ref]:
    """A world with a new object of that kind, which has something to do."""
    if kind == BACKUP_KIND:
        return with_backup()
    world, ref = with_restore(safetyBackup="Skip", healthCheck={"timeoutSeconds": 60, "consecutive": 2})
    if kind == RESTORE_KIND:
        return world, ref
    if kind == IMPORT_KIND:
        return world, world.cluster.add(IMPORT_KIND, "i", {"timeoutSeconds": 600})
    return world, world.cluster.add(SCHEDULE_KIND, "s", {"schedule": "0 2 * * *"})


def ended(world: World, ref: Ref) -> bool:
    """Whether the object has a final state for users: all conditions agree."""
    status = world.cluster.status(ref)
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    if ref.kind == SCHEDULE_KIND:
        return "Ready" in conditions
    return conditions.get("Finished") == "True" and bool(status.get("completionTime"))


def calls_of(kind: str) -> list[str]:
    """The names of the calls that a run without errors makes, each once."""
    world, ref = make(kind)
    names: list[str] = []

    def note(name: str, _: int) -> bool:
        names.append(name)
        return False

    Operator(world, Errors(note)).run(ref)
    assert ended(world, ref)
    return list(dict.fromkeys(names))


@pytest.mark.parametrize("kind", KINDS)
def test_one_unexpected_error_at_any_call_delays_the_end_only(kind: str) -> None:
    world, ref = make(kind)
    errors = Errors(lambda *_: False)
    Operator(world, errors).run(ref)
    expected = world.cluster.status(ref).get("phase")
    for number in range(1, errors.calls + 1):
        world, ref = make(kind)
        one = Errors(lambda _, call, number=number: call == number)  # type: ignore[misc]
        Operator(world, one).run(ref)
        assert ended(world, ref), (number, world.cluster.status(ref))
        assert world.cluster.status(ref).get("phase") == expected, (number, world.cluster.status(ref))


WITHOUT_STATUS = {"read", "write_status", "event"}
"""The calls without which no status or event can be written at all."""


@pytest.mark.parametrize("error", [UnexpectedError, lambda: ClusterError("HTTP 500"), lambda: KeyError("s3cret")])
@pytest.mark.parametrize("kind", KINDS)
def test_object_reaches_its_end_although_a_call_always_fails(kind: str, error: Callable[[], Exception]) -> None:
    for name in calls_of(kind):
        if name in WITHOUT_STATUS:
            continue
        world, ref = make(kind)
        errors = Errors(lambda one, _, name=name: one == name, error)  # type: ignore[misc]
        Operator(world, errors).run(ref, rounds=9 if kind == SCHEDULE_KIND else 1500)
        status = world.cluster.status(ref)
        assert ended(world, ref), (name, status)
        assert "s3cret" not in str(status)
        assert not any("s3cret" in note.message for note in world.cluster.events)
        if errors.raised > 1:
            reasons = {note.reason for note in world.cluster.events if note.warning}
            assert reasons & {"InternalError", "KubernetesError"}, (name, reasons)


@pytest.mark.parametrize("delete_file", [True, False])
def test_deletion_never_sticks_on_its_finalizer(delete_file: bool) -> None:
    for name in ("workload", "pods", "secret", "health", "delete_backup", "write_status", "event"):
        world, ref = with_backup()
        Operator(world, Errors(lambda *_: False)).run(ref)
        body = world.cluster.objects[(ref.kind, ref.name)]
        body["spec"]["deleteFile"] = delete_file
        body["metadata"]["finalizers"] = [FINALIZER]
        body["metadata"]["deletionTimestamp"] = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        started = world.clock.now()
        if name in ("write_status", "event"):
            errors = Errors(lambda one, number, name=name: one == name and number < 9)  # type: ignore[misc]
        else:
            errors = Errors(lambda one, _, name=name: one == name)  # type: ignore[misc]
        Operator(world, errors).run(ref)
        assert (ref.kind, ref.name) not in world.cluster.objects, name
        hours = (world.clock.now() - started).total_seconds() / 3600
        assert hours < 25, name
        if delete_file and name not in ("write_status", "event"):
            assert [note.reason for note in world.cluster.events][-1] == "FileKept"


SECRETS: dict[str, Secret | None] = {
    "key with a control character": Secret({}, {"admin-key": "a\x00b", "ca.crt": CA_BUNDLE}),
    "key in another language": Secret({}, {"admin-key": "ключ" * 8, "ca.crt": CA_BUNDLE}),
    "bundle with letters that are not ASCII": Secret({}, {"admin-key": "k" * 40, "ca.crt": f"für\n{CA_BUNDLE}"}),
    "no fields": Secret({}, {}),
    "none": None,
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("kind", [BACKUP_KIND, RESTORE_KIND, IMPORT_KIND])
def test_object_reaches_its_end_with_any_secret(kind: str, secret: str) -> None:
    world, ref = make(kind)
    world.cluster.tls = True
    value = SECRETS[secret]
    world.cluster.secrets = {} if value is None else {"gw-admin": value}
    Operator(world, Errors(lambda *_: False)).run(ref)
    assert ended(world, ref)


ODD_TIMES = [
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "2016-12-31T23:59:60Z",
    "2026-02-30T00:00:00Z",
    "2999-01-01T00:00:00.123456789Z",
    "2026-01-01T00:00:00+99:99",
    "tomorrow",
    "",
]
TIME_FIELDS = ["startTime", "nextRetryTime", "snapshotTime", "completionTime"]


@pytest.mark.parametrize("field", TIME_FIELDS)
@pytest.mark.parametrize("kind", [BACKUP_KIND, RESTORE_KIND, IMPORT_KIND])
def test_object_reaches_its_end_with_any_time_in_its_status(kind: str, field: str) -> None:
    for time in ODD_TIMES:
        world, ref = make(kind)
        body = world.cluster.objects[(ref.kind, ref.name)]
        phase = {BACKUP_KIND: "Running", RESTORE_KIND: "HealthCheck", IMPORT_KIND: "Running"}[kind]
        steps = [{"name": phase, "startTime": time}]
        body["status"] = {"phase": phase, "reason": "x", field: time, "steps": steps, "requestID": "r"}
        world.admin.failing = [AdminApiError("Unreachable", "no", retryable=True)] * 9999
        Operator(world, Errors(lambda *_: False)).run(ref)
        assert ended(world, ref), (time, world.cluster.status(ref))


UNREADABLE: list[dict[str, Any]] = [
    {"timeoutSeconds": "soon", "schedule": "0 2 * * *"},
    {"gatewayRef": "gw"},
    {"gatewayRef": {"name": "gw", "ordinal": "first"}},
]


@pytest.mark.parametrize("kind", KINDS)
def test_object_that_cannot_be_parsed_has_a_status_and_an_end(kind: str) -> None:
    for spec in UNREADABLE:
        if kind == SCHEDULE_KIND and "timeoutSeconds" in spec:
            continue
        world, _ = make(kind)
        ref = world.cluster.add(kind, "odd", spec)
        handled = parse_or_defaults(KINDS[kind], world.cluster.objects[(kind, "odd")])
        assert handled.meta.ref == ref  # type: ignore[attr-defined]
        Operator(world, Errors(lambda *_: False)).run(ref, rounds=100)
        assert ended(world, ref), (spec, world.cluster.status(ref))
        assert "InternalError" in {note.reason for note in world.cluster.events}
        assert ref.namespace == NAMESPACE
