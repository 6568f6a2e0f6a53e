"""Tests of the request id of a restore, which must stay the same between versions."""

from __future__ import annotations

from gateway_operator.domain.restore.request_id import restore_request_id


def test_request_id_ignores_schema_defaults_and_description() -> None:
    """An id that changes would let a finished restore run again."""
    bare = {"gatewayRef": {"name": "gw"}, "backupName": "b"}
    filled = {
        **bare,
        "gatewayRef": {"kind": "Deployment", "name": "gw", "ordinal": 0},
        "safetyBackup": "Auto",
        "onFailure": "Rollback",
        "restart": "Auto",
        "healthCheck": {"consecutive": 3, "timeoutSeconds": 180},
        "timeoutSeconds": 600,
        "startingDeadlineSeconds": 300,
        "description": "a note",
    }
    first = restore_request_id("v", "ns", "r", bare)
    assert first == restore_request_id("v", "ns", "r", filled)
    assert first == "4de846c99e2f7ff3172e6e7af9f93575529ca8cedf60b3a75ea2ed9095a38456"
    others = [
        restore_request_id("w", "ns", "r", bare),
        restore_request_id("v", "other", "r", bare),
        restore_request_id("v", "ns", "s", bare),
        restore_request_id("v", "ns", "r", {**bare, "backupName": "c"}),
        restore_request_id("v", "ns", "r", {**bare, "restart": "Always"}),
    ]
    assert len({first, *others}) == 6
