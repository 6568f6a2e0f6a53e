"""Approvals of deletions that a hold has stopped.

The operator writes a nonce for each such hold into the schedule's status. A person approves by quoting it in an
annotation. The nonce is a digest of the schedule's uid and generation and of the exact cause. So an approval ends with
the policy and the plan that it was given for. No manifest can contain it in advance.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway_operator.domain.model.names import APPROVE_DELETIONS, canonical_digest
from gateway_operator.domain.schedule.resource import GatewayBackupSchedule

_NONCE_LENGTH: Final = 16


def approval_nonce(schedule: GatewayBackupSchedule, reason: str, cause: Iterable[str]) -> str:
    """The nonce of one hold. ``cause`` names the objects and files that the hold is about."""
    meta = schedule.meta
    return canonical_digest([meta.ref.uid, meta.generation, reason, sorted(cause)])[:_NONCE_LENGTH]


def approved_nonces(schedule: GatewayBackupSchedule) -> frozenset[str]:
    """The nonces that a person has quoted."""
    text = schedule.meta.annotations.get(APPROVE_DELETIONS)
    return frozenset(str(text).split(",")) if text else frozenset()
