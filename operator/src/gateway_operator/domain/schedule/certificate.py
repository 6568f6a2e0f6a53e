"""The condition CertificateValid of a schedule: when the TLS certificate of its gateway's admin API ends.

The condition is on the schedule, because people watch schedules. After the end of the certificate no backup succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway_api.contract import CERTIFICATE_WARNING_DAYS
from gateway_operator.domain.model import timestamps
from gateway_operator.domain.model.reasons import Reason

CERTIFICATE_VALID: Final = "CertificateValid"


@dataclass(frozen=True, slots=True)
class CertificateResult:
    """The value of the condition CertificateValid."""

    valid: bool
    reason: Reason
    message: str
    """It contains no number of days, so that it does not change while nothing happens."""


def check_certificate(end: datetime, now: datetime) -> CertificateResult:
    """Whether the certificate is valid for at least another ``CERTIFICATE_WARNING_DAYS``."""
    day = timestamps.text(end)
    remedy = "Renew it, or fix the Job that renews it: kubectl get cronjobs,jobs."
    if end <= now:
        message = f"The TLS certificate of the admin API ended at {day}; calls to it fail. {remedy}"
        return CertificateResult(False, Reason.CertificateExpired, message)
    if end - now <= timedelta(days=CERTIFICATE_WARNING_DAYS):
        message = f"The TLS certificate of the admin API ends at {day}. {remedy}"
        return CertificateResult(False, Reason.CertificateExpiring, message)
    return CertificateResult(True, Reason.CertificateValid, f"The TLS certificate of the admin API ends at {day}.")
