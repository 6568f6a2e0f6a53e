"""Decides after a run of a backup that ended with an exception, so nothing was observed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gateway_operator.domain.backup.decide import (
    BackupObservation,
    after_failure,
    deadline,
    deadline_exceeded,
    is_terminal,
)
from gateway_operator.domain.model.actions import BackupAction, Done
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.resources import Backup


def after_error(backup: Backup, failure: Failure, now: datetime) -> BackupAction:
    """The action after a run that ended with an exception: retry as after a failed call, or end at the deadline."""
    if is_terminal(backup) or backup.meta.deleting_since:
        return Done()
    observed = BackupObservation(replace(backup, status={**backup.status, "failure": failure.status()}))
    if now >= deadline(backup):
        return deadline_exceeded(observed, now)
    return after_failure(observed, failure, now)
