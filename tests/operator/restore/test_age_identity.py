"""Encrypted backups through a GatewayRestore: a real TLS admin API, real age keys, a real API server."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_api.codec.encryption import fingerprint
from gateway_operator.jobs.signing_keys import new_private_key, public_half
from tests.api.conftest import needs
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import AgeKey, RealGateway, encrypted_gateway, real_gateway
from tests.operator.support.workloads import ClusterError, Kube

pytestmark = pytest.mark.cluster

QUICK = {"timeoutSeconds": 8, "consecutive": 2}
NAME = "restore-key"
IDENTITY = {"name": NAME}


@pytest.fixture
def key(tmp_path: Path) -> AgeKey:
    """A pair that age-keygen made."""
    needs("age", "zstd")
    return AgeKey.make(tmp_path / "key.txt")


@pytest.fixture
def gw(kube: Kube, tmp_path: Path, key: AgeKey) -> Iterator[RealGateway]:
    """A gateway that encrypts all backups to that key and demands signatures."""
    with encrypted_gateway(kube, tmp_path, key) as found:
        yield found


@pytest.fixture
def backed_up(kube: Kube, gw: RealGateway, operator: OperatorProcess) -> RealGateway:
    """With a backup of two users; then there are five."""
    kube.backup("good")
    kube.wait_phase("gwb", "good", "Completed")
    gw.write(users=5)
    return gw


def give(kube: Kube, key: AgeKey, *, label: str | None = "gw", field: str = "identity") -> None:
    """The Secret with the identity, as a person makes it of the file that age-keygen wrote."""
    kube.run("create", "secret", "generic", NAME, f"--from-file={field}={key.file}")
    if label:
        kube.run("label", "secret", NAME, f"mcpgateway.dev/gateway={label}")


def test_the_file_opens_with_age_and_comes_back_with_the_identity(
    kube: Kube, backed_up: RealGateway, key: AgeKey, operator: OperatorProcess
) -> None:
    (file,) = backed_up.backups.rglob("*.json.zst.age")
    opened = subprocess.run(["age", "-d", "-i", str(key.file), str(file)], capture_output=True, check=True).stdout
    plain = subprocess.run(["zstd", "-dc"], input=opened, capture_output=True, check=True).stdout
    assert len(json.loads(plain)["users"]) == 2
    give(kube, key)
    status = kube.status("gwb", "good")
    assert status["encryption"] == {"recipients": [fingerprint(key.recipient)]}
    (signer,) = status["signature"]["keyIDs"]
    assert len(signer) == 32
    sources: dict[str, dict[str, Any]] = {
        "by-name": {"backupName": "good"},
        "newest": {"latest": {"group": "manual"}},
        "by-path": {"path": status["path"], "expectedSha256": status["sha256"]},
        "by-content": {"path": status["path"], "expectedSha256": status["contentDigest"]},
    }
    for name, source in sources.items():
        backed_up.write(users=5)
        kube.restore(name, **source, identitySecretRef=IDENTITY, healthCheck=QUICK)
        done = kube.wait_phase("gwr", name, "Completed", "Failed", "RolledBack", timeout=60)
        assert (done["phase"], backed_up.users()) == ("Completed", 2), done
    # The safety backups are encrypted as well, and nobody was told the key.
    assert not [one for one in backed_up.backups.rglob("*.zst") if one.suffix != ".age"]
    kube.restore("other-digest", backupName="good", identitySecretRef=IDENTITY, expectedSha256="0" * 64)
    assert kube.wait_phase("gwr", "other-digest", "Failed")["reason"] == "DigestMismatch"
    told_nowhere(kube, backed_up, operator, key.secret)


def told_nowhere(kube: Kube, gw: RealGateway, operator: OperatorProcess, secret: str) -> None:
    """The identity is in its Secret and nowhere else: no object, event or log, and no file of the gateway's."""
    objects = kube.run("get", "gwb,gwr,events,deployments,pods,replicasets,configmaps", "-o", "json")
    for place, text in {"objects": objects, "operator": operator.log(), "admin API": gw.process.log}.items():
        assert secret not in text, place
    for folder in (gw.backups, gw.config.parent):
        for file in folder.rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("none", "IdentityRequired"),
        ("missing", "IdentityMissing"),
        ("no such key", "IdentityMissing"),
        ("unlabelled", "IdentityNotAllowed"),
        ("another gateway's", "IdentityNotAllowed"),
        ("wrong", "WrongIdentity"),
        ("nonsense", "WrongIdentity"),
    ],
)
def test_each_refusal_has_its_own_reason_and_changes_nothing(
    kube: Kube, backed_up: RealGateway, key: AgeKey, tmp_path: Path, operator: OperatorProcess, case: str, reason: str
) -> None:
    used = key
    if case == "wrong":
        used = AgeKey.make(tmp_path / "other.txt")
    elif case == "nonsense":
        used = AgeKey(tmp_path / "nonsense.txt", "", "AGE-SECRET-KEY-1CANARYCANARY")
        used.file.write_text(used.secret)
    if case != "missing":
        label = {"unlabelled": None, "another gateway's": "gw2"}.get(case, "gw")
        give(kube, used, label=label, field="other" if case == "no such key" else "identity")
    before = backed_up.config.read_bytes()
    spec = {} if case == "none" else {"identitySecretRef": IDENTITY}
    kube.restore("refused", backupName="good", timeoutSeconds=10, healthCheck=QUICK, **spec)
    status = kube.wait_phase("gwr", "refused", "Failed", "Completed", timeout=60)
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    assert backed_up.config.read_bytes() == before
    assert backed_up.journal(status["requestID"])["code"] == "RestoreNotFound"
    told_nowhere(kube, backed_up, operator, used.secret)


def test_an_identity_never_crosses_plain_http(
    kube: Kube, tmp_path: Path, key: AgeKey, operator: OperatorProcess
) -> None:
    with real_gateway(kube, tmp_path, admin_age_recipient=key.recipient) as gw:
        kube.backup("good")
        kube.wait_phase("gwb", "good", "Completed")
        gw.write(users=5)
        give(kube, key)
        kube.restore("in-the-clear", backupName="good", identitySecretRef=IDENTITY)
        status = kube.wait_phase("gwr", "in-the-clear", "Failed", "Completed")
        assert status["reason"] == "IdentityNeedsTLS"
        assert gw.users() == 5
        told_nowhere(kube, gw, operator, key.secret)


def test_a_recipient_that_was_taken_off_opens_what_is_old_and_nothing_new(
    kube: Kube, backed_up: RealGateway, key: AgeKey, tmp_path: Path
) -> None:
    give(kube, key)
    new = AgeKey.make(tmp_path / "new.txt")
    backed_up.process.stop()
    (tmp_path / "recipients").write_text(f"{new.recipient}\n")
    backed_up.process.start()
    kube.backup("newer")
    kube.wait_phase("gwb", "newer", "Completed")
    kube.restore("revoked", backupName="newer", identitySecretRef=IDENTITY)
    assert kube.wait_phase("gwr", "revoked", "Failed", "Completed")["reason"] == "WrongIdentity"
    assert backed_up.users() == 5
    kube.restore("old", backupName="good", identitySecretRef=IDENTITY, healthCheck=QUICK)
    kube.wait_phase("gwr", "old", "Completed", timeout=60)
    assert backed_up.users() == 2


def test_a_secret_that_comes_after_the_restore_is_waited_for(kube: Kube, backed_up: RealGateway, key: AgeKey) -> None:
    kube.restore("early", backupName="good", identitySecretRef=IDENTITY, healthCheck=QUICK)
    kube.wait_status("gwr", "early", lambda status: status.get("reason") == "IdentityMissing")
    give(kube, key)
    kube.wait_phase("gwr", "early", "Completed", timeout=90)
    assert backed_up.users() == 2


def test_a_foreign_file_is_taken_by_its_digest_where_the_gateway_allows_it(
    kube: Kube, tmp_path: Path, key: AgeKey, operator: OperatorProcess
) -> None:
    with encrypted_gateway(kube, tmp_path, key, admin_allow_unsigned_override="true") as gw:
        plain = gw.backups / "theirs.json"
        plain.write_bytes(gw.config.read_bytes())
        digest = subprocess.run(["sha256sum", plain], capture_output=True, check=True, text=True).stdout[:64]
        gw.write(users=5)
        kube.restore("careless", path="theirs.json")
        assert kube.wait_phase("gwr", "careless", "Failed", "Completed")["reason"] == "SignatureRequired"
        assert gw.users() == 5
        with pytest.raises(ClusterError, match="acceptUnsigned requires expectedSha256"):
            kube.restore("blind", path="theirs.json", acceptUnsigned=True)
        kube.restore("known", path="theirs.json", acceptUnsigned=True, expectedSha256=digest, healthCheck=QUICK)
        kube.wait_phase("gwr", "known", "Completed", timeout=60)
        assert gw.users() == 2


def test_copied_files_restore_on_another_volume_of_a_gateway_that_trusts_the_old_key(
    kube: Kube, tmp_path: Path, key: AgeKey, operator: OperatorProcess
) -> None:
    """Another config, volume and signing key, as on a new cluster; and the same after a key was changed on purpose."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "signing-key.pem").write_text(new_private_key())
    (old / "public.pem").write_text(public_half((old / "signing-key.pem").read_text())[0])
    (new / "trusted.pem").write_text("")
    with encrypted_gateway(kube, old, key, admin_signing_key_file=old / "signing-key.pem") as gw:
        kube.backup("good")
        path = kube.wait_phase("gwb", "good", "Completed")["path"]
        written = gw.backups / "manual"
    settings = {"admin_signing_key_file": new / "signing-key.pem", "admin_trusted_keys_file": new / "trusted.pem"}
    with encrypted_gateway(kube, new, key, name="gw2", **settings) as gw:
        shutil.copytree(written, gw.backups / "manual")
        gw.write(users=5)
        give(kube, key, label="gw2")
        spec = {"gatewayRef": {"name": "gw2"}, "path": path, "identitySecretRef": IDENTITY, "healthCheck": QUICK}
        kube.restore("unknown", **spec)
        assert kube.wait_phase("gwr", "unknown", "Failed", "Completed")["reason"] == "KeyNotTrusted"
        assert gw.users() == 5
        gw.process.stop()
        shutil.copy(old / "public.pem", new / "trusted.pem")
        gw.process.start()
        kube.restore("trusted", **spec)
        done = kube.wait_phase("gwr", "trusted", "Failed", "Completed", timeout=60)
        assert (done["phase"], gw.users()) == ("Completed", 2), done
        kube.backup("by-the-new-key", gatewayRef={"name": "gw2"})
        signed = kube.wait_phase("gwb", "by-the-new-key", "Completed")["signature"]
        assert signed == {"keyIDs": [public_half((new / "signing-key.pem").read_text())[1]]}


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ({"name": "No_Name"}, "the name of a Secret has lower-case letters"),
        ({"name": "a", "key": "../x"}, "a key of a Secret has letters"),
        ({"key": "identity"}, "identitySecretRef.name: Required value"),
    ],
)
def test_a_reference_that_cannot_be_is_refused_in_words(kube: Kube, ref: dict[str, str], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        kube.restore("odd", latest={}, identitySecretRef=ref)
