"""GatewayRestore of encrypted and signed backups, with a real TLS admin API and real age keys."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_api.codec.encryption import recipient_fingerprint
from gateway_operator.jobs.signing_keys import new_private_key, public_key
from tests.api.support.requirements import require_programs
from tests.operator.support.operator_process import OperatorProcess
from tests.operator.support.real_gateway import AgeKey, RealGateway, encrypted_gateway, real_gateway
from tests.operator.support.workloads import QUICK_HEALTH_CHECK, ClusterError, Kube, custom_resource

pytestmark = pytest.mark.cluster

SECRET = "restore-key"
IDENTITY_REF = {"name": SECRET}


@pytest.fixture
def key(tmp_path: Path) -> AgeKey:
    """A new key pair from age-keygen."""
    require_programs("age", "zstd")
    return AgeKey.generate(tmp_path / "key.txt")


@pytest.fixture
def gw(kube: Kube, tmp_path: Path, key: AgeKey) -> Iterator[RealGateway]:
    """A gateway that encrypts all backups to that key and requires signatures."""
    with encrypted_gateway(kube, tmp_path, key) as gateway:
        yield gateway


def create_identity_secret(kube: Kube, key: AgeKey, *, label: str | None = "gw", field: str = "identity") -> None:
    """Create the Secret with the identity from the file of age-keygen, and label it for a gateway."""
    kube.kubectl("create", "secret", "generic", SECRET, f"--from-file={field}={key.file}")
    if label:
        kube.kubectl("label", "secret", SECRET, f"mcpgateway.dev/gateway={label}")


def test_encrypted_backup_opens_with_age_and_restores_with_the_identity(
    kube: Kube, backed_up: RealGateway, key: AgeKey, operator: OperatorProcess
) -> None:
    (file,) = backed_up.backups.rglob("*.json.zst.age")
    opened = subprocess.run(["age", "-d", "-i", str(key.file), str(file)], capture_output=True, check=True).stdout
    plain = subprocess.run(["zstd", "-dc"], input=opened, capture_output=True, check=True).stdout
    assert len(json.loads(plain)["users"]) == 2
    create_identity_secret(kube, key)
    status = kube.status("gwb", "good")
    assert status["encryption"] == {"recipients": [recipient_fingerprint(key.recipient)]}
    (signer,) = status["signature"]["keyIDs"]
    assert len(signer) == 32
    sources: dict[str, dict[str, Any]] = {
        "by-name": {"backupName": "good"},
        "newest": {"latest": {"group": "manual"}},
        "by-path": {"path": status["path"], "expectedSha256": status["sha256"]},
        "by-content": {"path": status["path"], "expectedSha256": status["contentDigest"]},
    }
    for name, source in sources.items():
        backed_up.write_config(users=5)
        kube.apply_restore(name, **source, identitySecretRef=IDENTITY_REF, healthCheck=QUICK_HEALTH_CHECK)
        done = kube.wait_phase("gwr", name, "Completed", "Failed", "RolledBack")
        assert (done["phase"], backed_up.count_users()) == ("Completed", 2), done
    backed_up.write_config(users=5)
    kube.apply_restore("dry", before="2999-01-01T00:00:00Z", mode="DryRun", identitySecretRef=IDENTITY_REF)
    dry = kube.wait_phase("gwr", "dry", "Completed", "Failed")
    assert "users -3" in dry["message"], dry
    assert backed_up.count_users() == 5
    # The safety backups are encrypted as well, and the identity is nowhere outside its Secret.
    assert not [one for one in backed_up.backups.rglob("*.zst") if one.suffix != ".age"]
    kube.apply_restore("other-digest", backupName="good", identitySecretRef=IDENTITY_REF, expectedSha256="0" * 64)
    assert kube.wait_phase("gwr", "other-digest", "Failed")["reason"] == "DigestMismatch"
    assert_not_leaked(kube, backed_up, operator, key.secret)


def assert_not_leaked(kube: Kube, gw: RealGateway, operator: OperatorProcess, identity: str) -> None:
    """The identity must not be in any object, event, log or file of the gateway."""
    objects = kube.kubectl("get", "gwb,gwr,events,deployments,pods,replicasets,configmaps", "-o", "json")
    for origin, text in {"objects": objects, "operator": operator.log(), "admin API": gw.process.log}.items():
        assert identity not in text, origin
    for folder in (gw.backups, gw.config.parent):
        for file in folder.rglob("*"):
            assert not file.is_file() or identity.encode() not in file.read_bytes(), file


def test_imported_encrypted_backups_restore_by_name_and_as_latest(
    kube: Kube, backed_up: RealGateway, key: AgeKey, operator: OperatorProcess
) -> None:
    """The files are all that is left. Their signed manifests prove the level without an identity."""
    create_identity_secret(kube, key)
    for name, users in (("newest", 3), ("unsigned", 4)):
        backed_up.write_config(users=users)
        kube.complete_backup(name)
    kube.kubectl("delete", "gwb", "--all", "--timeout=60s")
    # Without a manifest nothing proves the origin of the newest file, so `latest` must not take it.
    (unsigned,) = backed_up.backups.rglob("*-unsigned-*.age")
    unsigned.with_name(f"{unsigned.name}.manifest").unlink()
    kube.apply(custom_resource("GatewayBackupImport", "all", {"gatewayRef": {"name": "gw"}}))
    status = kube.wait_phase("gwbi", "all", "Completed", "Failed")
    imported = {one["metadata"]["name"]: one["status"] for one in kube.items("gwb")}
    assert status["phase"] == "Completed", status
    for name in ("good", "newest"):
        one = imported[name]
        assert (one["phase"], one["origin"], one["verification"]["level"]) == ("Completed", "Adopted", "Verified"), one
        assert one["encryption"] == {"recipients": [recipient_fingerprint(key.recipient)]}
    backed_up.write_config(users=5)
    for restore, source, users in (("newest", {"latest": {}}, 3), ("named", {"backupName": "good"}, 2)):
        kube.apply_restore(restore, **source, identitySecretRef=IDENTITY_REF, healthCheck=QUICK_HEALTH_CHECK)
        done = kube.wait_phase("gwr", restore, "Completed", "Failed", "RolledBack")
        assert (done["phase"], backed_up.count_users()) == ("Completed", users), done
    assert_not_leaked(kube, backed_up, operator, key.secret)


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
def test_each_identity_problem_has_its_own_reason_and_changes_nothing(
    kube: Kube, backed_up: RealGateway, key: AgeKey, tmp_path: Path, operator: OperatorProcess, case: str, reason: str
) -> None:
    offered = key
    if case == "wrong":
        offered = AgeKey.generate(tmp_path / "other.txt")
    elif case == "nonsense":
        offered = AgeKey(tmp_path / "nonsense.txt", "", "AGE-SECRET-KEY-1CANARYCANARY")
        offered.file.write_text(offered.secret)
    if case != "missing":
        label = {"unlabelled": None, "another gateway's": "gw2"}.get(case, "gw")
        create_identity_secret(kube, offered, label=label, field="other" if case == "no such key" else "identity")
    before = backed_up.config.read_bytes()
    spec = {} if case == "none" else {"identitySecretRef": IDENTITY_REF}
    kube.apply_restore("refused", backupName="good", timeoutSeconds=10, healthCheck=QUICK_HEALTH_CHECK, **spec)
    status = kube.wait_phase("gwr", "refused", "Failed", "Completed")
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    assert backed_up.config.read_bytes() == before
    assert backed_up.get_restore(status["requestID"])["code"] == "RestoreNotFound"
    assert_not_leaked(kube, backed_up, operator, offered.secret)


def test_identity_is_never_sent_over_plain_http(
    kube: Kube, tmp_path: Path, key: AgeKey, operator: OperatorProcess
) -> None:
    with real_gateway(kube, tmp_path, admin_age_recipient=key.recipient) as gw:
        kube.complete_backup("good")
        gw.write_config(users=5)
        create_identity_secret(kube, key)
        kube.apply_restore("in-the-clear", backupName="good", identitySecretRef=IDENTITY_REF)
        status = kube.wait_phase("gwr", "in-the-clear", "Failed", "Completed")
        assert status["reason"] == "IdentityNeedsTLS"
        assert gw.count_users() == 5
        assert_not_leaked(kube, gw, operator, key.secret)


def test_removed_recipient_opens_old_backups_only(
    kube: Kube, backed_up: RealGateway, key: AgeKey, tmp_path: Path
) -> None:
    create_identity_secret(kube, key)
    new = AgeKey.generate(tmp_path / "new.txt")
    backed_up.process.stop()
    (tmp_path / "recipients").write_text(f"{new.recipient}\n")
    backed_up.process.start()
    kube.complete_backup("newer")
    kube.apply_restore("revoked", backupName="newer", identitySecretRef=IDENTITY_REF)
    assert kube.wait_phase("gwr", "revoked", "Failed", "Completed")["reason"] == "WrongIdentity"
    assert backed_up.count_users() == 5
    kube.apply_restore("old", backupName="good", identitySecretRef=IDENTITY_REF, healthCheck=QUICK_HEALTH_CHECK)
    kube.wait_phase("gwr", "old", "Completed")
    assert backed_up.count_users() == 2


def test_restore_waits_for_a_missing_identity_secret(kube: Kube, backed_up: RealGateway, key: AgeKey) -> None:
    kube.apply_restore("early", backupName="good", identitySecretRef=IDENTITY_REF, healthCheck=QUICK_HEALTH_CHECK)
    kube.wait_status("gwr", "early", lambda status: status.get("reason") == "IdentityMissing")
    create_identity_secret(kube, key)
    kube.wait_phase("gwr", "early", "Completed", timeout=90)
    assert backed_up.count_users() == 2


def test_unsigned_file_restores_with_its_digest_if_the_gateway_allows_it(
    kube: Kube, tmp_path: Path, key: AgeKey, operator: OperatorProcess
) -> None:
    with encrypted_gateway(kube, tmp_path, key, admin_allow_unsigned_override="true") as gw:
        plain = gw.backups / "theirs.json"
        plain.write_bytes(gw.config.read_bytes())
        digest = subprocess.run(["sha256sum", plain], capture_output=True, check=True, text=True).stdout[:64]
        gw.write_config(users=5)
        kube.apply_restore("careless", path="theirs.json")
        assert kube.wait_phase("gwr", "careless", "Failed", "Completed")["reason"] == "SignatureRequired"
        assert gw.count_users() == 5
        with pytest.raises(ClusterError, match="acceptUnsigned requires expectedSha256"):
            kube.apply_restore("blind", path="theirs.json", acceptUnsigned=True)
        kube.apply_restore(
            "known", path="theirs.json", acceptUnsigned=True, expectedSha256=digest, healthCheck=QUICK_HEALTH_CHECK
        )
        kube.wait_phase("gwr", "known", "Completed")
        assert gw.count_users() == 2


def test_copied_files_restore_on_a_gateway_that_trusts_the_old_key(
    kube: Kube, tmp_path: Path, key: AgeKey, operator: OperatorProcess
) -> None:
    """The second gateway has another config, volume and signing key, as on a new cluster or after a key rotation."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "signing-key.pem").write_text(new_private_key())
    (old / "public.pem").write_text(public_key((old / "signing-key.pem").read_text())[0])
    (new / "trusted.pem").write_text("")
    with encrypted_gateway(kube, old, key, admin_signing_key_file=old / "signing-key.pem") as gw:
        path = kube.complete_backup("good")["path"]
        written = gw.backups / "manual"
    settings = {"admin_signing_key_file": new / "signing-key.pem", "admin_trusted_keys_file": new / "trusted.pem"}
    with encrypted_gateway(kube, new, key, name="gw2", **settings) as gw:
        shutil.copytree(written, gw.backups / "manual")
        gw.write_config(users=5)
        create_identity_secret(kube, key, label="gw2")
        spec = {
            "gatewayRef": {"name": "gw2"},
            "path": path,
            "identitySecretRef": IDENTITY_REF,
            "healthCheck": QUICK_HEALTH_CHECK,
            # The copied files name the old gateway.
            "allowOtherGateway": True,
        }
        kube.apply_restore("unknown", **spec)
        assert kube.wait_phase("gwr", "unknown", "Failed", "Completed")["reason"] == "KeyNotTrusted"
        assert gw.count_users() == 5
        gw.process.stop()
        shutil.copy(old / "public.pem", new / "trusted.pem")
        gw.process.start()
        kube.apply_restore("trusted", **spec)
        done = kube.wait_phase("gwr", "trusted", "Failed", "Completed")
        assert (done["phase"], gw.count_users()) == ("Completed", 2), done
        signed = kube.complete_backup("by-the-new-key", gatewayRef={"name": "gw2"})["signature"]
        assert signed == {"keyIDs": [public_key((new / "signing-key.pem").read_text())[1]]}


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ({"name": "No_Name"}, "the name of a Secret may contain lower-case letters"),
        ({"name": "a", "key": "../x"}, "a key of a Secret may contain letters"),
        ({"key": "identity"}, "identitySecretRef.name: Required value"),
    ],
)
def test_invalid_identity_references_are_rejected_with_a_message(kube: Kube, ref: dict[str, str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        kube.apply_restore("odd", latest={}, identitySecretRef=ref)
