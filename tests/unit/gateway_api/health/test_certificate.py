"""The end of the TLS certificate in the detailed health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway_api.health import certificate
from gateway_operator.jobs.certificates import make

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_end_of_the_served_certificate_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    path.write_text(make("gw", "prod", NOW).certificate)
    assert certificate.read_end(path) == NOW + timedelta(days=365)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_unreadable_certificate_has_no_end(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    if content is not None:
        path.write_bytes(content)
    assert certificate.read_end(path) is None
    assert certificate.read_end(None) is None


@pytest.mark.parametrize(
    ("left", "verb"), [(365, None), (31, None), (30, "ends"), (1, "ends"), (0, "ended"), (-400, "ended")]
)
def test_warning_begins_a_month_before_the_end(left: int, verb: str | None) -> None:
    issue = certificate.warning(NOW + timedelta(days=left), NOW)
    assert (issue is None) == (verb is None)
    if issue is not None:
        assert issue.code == "CertificateExpiring"
        assert f"certificate {verb} on" in issue.message
    assert certificate.warning(None, NOW) is None
