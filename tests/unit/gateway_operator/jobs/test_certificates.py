"""Tests of the certificate that the chart's hook creates for the admin API."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509

from gateway_operator.jobs.certificates import make

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_certificate_is_valid_for_its_names_only() -> None:
    bundle = make("gw", "prod", NOW)
    certificate = x509.load_pem_x509_certificate(bundle.certificate.encode())
    names_in_it = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names_in_it.get_values_for_type(x509.DNSName) == [
        "gw.prod.svc",
        "gw.prod.svc.cluster.local",
        "gw",
        "localhost",
    ]
    assert [str(one) for one in names_in_it.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    ca = x509.load_pem_x509_certificate(bundle.ca.encode())
    certificate.verify_directly_issued_by(ca)
    assert certificate.not_valid_after_utc - NOW > timedelta(days=3640)
    assert certificate.not_valid_before_utc < NOW
    assert bundle.key not in repr(bundle)
    ssl.create_default_context(cadata=bundle.ca)
    assert len(make("g" * 63, "n" * 63, NOW).certificate) > 100
