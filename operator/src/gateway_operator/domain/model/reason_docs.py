"""The meaning of every reason and the remedy for it.

`docs/concepts.md` contains this list as a table, and a unit test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway_operator.domain.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a reason, and the remedy for a user."""

    means: str
    do: str


_NOTHING: Final = "Nothing."

REASONS: Final[dict[Reason, Meaning]] = {
    Reason.GatewayNotFound: Meaning(
        "No workload of that kind and name is in the object's namespace.",
        "Correct `spec.gatewayRef`, or create the gateway. The operator waits for it until the starting deadline.",
    ),
    Reason.GatewayNotConfigured: Meaning(
        "The workload has no annotation that names the Secret with its admin key.",
        "Annotate it as `docs/other-gateways.md` shows; the gateway chart sets the annotation.",
    ),
    Reason.NoReadyPod: Meaning(
        "The workload has no pod whose admin API can be called.",
        "Check `kubectl get pods` and the log of the admin container.",
    ),
    Reason.AdminKeyMissing: Meaning(
        "The Secret that the workload names does not exist or has no key `admin-key`.",
        "Create it, or let the hook of the gateway chart create it.",
    ),
    Reason.AdminKeyInvalid: Meaning(
        "The Secret that the workload names has an `admin-key` that cannot be sent as an HTTP header.",
        "Store the key in it as plain text, one key a line, without control characters.",
    ),
    Reason.CertificateMissing: Meaning(
        "The CA Secret that the workload names does not exist, or its key `ca.crt` has no certificate in PEM form.",
        "Create it; the operator never falls back to plain HTTP.",
    ),
    Reason.NotAuthorized: Meaning(
        "Kubernetes denied the operator a read or a write that this gateway needs.",
        "Run the `kubectl` line in the message: it binds the gateway's Role to the operator.",
    ),
    Reason.Unreachable: Meaning(
        "The connection to the admin API was refused or broken.",
        "Check the pod, and the NetworkPolicies between the operator and the pod.",
    ),
    Reason.CallTimedOut: Meaning("The admin API did not answer in time.", "Check the pod's load and its volumes."),
    Reason.CertificateNotTrusted: Meaning(
        "The admin API's certificate is not signed by the annotated CA, or is for another name.",
        "Compare the CA Secret with the certificate that the pod serves; the chart's hook creates both together.",
    ),
    Reason.UnexpectedAnswer: Meaning(
        "The answer is not from an admin API, or from one of another version.",
        "Check which container has the admin port, and the versions of the operator and the admin API.",
    ),
    Reason.VolumeUnknown: Meaning(
        "The admin API does not report the id of its backup volume.",
        "The backup volume is not mounted or not writable: check `/ready` and the pod's volumes.",
    ),
    Reason.StartingDeadlineExceeded: Meaning(
        "The operation did not start within `startingDeadlineSeconds` of its creation.",
        "Check whether the operator was down, and create another.",
    ),
    Reason.TimedOut: Meaning(
        "The operation did not end within `timeoutSeconds`, and the volume has no result of it.",
        "Check `status.lastErrors`, and create another.",
    ),
    Reason.SpecInvalid: Meaning(
        "A field of the spec has a value that the schema lets pass and the operator cannot read.",
        "The message names the field. Create another object with a correct value.",
    ),
    Reason.KubernetesError: Meaning(
        "The Kubernetes API answered a request of the operator with an error, or not at all.",
        "The message has the answer. The operator retries until the object's deadline.",
    ),
    Reason.InternalError: Meaning(
        "A step of the operator ended with an unexpected error. It is retried until the object's deadline.",
        "Read the operator's log: it has the error with its place. Please report it.",
    ),
    Reason.InProgressNow: Meaning("The operator has called the admin API for the backup.", _NOTHING),
    Reason.Verifying: Meaning(
        "The file is being verified: it was adopted, or the answer did not prove the required level.",
        _NOTHING,
    ),
    Reason.BackedUp: Meaning("The file is on the volume, with the level in `status.verification`.", _NOTHING),
    Reason.Suspicious: Meaning(
        "The backup is complete but much smaller than the previous one (`verification.maxShrinkPercent`). The previous "
        "backup is protected from deletion.",
        "Check `status.changes`; then restore the previous backup or acknowledge the change with "
        "`kubectl gateway backup accept NAME`.",
    ),
    Reason.NotVerified: Meaning(
        "The file exists and its digest is correct, but it does not reach `verification.level`.",
        "For an adopted encrypted file, set `verification.level: Stored`, and verify the file with its age identity.",
    ),
    Reason.Adopted: Meaning("The file was already on the volume and now belongs to this GatewayBackup.", _NOTHING),
    Reason.FileNotFound: Meaning(
        "There is no file at `existing.path` in the gateway's backup directory.",
        "`GET /api/v1/system/backups` lists the files; a GatewayBackupImport adopts all of them.",
    ),
    Reason.AlreadyOwned: Meaning(
        "The file belongs to another GatewayBackup of the namespace.", "Use that GatewayBackup; the message names it."
    ),
    Reason.OriginUnknown: Meaning(
        "The operator could not read the objects that prove who created the backup.",
        "Check the message. The check is repeated until the starting deadline.",
    ),
    Reason.OriginNotConfirmed: Meaning(
        "`spec.job` names a Job that is not proven to be one of a schedule. The origin of the backup is `Manual`.",
        "Nothing, if someone copied the object. Otherwise check the Job in the message.",
    ),
    Reason.RecordMismatch: Meaning(
        "The file on the volume differs from the record of the backup, or no longer exists.",
        "Create another backup, and find out what writes to that volume.",
    ),
    Reason.Deleting: Meaning(
        "Retention, `ttl` or a person (`spec.deleteFile`) deletes the file, and then the object.",
        _NOTHING,
    ),
    Reason.FileDeleted: Meaning("The file was deleted with the object.", _NOTHING),
    Reason.FileKept: Meaning(
        "The object was deleted, and the file stays on the volume.",
        "The event has the cause. A GatewayBackup with `existing: {path}` adopts the file; the admin API deletes it.",
    ),
    Reason.FileMissing: Meaning(
        "The file of the backup is not on the volume, so it counts for nothing.", "Bring the file or the volume back."
    ),
    Reason.FileBack: Meaning("The file of a backup is on the volume again.", _NOTHING),
    Reason.Importing: Meaning("The files of the volume that have no GatewayBackup are being adopted.", _NOTHING),
    Reason.Imported: Meaning("Every selected backup on the volume has a GatewayBackup.", _NOTHING),
    Reason.ImportedInPart: Meaning(
        "Some files on the volume could not be adopted.",
        "`status.problems` lists them with the causes. To retry, delete the failed GatewayBackups and import again.",
    ),
    Reason.WouldImport: Meaning(
        "With `dryRun` the import only lists the files that it would adopt.", "Create an import without `dryRun`."
    ),
    Reason.Validating: Meaning("The source of the restore is being resolved.", _NOTHING),
    Reason.SafetyBackup: Meaning("The live config is being backed up before it is replaced.", _NOTHING),
    Reason.Restoring: Meaning("The operator has called the admin API to replace the config.", _NOTHING),
    Reason.Restarting: Meaning("The config was replaced, and the gateway's pods are being restarted.", _NOTHING),
    Reason.HealthCheck: Meaning("The gateway's health on the restored config is being checked.", _NOTHING),
    Reason.Committing: Meaning(
        "The gateway is healthy on the restored config, and the commit is being repeated after an error.",
        "Check `status.lastErrors`.",
    ),
    Reason.RolledBack: Meaning(
        "Someone else rolled the restore back through the admin API. The previous config is live.",
        "The audit log of the admin API shows who did it.",
    ),
    Reason.Restored: Meaning("The gateway was healthy on the restored config, and the restore is committed.", _NOTHING),
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
    Reason.Applied: Meaning("The policy was applied to the backup set.", _NOTHING),
    Reason.DryRun: Meaning(
        "The policy has `dryRun`: its deletions are counted but not executed.",
        "`kubectl gateway retention explain` lists the deletions; remove `dryRun` to execute them.",
    ),
    Reason.NoPolicy: Meaning(
        "No rule deletes a Completed backup: all of them are kept.",
        "To delete old backups, set `retention` in the schedule.",
    ),
    Reason.PolicyInvalid: Meaning(
        "The retention policy is invalid, so nothing is deleted.", "Correct the field that the message names."
    ),
    Reason.ListingIncomplete: Meaning(
        "The list of backups, of restores or of files could not be read completely, so no file is deleted.",
        "The message has the cause. The operator retries. If it persists, check the API server or the gateway.",
    ),
    Reason.ClockBehind: Meaning(
        "A backup is ahead of the operator's clock, so nothing is deleted.", "Correct the clocks of the nodes."
    ),
    Reason.ClockDiffers: Meaning(
        "The operator's clock and the API server's are more than a minute apart, so nothing is deleted.",
        "Correct the clocks of the nodes.",
    ),
    Reason.InventoryShrank: Meaning(
        "At least half of the members of the set lack their file or their GatewayBackup. So nothing is deleted.",
        "Mount the right volume, or import the files. `kubectl gateway retention approve` goes on without them.",
    ),
    Reason.LargeDeletion: Meaning(
        "The policy deletes half of the backups or more.", "Check it, then `kubectl gateway retention approve`."
    ),
    Reason.RestoreChoosing: Meaning(
        "A restore has not resolved its source, so nothing is deleted.", "Wait until it has, or delete the restore."
    ),
    Reason.DeletionRefused: Meaning(
        "A backup could not be deleted: its gateway is not reachable, or Kubernetes denied the deletion.",
        "The message has the error. The operator retries every 30 seconds.",
    ),
    Reason.DeletedByRetention: Meaning("The retention policy deleted a backup and its file.", _NOTHING),
    Reason.DeletedByTTL: Meaning("A backup reached its `ttl` and is deleted with its file.", _NOTHING),
    Reason.ObjectiveMet: Meaning("The newest Verified backup is not older than `objective.maxAge`.", _NOTHING),
    Reason.ObjectiveMissed: Meaning(
        "The newest Verified backup is older than `objective.maxAge`, or there is none.",
        "Find the cause with `kubectl get gwb,cronjob` and in the schedule's other conditions.",
    ),
    Reason.Scheduled: Meaning("The CronJob matches its schedule.", _NOTHING),
    Reason.Suspended: Meaning(
        "The schedule is suspended, and so is its CronJob.",
        "To resume it, run `kubectl gateway schedule resume NAME`.",
    ),
    Reason.CronJobCreated: Meaning("The CronJob of the schedule was created.", _NOTHING),
    Reason.CronJobUpdated: Meaning(
        "The CronJob was updated after a change of its schedule or of the operator.", _NOTHING
    ),
    Reason.CronJobRestored: Meaning(
        "Someone changed or deleted the CronJob, and the operator reverted that.",
        "Change the GatewayBackupSchedule instead; to stop backups, suspend or delete it.",
    ),
    Reason.CronJobDeleting: Meaning(
        "The CronJob is being deleted. Afterwards the operator creates it again.",
        "If it persists, check the finalizers of the CronJob and its Jobs.",
    ),
    Reason.CronJobOverruled: Meaning(
        "Something changes the CronJob each time the operator writes it.",
        "Find the admission webhook that changes CronJobs, and exempt this one.",
    ),
    Reason.NameConflict: Meaning(
        "A CronJob with the schedule's name does not belong to the schedule. It is not changed.",
        "Delete that CronJob, or give the schedule another name.",
    ),
    Reason.ScheduleRefused: Meaning(
        "The API server rejects the CronJob.", "Correct the field that the message names in the schedule."
    ),
    Reason.ServiceAccountMissing: Meaning(
        "The ServiceAccount `{gateway}-backup` of the CronJob's pods does not exist.",
        "Run the `kubectl` line in the message, or let the gateway chart create it (`schedule.serviceAccount.create`).",
    ),
    Reason.ImageUnknown: Meaning(
        "The operator does not know its own image, which the CronJob's pods use.",
        "Set GATEWAY_OPERATOR_IMAGE in its environment, as its chart does.",
    ),
    Reason.JobWithoutPod: Meaning(
        "The newest Job of the schedule has had no running pod for a minute. The message repeats what Kubernetes says.",
        "Change `spec.jobTemplate` (tolerations, resources, securityContext), or the quota or the nodes.",
    ),
    Reason.JobFailed: Meaning(
        "The newest Job of the schedule ended, and there is no backup of it.",
        "Read the message and `kubectl logs job/NAME`. The next Job sets the condition again.",
    ),
    Reason.Authorized: Meaning("The operator has the permissions that this gateway needs.", _NOTHING),
}
