"""The end of the TLS certificate in the detailed health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway_api.health import certificate
from gateway_api.health.certificate import CertificateFile
from gateway_operator.jobs.certificates import make

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_end_of_the_served_certificate_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    path.write_text(make("gw", "prod", NOW).certificate)
    assert CertificateFile(path).end() == NOW + timedelta(days=365)


def test_certificate_is_parsed_again_only_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    path.write_text(make("gw", "prod", NOW).certificate)
    file = CertificateFile(path)
    with pytest.MonkeyPatch.context() as patch:
        reads = 0
        read_bytes = Path.read_bytes

        def count(read: Path) -> bytes:
            nonlocal reads
            reads += 1
            return read_bytes(read)

        patch.setattr(Path, "read_bytes", count)
        ends = [file.end() for _ in range(3)]
        renewed = tmp_path / "renewed"
        renewed.write_text(make("gw", "prod", NOW + timedelta(days=30)).certificate)
        renewed.rename(path)
        ends += [file.end() for _ in range(3)]
        path.unlink()
        ends.append(file.end())
    assert reads == 2
    assert ends == [*[NOW + timedelta(days=365)] * 3, *[NOW + timedelta(days=395)] * 3, None]


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_unreadable_certificate_has_no_end(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    if content is not None:
        path.write_bytes(content)
    assert CertificateFile(path).end() is None
    assert CertificateFile(None).end() is None


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
