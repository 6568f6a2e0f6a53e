"""Parsing of the admin API's answers: unknown fields are ignored, malformed answers are failures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway_api.contract import FileInspection
from gateway_operator.adapters.admin_api import HttpAdminApi
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.ports import AdminApiError, AdminTarget
from gateway_operator.reconcile.gateway_lookup import call_or_failure
from tests.unit.gateway_operator.simulation.fake_admin_api import backup_record, inspection_of

TARGET = AdminTarget(Endpoint("gw-1", "10.0.0.1", 8001, False, None, True, "admin"), ("k" * 40,))


class Answers(HttpAdminApi):
    """An admin API that gives these answers, one for each call."""

    def __init__(self, *answers: Any, status: int = 200) -> None:
        super().__init__()
        self._answers = [self._body(one) for one in answers]
        self._status = status

    @staticmethod
    def _body(data: Any) -> bytes:
        if isinstance(data, bytes):
            return data
        return json.dumps({"message": "ok", "data": data, "timestamp": "2026-01-01T00:00:00Z", "later": 1}).encode()

    async def _exchange(self, *_: Any) -> tuple[int, dict[str, str], bytes]:
        return self._status, {}, self._answers.pop(0)


async def test_unknown_fields_of_a_newer_admin_api_are_ignored() -> None:
    record = backup_record()
    newer = {**record.model_dump(mode="json"), "invented": {"later": True}}
    assert await Answers(newer).read_backup(TARGET, "id") == record


@pytest.mark.parametrize("answer", [b"<html>", b"{}", {"backup_id": "id"}, None])
async def test_malformed_answer_leaves_the_outcome_unknown(answer: object) -> None:
    failure = await call_or_failure(Answers(answer).read_backup(TARGET, "id"))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.retryable, failure.outcome_unknown) == ("UnexpectedAnswer", True, True)


async def test_find_file_gives_the_record_the_inspection_or_not_found() -> None:
    record = backup_record()
    file = inspection_of(record)
    entry = {"path": record.path, "size_bytes": 1, "modified": "2026-01-01T00:00:00Z"}
    page = {"listed_at": "2026-01-01T00:00:00Z"}
    item = {**entry, "kind": "backup", "record": record.model_dump(mode="json")}
    described = {**page, "items": [item]}
    changed = {**page, "items": [{**item, "kind": "changed"}]}
    inspection = file.model_dump(mode="json")
    assert await Answers(described).find_file(TARGET, record.path) == record
    assert await Answers(changed, inspection).find_file(TARGET, record.path) == file
    assert await Answers({**page, "items": []}).find_file(TARGET, "x") == NotFound()
    damaged = {**inspection, "problems": [{"code": "BackupCorrupt", "message": "torn"}]}
    with pytest.raises(AdminApiError, match="BackupCorrupt"):
        await Answers(changed, damaged).find_file(TARGET, record.path)
    checked = await Answers(damaged).check_file(TARGET, "", record.path)
    assert isinstance(checked, FileInspection)
    assert [one.code for one in checked.problems] == ["BackupCorrupt"]
