"""TLS to the admin API: the annotated CA and the gateway's own name, and never plain HTTP beside it."""

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
    """A gateway whose admin API speaks TLS, with the Secrets that the chart's hook makes."""
    with tls_gateway(kube, tmp_path, create=False) as found:
        yield found


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
    """Signed by the right CA, but served for another name: another gateway's pod."""
    secured.gateway.name = "gw2"
    secured.gateway.create()
    kube.apply_backup("misled", retryLimit=0, gatewayRef={"name": "gw2"})
    assert kube.wait_phase("gwb", "misled", "Failed")["reason"] == "CertificateNotTrusted"


def test_invalid_ca_is_reported_as_certificate_missing(kube: Kube, secured: RealGateway) -> None:
    secured.gateway.ca = "nothing of the kind"
    secured.gateway.create()
    kube.apply_backup("nonsense", retryLimit=0)
    assert kube.wait_phase("gwb", "nonsense", "Failed")["reason"] == "CertificateMissing"


def test_hook_creates_missing_secrets_and_replaces_nothing(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))
    command = ["make-secrets", "--namespace", kube.namespace, "--workload", "gw", "--admin-secret", "gw-admin"]
    command += ["--tls-secret", "gw-admin-tls", "--label", "app=gw"]
    assert main(command) == 0
    admin, tls = kube.get("secret", "gw-admin"), kube.get("secret", "gw-admin-tls")
    assert admin is not None
    assert tls is not None
    assert tls["type"] == "kubernetes.io/tls"
    assert admin["metadata"]["labels"] == {"app": "gw"}
    assert admin["data"]["ca.crt"] == tls["data"]["ca.crt"]
    assert len(base64.b64decode(admin["data"]["admin-key"])) >= 64
    assert main(command) == 0
    assert kube.get("secret", "gw-admin") == admin
    assert kube.get("secret", "gw-admin-tls") == tls
    # A crash between the two, or a person who deleted one.
    kube.kubectl("delete", "secret/gw-admin")
    assert main(command) == 0
    again = kube.require("secret", "gw-admin")
    assert again["data"]["ca.crt"] == tls["data"]["ca.crt"]
    # A Secret that somebody made with other things in it keeps them.
    kube.kubectl("delete", "secret/gw-admin")
    kube.kubectl("create", "secret", "generic", "gw-admin", "--from-literal=admin-key=theirs", "--from-literal=x=y")
    assert main(command) == 0
    theirs = kube.require("secret", "gw-admin")
    assert theirs["data"]["admin-key"] == base64.b64encode(b"theirs").decode()
    assert theirs["data"]["x"] == base64.b64encode(b"y").decode()
    assert theirs["data"]["ca.crt"] == tls["data"]["ca.crt"]
