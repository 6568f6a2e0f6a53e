"""Creates and renews the CA and the server certificate of one gateway's admin API.

The CA's private key is never stored, so no second certificate can be signed with it. The Secret with the CA
certificate can therefore be readable for every client of the gateway. A renewal creates a new CA. Clients trust the old
and the new CA until the next renewal.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY: Final = timedelta(days=365)
_BACKDATED: Final = timedelta(hours=1)
"""The certificate is valid from an hour ago, because a client whose clock is behind would reject a later start."""
_COMMON_NAME_LIMIT: Final = 64


@dataclass(frozen=True)
class CertificateBundle:
    """PEM texts of the server certificate, its CA and its private key. ``repr`` does not show them."""

    certificate: str
    ca: str
    key: str

    def __repr__(self) -> str:
        return "CertificateBundle(…)"


def dns_names(workload: str, namespace: str) -> list[str]:
    """The DNS names of a gateway's admin API; the first one is the name that the operator verifies."""
    return [f"{workload}.{namespace}.svc", f"{workload}.{namespace}.svc.cluster.local", workload, "localhost"]


def make(workload: str, namespace: str, now: datetime) -> CertificateBundle:
    """Create a new CA and a server certificate that it has signed."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _ca_name(workload)
    until = now + VALIDITY
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    addresses = [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
    names = [x509.DNSName(name) for name in dns_names(workload, namespace)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(dns_names(workload, namespace)[0]))
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return CertificateBundle(_pem(certificate), _pem(ca), private.decode())


def is_renewal_due(certificate: str, workload: str, now: datetime) -> bool:
    """Whether two thirds of the validity have passed. False for a certificate that this program did not create."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return False
    if parsed.issuer != _ca_name(workload):
        return False
    start, end = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    return end - now < (end - start) / 3


def trust_during_renewal(new: CertificateBundle, certificate: str, trusted: str) -> str:
    """The new CA and the one that signed the current certificate, as PEM. Other CAs in ``trusted`` are dropped."""
    current = x509.load_pem_x509_certificate(certificate.encode())
    return new.ca + "".join(_pem(ca) for ca in _certificates(trusted) if _has_signed(ca, current))


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return []


def _has_signed(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _ca_name(workload: str) -> x509.Name:
    return _name(f"{workload} admin API CA")


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME_LIMIT])])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
