"""Tests that the index gives the same answers as a scan of all GatewayBackups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model.identifiers import BackupSetId, GatewayRef, NamespacedGateway, SetKind
from gateway_operator.domain.model.resources import Backup

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
GATEWAY = NamespacedGateway("prod", GatewayRef("Deployment", "gw"))


def backup(
    number: int,
    *,
    at: int = 0,
    digest: str = "a",
    group: str = "manual",
    phase: str = "Completed",
    gateway: str = "gw",
    going: int | None = None,
    level: str = "Verified",
    suspicious: bool = False,
    accepted: bool = False,
) -> Backup:
    """A GatewayBackup at this number of seconds after the start."""
    meta: dict[str, Any] = {"namespace": "prod", "name": f"b{number}", "uid": f"u{number:04d}"}
    if going is not None:
        meta["deletionTimestamp"] = (DAWN + timedelta(seconds=going)).isoformat()
    status = {
        "phase": phase,
        "snapshotTime": (DAWN + timedelta(seconds=at)).isoformat(),
        "volumeID": "v",
        "contentDigest": digest,
        "counts": {"users": number},
        "contentBytes": 10,
        "path": f"daily/{number}",
        "backupID": f"id-{number}",
        "verification": {"level": level},
        "conditions": [{"type": "Suspicious", "status": str(suspicious)}],
    }
    spec = {"gatewayRef": {"name": gateway}, "group": group, "accepted": accepted}
    return Backup.parse({"metadata": meta, "spec": spec, "status": status})


histories = st.lists(
    st.builds(
        backup,
        st.integers(0, 8),
        at=st.integers(0, 6),
        digest=st.sampled_from("ab"),
        group=st.sampled_from(["manual", "daily"]),
        phase=st.sampled_from(["Completed", "Completed", "Failed", "Running"]),
        going=st.none() | st.just(100),
        level=st.sampled_from(["Verified", "Drilled", "Stored"]),
        suspicious=st.booleans(),
        accepted=st.booleans(),
    )
    | st.integers(0, 8),
    max_size=30,
)


def is_reference(one: Backup) -> bool:
    """Whether later backups of the set are compared with it."""
    suspicious = any(condition["status"] == "True" for condition in one.conditions)
    return one.level in ("Verified", "Drilled") and (one.accepted or not suspicious)


@given(histories, st.integers(0, 7), st.sampled_from("ab"), st.sampled_from(["manual", "daily"]))
@settings(deadline=None, max_examples=300)
def test_index_equals_a_scan_of_all_backups(history: list[Backup | int], at: int, digest: str, group: str) -> None:
    index = BackupIndex()
    alive: dict[str, Backup] = {}
    for event in history:
        if isinstance(event, int):
            deleted = alive.pop(f"u{event:04d}", None)
            if deleted is not None:
                index.drop(deleted.meta.ref.uid)
            continue
        uid = event.meta.ref.uid
        late = uid in alive and alive[uid].phase in ("Completed", "Failed") and event.phase == "Running"
        index.upsert(event)
        if not late or event.meta.deleting_since is not None:
            alive[uid] = event
    moment = (DAWN + timedelta(seconds=at), "u0004")
    there = [
        ((one.time("snapshotTime") or DAWN, one.meta.ref.uid), one)
        for one in alive.values()
        if one.phase == "Completed" and one.meta.deleting_since is None
    ]
    there.sort(key=lambda pair: pair[0])
    before = [one for when, one in there if when < moment and one.group == group and is_reference(one)]
    same = [one for when, one in there if when < moment and one.status["contentDigest"] == digest]
    set_id = BackupSetId("prod", GATEWAY.gateway, SetKind.Group, group)
    previous = index.previous(set_id, moment)
    assert (previous and previous.uid) == (before[-1].meta.ref.uid if before else None)
    first = index.first_with_same_content(GATEWAY, "v", digest, moment)
    assert (first and first.uid) == (same[0].meta.ref.uid if same else None)
    rows = {one.uid: one for one in index.in_set(set_id)}
    members = {uid: one for uid, one in alive.items() if one.group == group}
    assert {uid: one.phase for uid, one in rows.items()} == {uid: one.phase for uid, one in members.items()}
    by_path = {one.uid for one in index.find_by_path_or_id("prod", "daily/1", "id-2")}
    assert by_path == {uid for uid, one in alive.items() if one.meta.ref.name in ("b1", "b2")}
    for one in list(alive.values()):
        index.drop(one.meta.ref.uid)
        index.drop(one.meta.ref.uid)  # an event that comes twice
    assert not any(vars(index).values()), "no empty collection stays"


def test_row_has_the_fields_for_comparisons() -> None:
    index = BackupIndex([backup(3, at=1)])
    row = index.previous(
        BackupSetId("prod", GATEWAY.gateway, SetKind.Group, "manual"), (DAWN + timedelta(seconds=2), "")
    )
    assert row is not None
    assert row.counts == {"configs": 0, "projects": 0, "users": 3, "apiKeys": 0, "disabledApiKeys": 0}
    assert (row.name, row.content_bytes) == ("b3", 10)


def test_row_holds_no_model() -> None:
    (row,) = BackupIndex([backup(3)]).in_set(BackupSetId("prod", GATEWAY.gateway, SetKind.Group, "manual"))
    assert not [name for name in row.__slots__ if isinstance(getattr(row, name), BaseModel)]


def test_backup_being_deleted_is_not_compared() -> None:
    index = BackupIndex([backup(1, at=1)])
    index.upsert(backup(1, at=1, phase="Deleting"))
    moment = (DAWN + timedelta(seconds=2), "")
    assert index.previous(BackupSetId("prod", GATEWAY.gateway, SetKind.Group, "manual"), moment) is None
    assert index.first_with_same_content(GATEWAY, "v", "a", moment) is None
