"""Tests of the admin keys and CA certificates that people put into Secrets."""

from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.adapters.gateway_objects import GatewayObjects
from gateway_operator.domain.gateway.credentials import admin_keys, certificates, secret_text
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.jobs.certificates import make
from gateway_operator.ports import AdminTarget, Secret
from gateway_operator.reconcile.gateway_lookup import resolve_gateway
from tests.unit.gateway_operator.simulation.faults import World

CA = make("gw", "prod", datetime.now(UTC)).ca
BUNDLES: dict[str, bytes] = {
    "plain": CA.encode(),
    "UTF-8 byte order mark": b"\xef\xbb\xbf" + CA.encode(),
    "UTF-16": CA.encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + CA.encode("utf-16-be"),
    "comment in Latin-1": "# Zertifikat f\xfcr das Gateway\n".encode("latin-1") + CA.encode(),
    "comment in UTF-8": f"# Für das Gateway 证书\n{CA}".encode(),
    "binary between two": CA.encode() + bytes(range(256)) + CA.encode(),
    "CRLF": CA.replace("\n", "\r\n").encode(),
    "text output of openssl": b"Certificate:\n    Data:\n" + CA.encode(),
    "its private key before it": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + CA.encode(),
}


@pytest.mark.parametrize("case", BUNDLES)
def test_only_the_certificates_of_a_ca_bundle_count(case: str) -> None:
    bundle = certificates(secret_text(BUNDLES[case]))
    assert bundle is not None
    assert bundle.isascii()
    assert "PRIVATE" not in bundle
    assert ssl.create_default_context(cadata=bundle).cert_store_stats()["x509_ca"] == 1


@given(before=st.binary(max_size=80), after=st.binary(max_size=80))
def test_no_bytes_around_a_certificate_hide_it(before: bytes, after: bytes) -> None:
    if before[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        assert certificates(secret_text(before + b"\n" + CA.encode() + after)) is not None


NO_BUNDLES = [
    "",
    "no certificate",
    "-----BEGIN CERTIFICATE-----\nYQ==",
    "-----BEGIN PUBLIC KEY-----\nYQ==\n-----END PUBLIC KEY-----",
    # An owner of a namespace can put this into a Secret: it must not stop the operator.
    "-----BEGIN CERTIFICATE-----" + "\n" * (1 << 20) + "!",
    "-----BEGIN CERTIFICATE-----\n" * 40_000,
]


@pytest.mark.parametrize("text", NO_BUNDLES, ids=range(len(NO_BUNDLES)))
def test_bundle_without_a_certificate_is_reported(text: str) -> None:
    assert certificates(text) is None
    world = World()
    world.cluster.tls = True
    world.cluster.secrets["gw-admin"] = Secret({}, {"admin-key": "k" * 40, "ca.crt": text})
    problem = asyncio.run(resolve_gateway(world.plain, "prod", GatewayRef("Deployment", "gw"))).gateway
    assert isinstance(problem, GatewayProblem)
    assert problem.reason == "CertificateMissing"


KEYS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "one": (b"key-1", ("key-1",)),
    "white space around it": (b"\n  key-1\r\n\n", ("key-1",)),
    "two": (b"key-1\nkey-2\n", ("key-1", "key-2")),
    "CRLF and CR": (b"key-1\r\nkey-2\rkey-3", ("key-1", "key-2", "key-3")),
    "the same twice": (b"key-1\nkey-1", ("key-1",)),
    "byte order mark": (b"\xef\xbb\xbfkey-1", ("key-1",)),
    "UTF-16 of a Windows shell": ("key-1\r\n".encode("utf-16"), ("key-1",)),
    "one of two cannot be sent": (b"key\x001\nkey-2", ("key-2",)),
    "letters of any language": ("sch\xfcssel".encode(), ("sch\xfcssel",)),
    "none": (b"key\x001\n\x7f", ()),
}


@pytest.mark.parametrize("case", KEYS)
def test_each_line_of_the_secret_is_a_key(case: str) -> None:
    value, expected = KEYS[case]
    assert admin_keys(secret_text(value))[0] == expected


def test_key_that_no_header_can_carry_is_reported_without_its_content() -> None:
    world = World()
    world.cluster.secrets["gw-admin"] = Secret({}, {"admin-key": "s3c\x00ret\ns3c\x1bret", "ca.crt": "x"})
    problem = asyncio.run(resolve_gateway(world.plain, "prod", GatewayRef("Deployment", "gw"))).gateway
    assert isinstance(problem, GatewayProblem)
    assert problem.reason == "AdminKeyInvalid"
    assert "line 1, 2 of key admin-key in Secret gw-admin" in problem.message
    assert "s3c" not in problem.message


class KeyedApi(HttpAdminApi):
    """An admin API that accepts one key, and records the keys that it gets."""

    def __init__(self, accepted: str) -> None:
        super().__init__()
        self.accepted = accepted
        self.presented: list[str] = []

    async def _exchange(self, target: AdminTarget, key: str, *_: Any) -> tuple[int, dict[str, str], bytes]:
        self.presented.append(key)
        return (200 if key == self.accepted else 401), {}, b"{}"


async def test_each_key_is_tried_and_the_accepted_one_comes_first() -> None:
    target = AdminTarget(Endpoint("gw-1", "10.0.0.1", 8001, False, None, True, "admin"), ("a", "b", "c"))
    api = KeyedApi("b")
    for _ in range(2):
        assert (await api._try_keys(target, "GET", "/", None, 1))[0] == 200
    assert api.presented == ["a", "b", "b"]
    api.accepted = "c"
    await api._try_keys(target, "GET", "/", None, 1)
    assert api.presented[3:] == ["b", "a", "c"]
    api.accepted = "none"
    assert (await api._try_keys(target, "GET", "/", None, 1))[0] == 401


async def test_every_value_of_a_secret_has_a_text() -> None:
    class Api(GatewayObjects):
        async def request(self, *_: Any, **__: Any) -> dict[str, Any]:
            data = {"a": b"\xff\xfe\xfd", "b": b"\xfc", "c": b""}
            return {
                "metadata": {"resourceVersion": "1"},
                "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
            }

    secret = await Api(None).secret("prod", "x")  # type: ignore[arg-type]
    assert secret is not None
    assert set(secret.fields) == {"a", "b", "c"}
