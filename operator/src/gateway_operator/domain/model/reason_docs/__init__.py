"""The meaning of every reason and the remedy for it.

`docs/concepts.md` contains this list as a table, and a unit test compares the two.
"""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.model.reason_docs.backup_reasons import BACKUP_REASONS
from gateway_operator.domain.model.reason_docs.drill_reasons import DRILL_REASONS
from gateway_operator.domain.model.reason_docs.meaning import Meaning
from gateway_operator.domain.model.reason_docs.restore_reasons import RESTORE_REASONS
from gateway_operator.domain.model.reason_docs.schedule_reasons import SCHEDULE_REASONS
from gateway_operator.domain.model.reasons import Reason

REASONS: Final[dict[Reason, Meaning]] = {
    **BACKUP_REASONS,
    **RESTORE_REASONS,
    **DRILL_REASONS,
    **SCHEDULE_REASONS,
}
