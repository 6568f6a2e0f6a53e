"""TLS to the admin API: the operator checks the annotated CA and the gateway's name, and never uses plain HTTP."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway_operator.jobs.certificates import make
from gateway_operator.main import main
from tests.operator.support.real_gateway import RealGateway, tls_gateway
from tests.operator.support.workloads import Kube

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


@pytest.fixture
def secured(kube: Kube, tmp_path: Path) -> Iterator[RealGateway]:
    """A gateway with TLS. Its Deployment is not created yet."""
    with tls_gateway(kube, tmp_path, create=False) as gateway:
        yield gateway


def test_backup_over_tls_completes(kube: Kube, secured: RealGateway) -> None:
    secured.gateway.create()
    kube.complete_backup("sealed")
    assert len(secured.backup_files()) == 1


def test_certificate_of_another_ca_is_not_trusted(kube: Kube, secured: RealGateway) -> None:
    secured.gateway.ca = make("gw", kube.namespace, datetime.now(UTC)).ca
    secured.gateway.create()
    kube.apply_backup("distrusted", retryLimit=0)
    assert kube.wait_phase("gwb", "distrusted", "Failed")["reason"] == "CertificateNotTrusted"
    assert secured.backup_files() == []


def test_certificate_of_another_gateway_is_not_trusted(kube: Kube, secured: RealGateway) -> None:
    """The certificate is signed by the right CA but has the name of another gateway."""
    secured.gateway.name = "gw2"
    secured.gateway.create()
    kube.apply_backup("misled", retryLimit=0, gatewayRef={"name": "gw2"})
    assert kube.wait_phase("gwb", "misled", "Failed")["reason"] == "CertificateNotTrusted"


def test_invalid_ca_is_reported_as_certificate_missing(kube: Kube, secured: RealGateway) -> None:
    secured.gateway.ca = "not a certificate"
    secured.gateway.create()
    kube.apply_backup("nonsense", startingDeadlineSeconds=3)
    assert kube.wait_phase("gwb", "nonsense", "Failed")["reason"] == "CertificateMissing"


def test_hook_creates_missing_secrets_and_replaces_nothing(kube: Kube, kubeconfig_env: None) -> None:
    command = ["make-secrets", "--namespace", kube.namespace, "--workload", "gw", "--admin-secret", "gw-admin"]
    command += ["--tls-secret", "gw-admin-tls", "--label", "app=gw"]
    assert main(command) == 0
    admin, tls = kube.require("secret", "gw-admin"), kube.require("secret", "gw-admin-tls")
    assert tls["type"] == "kubernetes.io/tls"
    assert admin["metadata"]["labels"] == {"app": "gw"}
    assert admin["data"]["ca.crt"] == tls["data"]["ca.crt"]
    assert len(base64.b64decode(admin["data"]["admin-key"])) >= 64
    assert main(command) == 0
    assert kube.get("secret", "gw-admin") == admin
    assert kube.get("secret", "gw-admin-tls") == tls
    # One of the two Secrets is missing: after a crash between the writes, or because a user deleted it.
    kube.kubectl("delete", "secret/gw-admin")
    assert main(command) == 0
    recreated = kube.require("secret", "gw-admin")
    assert recreated["data"]["ca.crt"] == tls["data"]["ca.crt"]
    # An existing Secret keeps its data.
    kube.kubectl("delete", "secret/gw-admin")
    kube.kubectl("create", "secret", "generic", "gw-admin", "--from-literal=admin-key=theirs", "--from-literal=x=y")
    assert main(command) == 0
    existing = kube.require("secret", "gw-admin")
    assert existing["data"]["admin-key"] == base64.b64encode(b"theirs").decode()
    assert existing["data"]["x"] == base64.b64encode(b"y").decode()
    assert existing["data"]["ca.crt"] == tls["data"]["ca.crt"]
