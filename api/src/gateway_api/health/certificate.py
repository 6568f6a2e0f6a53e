"""Reads when the TLS certificate ends, so that health and metrics show it in time.

The file is parsed only when it has changed: health is requested every few seconds, the certificate is renewed a few
times a year.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from gateway_api.contract import CERTIFICATE_WARNING_DAYS, Issue

WARNING_BEFORE: Final = timedelta(days=CERTIFICATE_WARNING_DAYS)


class CertificateFile:
    """The file of the served certificate, None without TLS. Each call of :meth:`end` looks for a changed file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._parsed: tuple[tuple[int, int, int], datetime | None] | None = None

    def end(self) -> datetime | None:
        """When the first certificate of the file ends; None without a file or with one that is no certificate."""
        if self._path is None:
            return None
        try:
            info = self._path.stat()
        except OSError:
            return None
        stamp, parsed = (info.st_mtime_ns, info.st_size, info.st_ino), self._parsed
        if parsed is None or parsed[0] != stamp:
            # The stamp is older than the content. A file that changes in between is read again by the next call.
            self._parsed = parsed = (stamp, _read_end(self._path))
        return parsed[1]


def _read_end(path: Path) -> datetime | None:
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
    message = f"the TLS certificate {verb} on {end:%Y-%m-%d}; renew it, or check the Job that should have renewed it"
    return Issue(code="CertificateExpiring", where="tls", message=message)
