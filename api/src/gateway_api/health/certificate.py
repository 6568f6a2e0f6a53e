"""Reads when the TLS certificate ends, so that health and metrics show it in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from gateway_api.contract import CERTIFICATE_WARNING_DAYS, Issue

WARNING_BEFORE: Final = timedelta(days=CERTIFICATE_WARNING_DAYS)


def read_end(path: Path | None) -> datetime | None:
    """When the first certificate of the file ends; None without a file or with one that is no certificate."""
    if path is None:
        return None
    # A server without TLS does not need this part of the library, which takes 2 MiB.
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def warning(end: datetime | None, now: datetime) -> Issue | None:
    """The warning that the certificate ends within a month, or has ended."""
    if end is None or end - now > WARNING_BEFORE:
        return None
    verb = "ended" if end <= now else "ends"
    message = f"the TLS certificate {verb} on {end:%Y-%m-%d}; renew it, or look at the Job that should have renewed it"
    return Issue(code="CertificateExpiring", where="tls", message=message)
