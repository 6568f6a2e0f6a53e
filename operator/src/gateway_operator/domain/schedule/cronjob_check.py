"""Decides whether one CronJob of a schedule must be created, corrected or deleted, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway_operator.domain.gateway.grants import account_line
from gateway_operator.domain.model.actions import KubernetesEvent
from gateway_operator.domain.model.names import backup_account
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.schedule.drift import correction, differences, is_owned_by, spec_digest
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class CronJobError:
    """Why the CronJob could not be read or written in this run."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class CronJobObservation:
    """A CronJob as it was read. ``corrected``: this run has written it already."""

    body: Json | None
    error: CronJobError | None = None
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class CreateCronJob:
    """Create a CronJob of the schedule."""

    body: Json
    event: KubernetesEvent

    @property
    def name(self) -> str:
        """The name of the CronJob."""
        return str(self.body["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class CorrectCronJob:
    """Correct a CronJob with a merge patch."""

    name: str
    patch: Json
    event: KubernetesEvent


@dataclass(frozen=True, slots=True)
class DeleteCronJob:
    """Delete a CronJob that the schedule no longer wants, in the version that was read."""

    name: str
    uid: str
    resource_version: str
    event: KubernetesEvent


CronJobAction = CreateCronJob | CorrectCronJob | DeleteCronJob


@dataclass(frozen=True, slots=True)
class CronJobCondition:
    """The reason and the message of a condition about a CronJob."""

    reason: Reason
    message: str


def blocked(schedule: GatewayBackupSchedule, name: str, observed: CronJobObservation) -> CronJobCondition | None:
    """Why the CronJob of this name cannot be written now; None if it can."""
    if observed.error is not None:
        return CronJobCondition(observed.error.reason, observed.error.message)
    if observed.body is not None and not is_owned_by(schedule, observed.body):
        return CronJobCondition(
            Reason.NameConflict,
            f"The CronJob {name} does not belong to this schedule and is not changed. Delete it, or give the "
            "schedule another name.",
        )
    if observed.body is not None and observed.body["metadata"].get("deletionTimestamp"):
        message = f"CronJob {name} is being deleted; afterwards it is created again."
        return CronJobCondition(Reason.CronJobDeleting, message)
    return None


def check(
    desired: Json,
    observed: CronJobObservation,
    recorded: str,
    missing_account: CronJobCondition | None,
) -> CronJobCondition | CreateCronJob | CorrectCronJob | None:
    """The action for a CronJob that is not ``blocked``, or its problem; None if there is nothing to do.

    ``recorded`` is the name in the status: a CronJob that is recorded and missing was deleted by someone.
    """
    name, existing = str(desired["metadata"]["name"]), observed.body
    if existing is None:
        return missing_account or _create(name, desired, recorded)
    different = differences(desired, existing)
    # One correction a run: a second one would loop with the webhook that changes the CronJob.
    if different and observed.corrected:
        message = f"Something changes CronJob {name} on every write ({_fields(different)}); check webhooks."
        return CronJobCondition(Reason.CronJobOverruled, message)
    return _correct(name, desired, existing, different) if different else missing_account


def missing_account(schedule: GatewayBackupSchedule, has_account: bool | None) -> CronJobCondition | None:
    """The problem of a ServiceAccount that does not exist; None if it exists, or cannot be read."""
    if has_account is not False:
        return None
    name, namespace = backup_account(schedule.gateway.name), schedule.meta.ref.namespace
    return CronJobCondition(
        Reason.ServiceAccountMissing,
        f"There is no ServiceAccount {name}, which the CronJob's pods use to create GatewayBackups. The gateway's "
        f"chart creates it; by hand: {account_line(namespace, schedule.gateway.name)}",
    )


def _create(name: str, desired: Json, recorded: str) -> CreateCronJob:
    if recorded == name:
        message = f"CronJob {name} was missing and was created again."
        return CreateCronJob(desired, KubernetesEvent(str(Reason.CronJobRestored), message, warning=True))
    return CreateCronJob(desired, KubernetesEvent(str(Reason.CronJobCreated), f"CronJob {name} was created."))


def _correct(name: str, desired: Json, existing: Json, different: Sequence[str]) -> CorrectCronJob:
    patch = correction(desired, existing)
    if spec_digest(existing) != spec_digest(desired):
        message = f"CronJob {name} was updated from its schedule."
        return CorrectCronJob(name, patch, KubernetesEvent(str(Reason.CronJobUpdated), message))
    generation = existing["metadata"].get("generation", 0)
    details = f"generation {generation}: {_fields(different)}"
    message = f"Someone changed CronJob {name} ({details}). The change was reverted: change the schedule instead."
    return CorrectCronJob(name, patch, KubernetesEvent(str(Reason.CronJobRestored), message, warning=True))


def deletion(name: str, existing: Json) -> DeleteCronJob:
    """The deletion of a CronJob that its schedule no longer wants."""
    meta = existing["metadata"]
    event = KubernetesEvent(str(Reason.CronJobDeleted), f"CronJob {name} was deleted: the schedule has no drills.")
    return DeleteCronJob(name, str(meta["uid"]), str(meta["resourceVersion"]), event)


def _fields(different: Sequence[str]) -> str:
    return ", ".join(different[:_SHOWN]) + (" and more" if len(different) > _SHOWN else "")
