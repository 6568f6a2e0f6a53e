"""The meanings of the reasons of a restore."""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.model.reason_docs.meaning import NOTHING, Meaning
from gateway_operator.domain.model.reasons import Reason

RESTORE_REASONS: Final[dict[Reason, Meaning]] = {
    Reason.Validating: Meaning("The source of the restore is being resolved.", NOTHING),
    Reason.SafetyBackup: Meaning("The live config is being backed up before it is replaced.", NOTHING),
    Reason.Restoring: Meaning("The operator has called the admin API to replace the config.", NOTHING),
    Reason.Restarting: Meaning("The config was replaced, and the gateway's pods are being restarted.", NOTHING),
    Reason.HealthCheck: Meaning("The gateway's health on the restored config is being checked.", NOTHING),
    Reason.Committing: Meaning(
        "The restored config is live and is being committed: the gateway is healthy, or a person requested it.",
        "Check `status.lastErrors`.",
    ),
    Reason.RolledBack: Meaning(
        "Someone else rolled the restore back through the admin API. The previous config is live.",
        "The audit log of the admin API shows who did it.",
    ),
    Reason.Restored: Meaning("The gateway was healthy on the restored config, and the restore is committed.", NOTHING),
    Reason.ApprovalRequired: Meaning(
        "The gateway requires that a second person approves the restore. Nothing has been changed.",
        "Another person checks `status.source` and runs `kubectl gateway restore approve NAME`.",
    ),
    Reason.Approved: Meaning("A second person has approved the restore. It continues.", NOTHING),
    Reason.ApprovalExpired: Meaning(
        "Nobody approved the restore in time. Nothing was changed.",
        "Create it under another name. The workload's annotation `mcpgateway.dev/approval-timeout` sets the time.",
    ),
    Reason.ApprovalUnavailable: Meaning(
        "The restore must be approved, and no approval can be checked: the admission policy is not in force.",
        "The message names the cause. Repeat the operator's `helm upgrade`, then restore under another name.",
    ),
    Reason.RequesterInvalid: Meaning(
        "The restore must be approved, and `requestedBy` is missing or names a ServiceAccount.",
        "Create it as a person with `kubectl gateway restore create`, under another name.",
    ),
    Reason.NoSuchBackup: Meaning(
        "The named GatewayBackup does not exist, or no backup matches `latest` or `before`.",
        "Choose a backup from `kubectl get gwb`.",
    ),
    Reason.BackupNotCompleted: Meaning(
        "The named GatewayBackup is not Completed.", "Choose a GatewayBackup with the phase Completed."
    ),
    Reason.WrongGateway: Meaning(
        "The GatewayBackup belongs to another gateway.", "Choose a backup of this gateway, or correct `gatewayRef`."
    ),
    Reason.WrongVolume: Meaning(
        "The backup is on another volume than the gateway's current one.",
        "Mount the old volume, or copy the file to the current one and restore it with `path`.",
    ),
    Reason.ConfigNotPersistent: Meaning(
        "The gateway's config is not on a persistent volume: a restart would undo the restore.",
        "Mount a PersistentVolumeClaim at the directory of the config.",
    ),
    Reason.AlreadyApplied: Meaning(
        "A restore of this name and spec has already run on this volume. Nothing was changed.",
        "To run it again, create it under another name.",
    ),
    Reason.VolumesDiffer: Meaning(
        "The Ready pods of a Deployment report different volumes, so one backup does not contain all of them.",
        "Give all replicas the same claims, scale to 1, or use a StatefulSet and `gatewayRef.ordinal`.",
    ),
    Reason.WouldRestore: Meaning(
        "The dry run ended. `status.diff` shows what a restore would change; nothing was changed.",
        "Read the difference (`kubectl gateway restore diff NAME`). Create the restore with mode Apply.",
    ),
    Reason.OtherGateway: Meaning(
        "The backup's manifest names another gateway.",
        "Check the source. If it is right, for example after a move, set `spec.allowOtherGateway` in a new restore.",
    ),
    Reason.NewerVersion: Meaning(
        "The backup was made by a newer version of the gateway than the one that runs now.",
        "Upgrade the gateway, or set `spec.allowOtherGateway` in a new restore.",
    ),
    Reason.AdminKeyWouldBeLost: Meaning(
        "The factory reset would rotate the admin key, and the operator's key would no longer be accepted.",
        "Put the operator's key into the file of GATEWAY_ADMIN_KEY_FILE, or reset without `rotateAdminKey`.",
    ),
    Reason.RolloutPaused: Meaning(
        "The Deployment is paused, so the restart that the restore needs would never happen. Nothing was changed.",
        "`kubectl rollout resume`, or restore with `restart: Never`; use another name.",
    ),
    Reason.RestartNotPossible: Meaning(
        "The StatefulSet does not replace its pods by itself (`OnDelete`, or a `partition`). Nothing was changed.",
        "Change its update strategy, or restore with `restart: Never` and delete the pod; use another name.",
    ),
    Reason.RolloutInProgress: Meaning(
        "The gateway's pods are being replaced. The restore waits for the end of the rollout until its deadline.",
        "Check `kubectl rollout status`; `kubectl rollout undo` ends a rollout that makes no progress.",
    ),
    Reason.PodTerminating: Meaning(
        "A pod of the gateway is terminating. The restore waits for its end until its deadline.",
        "If it is stuck, check its node; the message has the command that removes the pod.",
    ),
    Reason.IdentityMissing: Meaning(
        "The Secret that `identitySecretRef` names does not exist or has no such key.",
        "Create it. The operator waits for it until the restore's deadline.",
    ),
    Reason.IdentityNotAllowed: Meaning(
        "The Secret that `identitySecretRef` names has no label for this gateway.",
        "To allow it: `kubectl label secret NAME mcpgateway.dev/gateway=GATEWAY`, then restore under another name.",
    ),
    Reason.IdentityNeedsTLS: Meaning(
        "The gateway's admin API has no annotated CA, and an age identity is never sent without verified TLS.",
        "Set `tls.enabled` in the gateway's chart or annotate its CA, then restore under another name.",
    ),
    Reason.SafetyBackupFailed: Meaning(
        "The backup of the live config failed, and `safetyBackup` is Required.",
        "Fix the problem that this GatewayBackup reports, or use `safetyBackup: Auto`.",
    ),
    Reason.HealthCheckFailed: Meaning(
        "The gateway did not become healthy on the restored config in time.",
        "The message has the last problem. Check the gateway's log, or restore another backup.",
    ),
    Reason.RestartFailed: Meaning(
        "The gateway's pods were not replaced in time.", "Check `kubectl rollout status` of the workload."
    ),
    Reason.ConfigOverwritten: Meaning(
        "Something wrote the config after the restore did.",
        "Stop the writer (often the gateway itself, from memory), then restore under another name.",
    ),
    Reason.RollbackFailed: Meaning(
        "The previous config could not be put back.",
        "The message has the error and the call that retries it. The previous config is kept beside the live one.",
    ),
    Reason.RollbackRequested: Meaning(
        "A person ended the restore with `spec.end: Rollback`.", "To restore again, use another name."
    ),
    Reason.RestoreDeleted: Meaning(
        "The GatewayRestore was deleted before it had ended, so it was rolled back or not begun.", NOTHING
    ),
    Reason.RestoreReleased: Meaning(
        "A deleted GatewayRestore was released without an answer of its gateway. Its restore may still be open there.",
        "If the next restore reports `RestorePending`, create it with `spec.supersede: true`.",
    ),
    Reason.RestoreInProgress: Meaning(
        "A restore of the gateway is running. The object, or the backup of the schedule, waits for its end, at most "
        "until its own deadline.",
        "`kubectl get gwr` shows the running restore.",
    ),
}
