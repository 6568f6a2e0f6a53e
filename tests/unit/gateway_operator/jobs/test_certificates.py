"""Tests of the certificate that the chart's hook creates for the admin API."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509

from gateway_operator.jobs.certificates import VALIDITY, is_renewal_due, make, trust_during_renewal

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
    assert certificate.not_valid_after_utc - NOW == VALIDITY
    assert certificate.not_valid_before_utc < NOW
    assert bundle.key not in repr(bundle)
    ssl.create_default_context(cadata=bundle.ca)
    assert len(make("g" * 63, "n" * 63, NOW).certificate) > 100


def test_renewal_is_due_when_two_thirds_of_the_validity_have_passed() -> None:
    certificate = make("gw", "prod", NOW).certificate
    for days, due in ((0, False), (240, False), (245, True), (364, True), (400, True)):
        assert is_renewal_due(certificate, "gw", NOW + timedelta(days=days)) is due


def test_only_a_certificate_of_this_program_is_renewed() -> None:
    late = NOW + timedelta(days=364)
    assert not is_renewal_due(make("other", "prod", NOW).certificate, "gw", late)
    assert not is_renewal_due("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "gw", late)
    assert not is_renewal_due("", "gw", late)


def test_clients_trust_both_certificates_during_a_renewal() -> None:
    first, second, third = (make("gw", "prod", NOW) for _ in range(3))
    trusted = trust_during_renewal(second, first.certificate, first.ca)
    assert trusted == second.ca + first.ca
    # A repetition after a crash trusts the CA of the current certificate and the newest one, and no other.
    assert trust_during_renewal(third, first.certificate, trusted) == third.ca + first.ca
    assert trust_during_renewal(third, second.certificate, trusted) == third.ca + second.ca
    for damaged in ("", "no PEM"):
        assert trust_during_renewal(second, first.certificate, damaged) == second.ca
    assert len(ssl.create_default_context(cadata=trusted).get_ca_certs()) == 2
