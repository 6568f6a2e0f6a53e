"""The gateway writes its config between the safety backup and the moment in which the server keeps the config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway_api.contract import BackupRequest, ErrorCode, RestoreRequest, RestoreResult
from gateway_api.errors import ApiError
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.gateway_config.schema import digest
from gateway_api.restores.apply import RETAKES
from gateway_api.service import Service
from tests.api.support.admin_process import gateway_config
from tests.unit.gateway_api.restores.in_process import folder_with_config, run

KEY = "key" * 16


@pytest.mark.parametrize("writes", range(RETAKES + 2))
def test_safety_backup_is_taken_again_at_most_three_times(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_with_config(tmp_path / "folder", KEY)
    config = folder / "config" / "config.json"
    run(folder, lambda service: service.create_backup(BackupRequest(path="new.json"), "test"))
    configs = [json.dumps(gateway_config(KEY, users=3 + number)) for number in range(writes + 1)]
    config.write_text(configs[0])
    remaining = configs[1:]
    keep_previous = ConfigReplacer.keep_previous

    def write_and_keep(replacer: ConfigReplacer, name: str) -> None:
        if remaining:
            config.write_text(remaining.pop(0))
        keep_previous(replacer, name)

    monkeypatch.setattr(ConfigReplacer, "keep_previous", write_and_keep)
    results: list[RestoreResult] = []

    async def restore(service: Service) -> None:
        results.append(await service.restore(RestoreRequest(input_file="new.json", request_id="r"), "test"))

    if writes <= RETAKES:
        run(folder, restore)
        (result,) = results
        assert result.previous_sha256 == digest(configs[-1].encode())
        assert (folder / "backups" / str(result.safety_backup.path)).is_file()
        run(folder, lambda service: service.rollback("r", "test", force=False))
    else:
        with pytest.raises(ApiError) as raised:
            run(folder, restore)
        assert raised.value.code is ErrorCode.ConfigUnstable
    assert not remaining
    # The last config that was live: put back by the rollback, or never replaced.
    assert config.read_text() == configs[-1]
    assert not [file.name for file in (folder / "config" / ".gateway").iterdir() if file.name.startswith("previous-")]
    assert len(list((folder / "backups" / "safety").glob("*.json.zst"))) == min(1 + writes, 1 + RETAKES)
