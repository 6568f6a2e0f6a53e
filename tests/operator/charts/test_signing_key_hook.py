"""The hook that makes a gateway's signing key, on a real API server: once, and its public half beside it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gateway_api.repository import signing
from gateway_operator.jobs.signing_keys import new_private_key
from gateway_operator.main import main
from tests.operator.support.workloads import Kube

pytestmark = pytest.mark.cluster
NAME = "gw-signing"


@pytest.fixture
def command(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the chart's Job runs."""
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))
    return ["make-secrets", "--namespace", kube.namespace, "--workload", "gw", "--signing-secret", NAME]


def secret(kube: Kube) -> str:
    """The private key in the Secret."""
    found = kube.get("secret", NAME)
    assert found is not None
    return base64.b64decode(found["data"]["signing-key.pem"]).decode()


def public(kube: Kube) -> dict[str, str]:
    """The ConfigMap."""
    found = kube.get("configmap", NAME)
    assert found is not None
    data: dict[str, str] = found["data"]
    return data


def test_the_key_is_made_once_and_its_public_half_can_be_read(kube: Kube, command: list[str]) -> None:
    assert main(command) == 0
    pem, told = secret(kube), public(kube)
    # The admin API reads both as they are.
    signer = signing.load_signer(pem.encode())
    assert signing.load_trusted(told["public-key.pem"]) == {told["key-id"]: signer.public}
    assert told["key-id"] == signer.key_id
    assert "PRIVATE" not in str(told)
    assert main(command) == 0
    assert (secret(kube), public(kube)) == (pem, told)


@pytest.mark.parametrize("lost", ["nothing", "the ConfigMap"])
def test_the_public_half_follows_a_key_that_a_person_changed(kube: Kube, command: list[str], lost: str) -> None:
    assert main(command) == 0
    before = public(kube)
    if lost == "the ConfigMap":  # or a crash between the two
        kube.run("delete", "configmap", NAME)
    mine = new_private_key()
    encoded = base64.b64encode(mine.encode()).decode()
    kube.run("patch", "secret", NAME, "-p", f'{{"data": {{"signing-key.pem": "{encoded}"}}}}')
    assert main(command) == 0
    assert secret(kube) == mine
    assert public(kube)["key-id"] == signing.load_signer(mine.encode()).key_id != before["key-id"]


def test_what_is_no_key_is_left_alone_and_told(
    kube: Kube, command: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key").write_text("canary-no-key")
    kube.run("create", "secret", "generic", NAME, f"--from-file=signing-key.pem={tmp_path / 'key'}")
    assert main(command) == 0
    assert secret(kube) == "canary-no-key"
    assert kube.get("configmap", NAME) is None
    assert "holds no private key" in caplog.text
    assert "canary" not in caplog.text
