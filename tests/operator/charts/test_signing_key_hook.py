"""The hook that creates a gateway's signing key once, in a Secret, and its public half in a ConfigMap."""

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
    """The command line of the chart's hook Job."""
    monkeypatch.setenv("KUBECONFIG", str(kube.cluster.kubeconfig))
    return ["make-secrets", "--namespace", kube.namespace, "--workload", "gw", "--signing-secret", NAME]


def private_key(kube: Kube) -> str:
    """The private key in the Secret, as PEM."""
    return base64.b64decode(kube.require("secret", NAME)["data"]["signing-key.pem"]).decode()


def published(kube: Kube) -> dict[str, str]:
    """The data of the ConfigMap: `public-key.pem` and `key-id`."""
    data: dict[str, str] = kube.require("configmap", NAME)["data"]
    return data


def test_hook_creates_the_key_once_and_publishes_the_public_half(kube: Kube, command: list[str]) -> None:
    assert main(command) == 0
    pem, public_data = private_key(kube), published(kube)
    # Both are valid input for the admin API without any conversion.
    signer = signing.load_signer(pem.encode())
    assert signing.load_trusted(public_data["public-key.pem"]) == {public_data["key-id"]: signer.public}
    assert public_data["key-id"] == signer.key_id
    assert "PRIVATE" not in str(public_data)
    assert main(command) == 0
    assert (private_key(kube), published(kube)) == (pem, public_data)


@pytest.mark.parametrize("lost", ["nothing", "the ConfigMap"])
def test_public_half_is_updated_after_the_key_was_replaced(kube: Kube, command: list[str], lost: str) -> None:
    assert main(command) == 0
    before = published(kube)
    if lost == "the ConfigMap":  # as after a crash between the writes of Secret and ConfigMap
        kube.kubectl("delete", "configmap", NAME)
    replacement = new_private_key()
    encoded = base64.b64encode(replacement.encode()).decode()
    kube.kubectl("patch", "secret", NAME, "-p", f'{{"data": {{"signing-key.pem": "{encoded}"}}}}')
    assert main(command) == 0
    assert private_key(kube) == replacement
    assert published(kube)["key-id"] == signing.load_signer(replacement.encode()).key_id != before["key-id"]


def test_invalid_key_is_kept_and_logged_without_its_content(
    kube: Kube, command: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key").write_text("canary-no-key")
    kube.kubectl("create", "secret", "generic", NAME, f"--from-file=signing-key.pem={tmp_path / 'key'}")
    assert main(command) == 0
    assert private_key(kube) == "canary-no-key"
    assert kube.get("configmap", NAME) is None
    assert "is not a private key" in caplog.text
    assert "canary" not in caplog.text
