"""Whether a schedule's recovery point objective is met: is the newest Verified backup young enough?

Only that counts. Why it is too old (a CronJob that is suspended, missing or late, backups that fail, an operator that
was down) is told elsewhere and makes no difference here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway_operator.domain import times
from gateway_operator.domain.reasons import Reason
from gateway_operator.domain.retention import span


@dataclass(frozen=True, slots=True)
class Verdict:
    """The condition ObjectiveMet."""

    met: bool
    reason: Reason
    message: str
    """Without the age of anything, so that it stays the same for as long as nothing happens."""


def judge(max_age: timedelta, newest: datetime | None, created: datetime, now: datetime) -> Verdict:
    """``newest``: when the config of the newest Verified backup was read; without one, the schedule's age counts."""
    since = created if newest is None else newest
    met = now - since <= max_age
    limit = f"objective.maxAge is {span(max_age)}"
    if newest is None:
        said = f"There is no Verified backup since the schedule was created at {times.text(created)}; {limit}."
    else:
        said = f"The newest Verified backup is of {times.text(newest)}; {limit}."
    if met:
        return Verdict(True, Reason.ObjectiveMet, said)
    return Verdict(False, Reason.ObjectiveMissed, f"{said} That is exceeded.")
