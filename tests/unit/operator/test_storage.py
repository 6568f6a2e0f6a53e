"""What kopf writes to our objects by itself: nothing to a record that is done in one run."""

from __future__ import annotations

import json
from typing import Any

import kopf
import pytest

from gateway_operator.domain.names import BACKUP_KIND, RESTORE_KIND, SCHEDULE_KIND
from gateway_operator.handlers.running import until_done, when_unfinished
from gateway_operator.handlers.storage import DiffBase, Progress

PREFIX = "mcpgateway.dev"
HANDLER = kopf.HandlerId("backup")


def body_of(kind: str, **annotations: str) -> kopf.Body:
    return kopf.Body({"kind": kind, "metadata": {"annotations": annotations}, "spec": {"a": 1}})


def diff_base() -> DiffBase:
    return DiffBase(prefix=PREFIX, key="last-handled", v1=False)


@pytest.mark.parametrize("kind", [BACKUP_KIND, RESTORE_KIND])
def test_a_record_is_new_until_it_is_finished(kind: str) -> None:
    body, patch = body_of(kind, **{f"{PREFIX}/last-handled": json.dumps({"spec": {"a": 1}})}), kopf.Patch()
    storage = diff_base()
    storage.store(body=body, patch=patch, essence=storage.build(body=body))
    assert not patch
    assert storage.fetch(body=body) is None


def test_of_all_else_kopf_remembers_what_it_handled() -> None:
    body, patch = body_of(SCHEDULE_KIND), kopf.Patch()
    storage = diff_base()
    essence = storage.build(body=body)
    storage.store(body=body, patch=patch, essence=essence)
    after = body_of(SCHEDULE_KIND, **patch["metadata"]["annotations"])
    assert storage.fetch(body=after) == essence == {"spec": {"a": 1}}


def test_a_handler_that_ends_in_one_run_leaves_nothing() -> None:
    storage, body, patch = Progress(prefix=PREFIX, v1=False), body_of(BACKUP_KIND), kopf.Patch()
    storage.store(key=HANDLER, record={"success": True}, body=body, patch=patch)
    storage.purge(key=HANDLER, body=body, patch=patch)
    assert not patch


@pytest.mark.parametrize("other", [{"status": {"phase": "x"}}, {"metadata": {"annotations": {"mine": "1"}}}])
def test_what_else_is_written_stays(other: dict[str, Any]) -> None:
    storage, body, patch = Progress(prefix=PREFIX, v1=False), body_of(BACKUP_KIND), kopf.Patch()
    storage.store(key=HANDLER, record={"success": True}, body=body, patch=patch)
    for stanza, fields in other.items():
        for field, value in fields.items():
            if isinstance(value, dict):
                patch.setdefault(stanza, {}).setdefault(field, {}).update(value)
            else:
                patch.setdefault(stanza, {})[field] = value
    storage.purge(key=HANDLER, body=body, patch=patch)
    for stanza, fields in other.items():
        for field, value in fields.items():
            found = patch[stanza][field]
            assert value.items() <= found.items() if isinstance(value, dict) else found == value


def test_progress_that_is_on_the_object_is_taken_off_it() -> None:
    storage, patch = Progress(prefix=PREFIX, v1=False), kopf.Patch()
    body = body_of(BACKUP_KIND, **{f"{PREFIX}/backup": '{"retries":1}', f"{PREFIX}/kopf-managed": "yes"})
    storage.store(key=HANDLER, record={"success": True}, body=body, patch=patch)
    storage.purge(key=HANDLER, body=body, patch=patch)
    assert patch["metadata"]["annotations"] == {f"{PREFIX}/backup": None}


async def test_the_echoes_of_a_finished_record_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our own writes to it the watch is still to bring the first when the last is made; but they end."""
    now = 1000.0
    monkeypatch.setattr("gateway_operator.handlers.running.time.monotonic", lambda: now)
    unfinished, memo = when_unfinished({"Completed"}), kopf.Memo()

    async def finish() -> None:
        return None

    assert unfinished(status={"phase": "Running"}, memo=memo)
    await until_done(finish(), memo)
    assert not unfinished(status={"phase": "Running"}, memo=memo)
    assert not unfinished(status={"phase": "Completed"}, memo=memo)
    now += 11
    assert unfinished(status={"phase": "Running"}, memo=memo)


async def test_one_that_waits_is_looked_at_again() -> None:
    unfinished, memo = when_unfinished({"Completed"}), kopf.Memo()

    async def wait() -> float:
        return 3.0

    with pytest.raises(kopf.TemporaryError):
        await until_done(wait(), memo)
    assert unfinished(status={"phase": "Pending"}, memo=memo)
