"""What is remembered of GatewayBackups answers as a list of them would; and when many going is a sweep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_operator.domain.calls import Counts
from gateway_operator.domain.known import KnownBackups
from gateway_operator.domain.objects import Backup, GatewayRef

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = ("prod", GatewayRef("Deployment", "gw"))


def backup(
    number: int,
    *,
    at: int = 0,
    digest: str = "a",
    group: str = "manual",
    phase: str = "Completed",
    gateway: str = "gw",
    going: int | None = None,
) -> Backup:
    """A GatewayBackup, seconds after the dawn."""
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
    }
    spec = {"gatewayRef": {"name": gateway}, "group": group}
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
    )
    | st.integers(0, 8),
    max_size=30,
)


@given(histories, st.integers(0, 7), st.sampled_from("ab"), st.sampled_from(["manual", "daily"]))
@settings(deadline=None, max_examples=300)
def test_it_answers_as_a_list_of_all_would(history: list[Backup | int], at: int, digest: str, group: str) -> None:
    known = KnownBackups()
    alive: dict[str, Backup] = {}
    for event in history:
        if isinstance(event, int):
            gone = alive.pop(f"u{event:04d}", None)
            if gone is not None:
                known.forget(gone)
            continue
        uid = event.meta.ref.uid
        late = uid in alive and alive[uid].phase in ("Completed", "Failed") and event.phase == "Running"
        known.see(event)
        if not late or event.meta.deleting_since is not None:
            alive[uid] = event
    moment = (DAWN + timedelta(seconds=at), "u0004")
    there = [
        ((one.time("snapshotTime") or DAWN, one.meta.ref.uid), one)
        for one in alive.values()
        if one.phase == "Completed" and one.meta.deleting_since is None
    ]
    there.sort(key=lambda pair: pair[0])
    before = [one for when, one in there if when < moment and one.group == group]
    same = [one for when, one in there if when < moment and one.status["contentDigest"] == digest]
    found = known.before(PLACE, group, moment)
    assert (found and found.uid) == (before[-1].meta.ref.uid if before else None)
    like = known.same(PLACE, "v", digest, moment)
    assert (like and like.uid) == (same[0].meta.ref.uid if same else None)


def test_it_keeps_what_comparisons_need() -> None:
    found = KnownBackups([backup(3, at=1)]).before(PLACE, "manual", (DAWN + timedelta(seconds=2), ""))
    assert found is not None
    assert (found.name, found.counts, found.content_bytes) == ("b3", Counts(users=3), 10)


def test_nothing_is_kept_of_a_gateway_whose_backups_are_deleted() -> None:
    known = KnownBackups()
    for second in range(100):
        known.see(backup(second))
        known.forget(backup(second))
    assert not known._gateways
    assert not known._files


def test_a_backup_that_retention_is_deleting_is_not_compared_with() -> None:
    known = KnownBackups([backup(1, at=1)])
    known.see(backup(1, at=1, phase="Deleting"))
    assert known.before(PLACE, "manual", (DAWN + timedelta(seconds=2), "")) is None
