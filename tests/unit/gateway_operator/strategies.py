"""Anything that could be seen, for property tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from gateway_api.contract import (
    BackupLevel,
    ErrorCode,
    PendingRestore,
    RestoreState,
    SafetyBackup,
    SystemStatus,
    VerificationResult,
)
from gateway_api.contract import Problem as FileProblem
from gateway_operator.domain.backup import decide as backup
from gateway_operator.domain.backup import deletion
from gateway_operator.domain.backup.origin import OriginDecision, OriginUnknown, ScheduleEvidence
from gateway_operator.domain.gateway.rollout import Rollout
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.identifiers import GatewayRef, Origin, Ref
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import RestoreObservation as RestoreObserved
from tests.unit.gateway_operator.simulation.fake_admin_api import (
    backup_record,
    health_data,
    inspection_of,
    restore_result,
)

CREATED = datetime(2026, 3, 1, 8, tzinfo=UTC)
times = st.integers(-5, 100_000).map(lambda seconds: CREATED + timedelta(seconds=seconds))
texts = times.map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ"))
digests = st.sampled_from(["a" * 64, "b" * 64])
volumes = st.sampled_from(["v1", "v2"])
codes = st.sampled_from([*(str(reason) for reason in Reason), *(code.value for code in ErrorCode)])
failures = st.builds(
    Failure,
    code=codes,
    message=st.just("It failed."),
    retryable=st.booleans(),
    retry_after=st.none() | st.floats(0, 500),
    exempt_from_retry_limit=st.booleans(),
    outcome_unknown=st.booleans(),
)
endpoints = st.builds(
    Endpoint,
    pod=st.just("gw-1"),
    host=st.just("10.0.0.1"),
    port=st.just(8001),
    tls=st.booleans(),
    server_name=st.none(),
    pod_ready=st.booleans(),
    container=st.just("admin"),
)
problems = st.builds(GatewayProblem, reason=codes, message=st.just("No."), forbidden=st.booleans())
gateways = endpoints | problems
stored = st.builds(
    backup_record,
    created=times,
    volume_id=volumes,
    gateway_version=st.none() | st.just("2.2.4"),
    content_sha256=digests,
    stored_sha256=digests,
    stored_bytes=st.integers(0, 10),
    level=st.sampled_from([None, *BackupLevel]),
    recipients=st.just([]) | st.just(["f" * 32]),
    signed_by=st.just([]) | st.just(["k" * 32]),
)
file_problems = st.sampled_from([[], [FileProblem(code="BackupCorrupt", message="it is torn")]])
inspections = st.builds(
    lambda record, problems, unknown: inspection_of(record, problems=problems, **unknown),
    stored,
    file_problems,
    st.sampled_from([{}, {"counts": None, "content_sha256": None, "content_bytes": None, "gateway_id": None}]),
)
checks = st.builds(
    VerificationResult,
    backup_id=st.just("id"),
    stored_sha256=digests,
    checked=times,
    level=st.sampled_from([None, *BackupLevel]),
    proof=st.sampled_from([None, "payload", "recipient"]),
    signature=st.just("unsigned"),
    problems=file_problems,
)
healths = st.builds(
    health_data,
    status=st.sampled_from(SystemStatus),
    config_valid=st.booleans(),
    config_digest=st.none() | digests,
    sections_digest=st.none() | digests,
    gateway_id=st.none() | st.just("g"),
    volume_id=st.none() | volumes,
    pending_restore=st.none() | st.just(PendingRestore(request_id="another", state="applied")),
    encryption=st.sampled_from(["require", "allow"]),
)
records = st.builds(
    restore_result,
    state=st.sampled_from(RestoreState),
    previous_sha256=st.none() | digests,
    restored_sha256=digests,
    sections_digest=digests,
    safety_backup=st.builds(
        SafetyBackup,
        kind=st.sampled_from(["backup", "raw", "missing", "kept"]),
        path=st.none() | st.just("safety/x"),
    ),
)
rollouts = st.builds(Rollout, requested=st.booleans(), done=st.booleans(), message=st.just("on its way"))


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A dictionary in which every field may be missing."""
    return st.fixed_dictionaries({}, optional=fields)


meta = st.fixed_dictionaries(
    {
        "namespace": st.just("prod"),
        "name": st.just("thing"),
        "uid": st.just("0123456789abcdef"),
        "creationTimestamp": st.just("2026-03-01T08:00:00Z"),
        "generation": st.just(1),
        "resourceVersion": st.just("7"),
    },
    optional={"deletionTimestamp": texts},
)
common = {
    "reason": codes,
    "message": st.just("Before."),
    "startTime": texts,
    "attempt": st.integers(0, 25),
    "nextRetryTime": texts,
    "conditions": st.just([{"type": "Authorized", "status": "False", "lastTransitionTime": "2026-03-01T08:00:00Z"}]),
    "failure": st.fixed_dictionaries({"reason": codes, "message": st.just("Before.")}),
    "lastErrors": st.just([{"time": "2026-03-01T08:00:00Z", "reason": "Busy", "message": "x"}]),
    "volumeID": volumes,
}
BACKUP_PHASES = ["", "Pending", "Running", "Verifying", "Completed", "Failed", "Deleting"]
RESTORE_PHASES = ["", "Pending", "Validating", "SafetyBackup", "Restoring", "Restarting", "HealthCheck", "Completed",
                  "RollingBack", "RolledBack", "RollbackFailed", "Failed"]  # fmt: skip
backups = st.fixed_dictionaries(
    {
        "metadata": meta,
        "spec": st.fixed_dictionaries(
            {"gatewayRef": st.just({"name": "gw"})},
            optional={
                "retryLimit": st.integers(0, 3),
                "timeoutSeconds": st.integers(10, 1000),
                "startingDeadlineSeconds": st.integers(1, 1000),
                "deleteFile": st.booleans(),
                "description": st.just("note"),
                "pinned": st.booleans(),
                "existing": st.just({"path": "manual/x.json.zst"}),
                "ttl": st.just("30d"),
                "verification": st.fixed_dictionaries(
                    {}, optional={"level": st.sampled_from(["Stored", "Verified"]), "maxShrinkPercent": st.just(10)}
                ),
            },
        ),
        "status": optional(
            phase=st.sampled_from(BACKUP_PHASES), backupID=st.just("id"), sha256=digests, contentDigest=digests,
            origin=st.sampled_from(Origin).map(str), schedule=st.just("nightly"),
            path=st.just("manual/x.json.zst"), snapshotTime=texts, verification=st.just({"level": "Verified"}),
            deletion=st.fixed_dictionaries({"reason": st.sampled_from(["Retention", "TTL"]), "time": texts}), **common
        ),
    }
).map(Backup.parse)  # fmt: skip
sources = st.sampled_from([{"backupName": "good"}, {"latest": {}}, {"latest": {"group": "safety"}}, {"path": "x.json"},
                           {"path": "x.json.zst.age"}])  # fmt: skip
restores = st.builds(
    lambda meta, source, spec, status: Restore.parse(
        {"metadata": meta, "spec": {"gatewayRef": {"name": "gw"}, **source, **spec}, "status": status}
    ),
    meta,
    sources,
    optional(
        safetyBackup=st.sampled_from(["Auto", "Required", "Skip"]),
        onFailure=st.sampled_from(["Rollback", "Leave"]),
        restart=st.sampled_from(["Auto", "Always", "Never"]),
        timeoutSeconds=st.integers(10, 1000),
        expectedSha256=digests,
        identitySecretRef=st.just({"name": "restore-key"}),
        acceptUnsigned=st.booleans(),
    ),
    optional(
        phase=st.sampled_from(RESTORE_PHASES), requestID=st.just("r"), source=st.just({"backupID": "id"}),
        restoredDigest=digests, sectionsDigest=digests, restarted=st.booleans(),
        steps=st.just([{"name": "HealthCheck", "startTime": "2026-03-01T08:00:00Z"}]),
        safetyBackup=st.just({"kind": "none"}), **common
    ),
)  # fmt: skip
origins = st.sampled_from(
    [
        OriginDecision(Origin.Manual),
        OriginDecision(Origin.Adopted),
        OriginDecision(
            Origin.Schedule, ScheduleEvidence("nightly", GatewayRef("Deployment", "gw"), "uid", "Stored", 5)
        ),
        OriginDecision(Origin.Restore, restore=Ref("GatewayRestore", "prod", "r", "uid")),
        OriginUnknown(),
        OriginUnknown(GatewayProblem("NotAuthorized", "No.", forbidden=True)),
    ]
)
backup_views = st.builds(
    backup.BackupObservation,
    backup=backups,
    gateway=gateways,
    health=healths | failures,
    backup_id=st.none() | st.just("id"),
    answer=st.none() | stored | inspections | st.just(NotFound()) | failures,
    stored=st.none() | stored | st.just(NotFound()) | failures,
    checked=st.none() | checks | inspections | st.just(NotFound()) | failures,
    index=st.lists(backups, max_size=3).map(BackupIndex),
    origin=st.none() | origins,
)
begun_deletions = st.builds(
    lambda one, by_person: replace(
        one,
        existing=None,
        delete_file=by_person,
        meta=replace(one.meta, deleting_since=CREATED if by_person else None),
        status={
            **one.status,
            "startTime": CREATED.isoformat(),
            **({} if by_person else {"phase": "Deleting", "deletion": {"reason": "TTL", "time": CREATED.isoformat()}}),
        },
    ),
    backups,
    st.booleans(),
)
"""Backups whose file is to be deleted: independent choices reach this state almost never."""
deletion_views = st.builds(
    deletion.DeletionObservation,
    backup=backups | begun_deletions,
    gateway=gateways,
    health=st.none() | healths | failures,
    backup_id=st.none() | st.just("id"),
    answer=st.none() | st.booleans() | failures,
) | st.builds(
    deletion.DeletionObservation,
    backup=begun_deletions,
    gateway=endpoints,
    health=healths,
    backup_id=st.just("id"),
)
restore_views = st.builds(
    RestoreObserved,
    restore=restores,
    gateway=gateways,
    reloads_config=st.booleans(),
    health=st.none() | healths | failures,
    persistent=st.none() | st.booleans(),
    journal=st.none() | records | st.just(NotFound()) | failures,
    backups=st.lists(backups, max_size=3),
    safety=st.none() | backups,
    rollout=st.none() | rollouts,
    healthy_streak=st.integers(0, 5),
    starting=st.booleans(),
    pending_owner=st.none() | st.just("other"),
    identity_problem=st.none() | problems,
    answer=st.none() | records | failures,
)
