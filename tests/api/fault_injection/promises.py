"""The promises that hold after every fault, whichever fault was injected at whichever system call."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from gateway_api.audit import verify
from gateway_api.codec import compression
from gateway_api.gateway_config.schema import digest
from tests.api.fault_injection import missing_manifests
from tests.api.fault_injection.scenarios import EMPTY, IDENTITY, NEW, OLD, PREFIX, Scenario, ok
from tests.api.support.backup_files import decode_file


def check_backups(backups: Path, scenario: Scenario, *, except_for: str = "") -> None:
    """Checks that every backup is complete, that no earlier backup is lost and that no partial file is left.

    A safety backup of a config that could not be parsed is an `.invalid` file with the exact bytes of the config. That
    is the invalid config, or a valid one whose worker was killed.
    """
    unparsed, encrypted = (
        (scenario.original_config, "age_recipients" in scenario.settings)
        if scenario.parses_in_worker
        else (OLD[:100], True)
    )
    for manifest_file in backups.rglob("*.manifest"):
        if manifest_file.name in missing_manifests.WITHOUT_DATA or ".gateway" in manifest_file.parts:
            continue
        manifest = json.loads(manifest_file.read_text())
        stored = manifest_file.with_name(manifest_file.name.removesuffix(".manifest")).read_bytes()
        assert digest(stored) == manifest["stored_sha256"]
        form = compression.format_for_name(manifest["path"])
        assert form.encrypted == bool(manifest.get("recipients"))
        content = decode_file(stored, form, str(IDENTITY), 1 << 20)
        assert digest(content) == manifest["content_sha256"]
    for name in ("manual/new.json.zst", "manual/old.json.gz", "manual/spare.json", "daily.json"):
        if name != except_for:
            assert (backups / name).is_file()
            assert (backups / f"{name}.manifest").is_file()
    for raw in backups.rglob("*.invalid*"):
        assert decode_file(raw.read_bytes(), compression.format_for_name(raw.name), str(IDENTITY), 1 << 20) == unparsed
        assert raw.name.endswith(".age") is encrypted
    assert not list(backups.rglob(".gateway-*"))
    # The scenario without a signing key has manifests of a key that nobody has any more.
    lost_key = scenario.folder.name.startswith(("without_signing_key", "encrypted"))
    config_dir = None if lost_key else backups.parent / "config"
    whole, why = verify.verify_audit_log(backups, config_dir)
    assert whole, why


def check_unsaved(config: Path, backups: Path, content: bytes) -> None:
    """Checks that a config is live, kept or in a backup: nothing may remove the only copy."""
    kept = [config, *config.parent.glob(".gateway/previous-*")]
    if content in [file.read_bytes() for file in kept]:
        return
    files = [file for file in (backups / "safety").glob("*.json.zst") if file.is_file()]
    contents = [decode_file(file.read_bytes(), compression.format_for_name(file.name), None, 1 << 20) for file in files]
    assert content in contents, "the only copy of a config is lost"


def check_promises(
    name: str,
    scenario: Scenario,
    client: httpx.Client,
    config: Path,
    backups: Path,
    answer: httpx.Response | None = None,
) -> None:
    """Checks all promises after a fault and perhaps a restart; sends the request two more times.

    ``name`` is the operation, ``answer`` the answer to the request during which the fault was injected, None if the
    server died.
    """
    succeeded = answer is not None and answer.status_code == 200
    if name == "missing_manifests":
        missing_manifests.check_each_exists(scenario.folder, backups)
    original_config = scenario.original_config
    live = config.read_bytes()
    assert live in {original_config, NEW, OLD, EMPTY}
    if scenario.unsaved is not None:
        check_unsaved(config, backups, scenario.unsaved)
    keep_config = (
        "backup",
        "replace",
        "delete",
        "encrypted",
        "upload",
        "rotate_audit_log",
        "save_previous",
        "lost_ids",
    )
    if name in (*keep_config, "missing_manifests"):
        assert live == original_config
    if succeeded and name == "delete":
        assert not (backups / "manual/spare.json").exists(), "reported as deleted but still present"
    done = ok(scenario.send(client))
    assert not succeeded or name in ("delete", "verify") or done["replayed"], "succeeded twice"
    again = ok(scenario.send(client))
    if name == "delete":
        assert not again["existed"]
        assert client.get(f"{PREFIX}{scenario.path}").status_code == 404
        assert not (backups / "manual/spare.json").exists()
        check_backups(backups, scenario, except_for="manual/spare.json")
        return
    if name == "verify":
        assert live == original_config
        assert (done["level"], done["problems"]) == (again["level"], again["problems"]) == ("Verified", [])
        (listed,) = ok(client.get(f"{PREFIX}/backups", params={"path": "manual/new.json.zst"}))["items"]
        assert again["recorded"]
        assert listed["record"]["verification"]["checked"] == again["checked"]
        check_backups(backups, scenario)
        return
    assert again["replayed"]
    assert {**again, "replayed": done["replayed"]} == done
    check_backups(backups, scenario)
    if scenario.unsaved is not None:
        check_unsaved(config, backups, scenario.unsaved)
    if name == "missing_manifests":
        missing_manifests.check_finished(scenario.folder, backups)
    if name == "upload":
        assert (done["state"], done["record"]["path"]) == ("stored", "uploaded/backup.json.zst")
        assert (backups / "uploaded/backup.json.zst").read_bytes() == scenario.content
        assert not list((backups / ".gateway" / "uploads").iterdir())
        return
    if name == "encrypted":
        proven = ok(client.post(f"{PREFIX}/backups/{done['backup_id']}/verify", json={"identity": str(IDENTITY)}))
        assert (proven["proof"], proven["signature"], proven["problems"]) == ("recipient", "valid", [])
    if name == "save_previous":
        assert not list(config.parent.glob(".gateway/previous-*"))
        assert len(list((backups / "safety").glob("previous-*.json.zst"))) == 1
    if name in ("backup", "replace", "encrypted", "rotate_audit_log", "save_previous", "lost_ids", "missing_manifests"):
        named = [
            manifest
            for manifest in map(json.loads, (file.read_text() for file in backups.rglob("*.manifest")))
            if manifest.get("request_id") == done["request_id"]
        ]
        assert len(named) == 1
        if name == "lost_ids":
            spare = json.loads((backups / "manual/spare.json.manifest").read_text())
            for kind, file in (("gateway_id", config.parent / ".gateway"), ("volume_id", backups / ".gateway")):
                assert (file / kind).read_text().strip() == named[0][kind] == spare[kind], f"another {kind}"
    elif name in ("restore", "restore_over_invalid", "reset", "restore_unsaved"):
        assert config.read_bytes() == (EMPTY if name == "reset" else NEW)
        assert config.stat().st_nlink == 1
        ok(client.post(f"{PREFIX}/restores/restore/rollback"))
        assert config.read_bytes() == original_config
    else:
        commits = name.startswith("commit")
        assert config.read_bytes() == (NEW if commits else OLD)
        assert done["state"] == ("committed" if commits else "rolled_back")
