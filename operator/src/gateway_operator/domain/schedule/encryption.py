"""The condition Encrypted of a schedule: whether anyone who can read the backup volume can read the gateway's keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from gateway_operator.domain.index.backup_index import BackupSummary, newest_restorable
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.conditions import Conditions
from gateway_operator.domain.model.reasons import Reason

ENCRYPTED: Final = "Encrypted"
_MESSAGES: Final = {
    Reason.Encrypted: "The newest backup is encrypted to the gateway's age recipients.",
    Reason.NotEncrypted: "The newest backup is not encrypted: anyone who can read the backup volume can read its keys. "
    "Set encryption.recipients in the gateway's chart; backups that exist stay as they are.",
}


def with_encryption(
    present: Conditions, backups: Iterable[BackupSummary], generation: int, now: datetime
) -> Conditions:
    """The conditions with Encrypted set from the newest restorable backup; without the condition if there is none.

    The messages name no backup, so that the status does not change with each backup.
    """
    newest = newest_restorable(backups)
    if newest is None:
        return conditions.without_condition(present, ENCRYPTED)
    reason = Reason.Encrypted if newest.encrypted else Reason.NotEncrypted
    message = _MESSAGES[reason]
    return conditions.with_condition(present, ENCRYPTED, newest.encrypted, str(reason), message, generation, now)
