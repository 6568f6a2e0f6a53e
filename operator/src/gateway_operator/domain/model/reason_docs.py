"""What every reason means and what to do about it, once.

`docs/concepts.md` shows this list, and a unit test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway_operator.domain.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reason says, and what a person does about it."""

    means: str
    do: str


_NOTHING: Final = "Nothing."

REASONS: Final[dict[Reason, Meaning]] = {
    Reason.GatewayNotFound: Meaning(
        "No workload of that kind and name is in the object's namespace.",
        "Correct `spec.gatewayRef`, or create the gateway: it is waited for until the starting deadline.",
    ),
    Reason.GatewayNotConfigured: Meaning(
        "The workload does not say which Secret holds its admin key.",
        "Annotate it as `docs/other-gateways.md` shows; the gateway chart does so by itself.",
    ),
    Reason.NoReadyPod: Meaning(
        "The workload has no pod whose admin API could answer.",
        "Look at `kubectl get pods` and at the admin container's log.",
    ),
    Reason.AdminKeyMissing: Meaning(
        "The Secret that the workload names is absent, or has no key `admin-key`.",
        "Create it, or let the gateway chart's hook make it.",
    ),
    Reason.CertificateMissing: Meaning(
        "The Secret that the workload names for its CA is absent, has no key `ca.crt`, or that is no certificate.",
        "Create it; the operator never falls back to plain HTTP.",
    ),
    Reason.NotAuthorized: Meaning(
        "Kubernetes refused the operator a read or a write that this gateway needs.",
        "Run the `kubectl` line in the message: it binds the gateway's Role to the operator.",
    ),
    Reason.Unreachable: Meaning(
        "The admin API did not accept or keep the connection.",
        "Look at the pod, and at NetworkPolicies between the operator and it.",
    ),
    Reason.CallTimedOut: Meaning("The admin API did not answer in time.", "Look at the pod's load and its volumes."),
    Reason.CertificateNotTrusted: Meaning(
        "The admin API's certificate is not signed by the annotated CA, or not for this gateway's name.",
        "Compare the CA Secret with the certificate the pod serves; both are made together by the chart's hook.",
    ),
    Reason.UnexpectedAnswer: Meaning(
        "Something answered that is not the admin API, or one of another version.",
        "Check which container has the admin port, and the versions of operator and admin API.",
    ),
    Reason.VolumeUnknown: Meaning(
        "The admin API does not say which volume it has.",
        "Its backup volume is not mounted or not writable: look at `/ready` and the pod's volumes.",
    ),
    Reason.StartingDeadlineExceeded: Meaning(
        "It could not be started within `startingDeadlineSeconds` of its creation.",
        "Was the operator down? Create another.",
    ),
    Reason.TimedOut: Meaning(
        "It did not end within `timeoutSeconds`, and there is no result of it on the volume.",
        "See `status.lastErrors`, and create another.",
    ),
    Reason.InProgressNow: Meaning("The admin API has been asked for the backup.", _NOTHING),
    Reason.Verifying: Meaning(
        "The file of the backup is being verified: it was adopted, or the answer did not prove the wanted level.",
        _NOTHING,
    ),
    Reason.BackedUp: Meaning("The file is on the volume, proven as `status.verification` says.", _NOTHING),
    Reason.Suspicious: Meaning(
        "The backup is complete, and holds much less than the one before it (`verification.maxShrinkPercent`), which "
        "is protected.",
        "Look at `status.changes`. If it is right so: `kubectl annotate gwb NAME mcpgateway.dev/shrink-accepted=true`. "
        "If not, restore the one before.",
    ),
    Reason.NotVerified: Meaning(
        "The file is there and its digest is right, and it is not proven as far as `verification.level` wants.",
        "For an encrypted file that was adopted: `verification.level: Stored`, and verify it with its identity.",
    ),
    Reason.Adopted: Meaning("The file lay on the volume already, and is this object's now.", _NOTHING),
    Reason.FileNotFound: Meaning(
        "No file lies at `existing.path` in the gateway's backup directory.",
        "`GET /api/v1/system/backups` lists what is there; a GatewayBackupImport adopts all of it.",
    ),
    Reason.AlreadyOwned: Meaning(
        "Another GatewayBackup of the namespace has that file.", "Use that one: the message has its name."
    ),
    Reason.RecordMismatch: Meaning(
        "The volume's record of the backup is not what was answered when it was made.",
        "Something changed the file or its manifest. Make another backup, and look who writes to that volume.",
    ),
    Reason.Deleting: Meaning(
        "The file is being deleted, and then the object: by retention, by `ttl`, or by a person (`spec.deleteFile`).",
        _NOTHING,
    ),
    Reason.FileDeleted: Meaning("The file was deleted with the object.", _NOTHING),
    Reason.FileKept: Meaning(
        "The object is deleted, and the file stays on the volume.",
        "The event says why. A GatewayBackup with `existing: {path}` adopts it again; the admin API can delete it.",
    ),
    Reason.Importing: Meaning("The volume was read; what no GatewayBackup owns is being adopted.", _NOTHING),
    Reason.Imported: Meaning("Every backup on the volume has its GatewayBackup.", _NOTHING),
    Reason.ImportedInPart: Meaning(
        "Some files on the volume could not be adopted.",
        "`status.problems` says which and why. Delete the GatewayBackups that failed and import again, or leave it so.",
    ),
    Reason.WouldImport: Meaning("It was only asked what would be adopted.", "Create an import without `dryRun`."),
    Reason.Validating: Meaning("The source is being looked up.", _NOTHING),
    Reason.SafetyBackup: Meaning("The live config is being backed up before it is replaced.", _NOTHING),
    Reason.Restoring: Meaning("The admin API has been asked to replace the config.", _NOTHING),
    Reason.Restarting: Meaning("The config is replaced; the gateway's pods are being restarted.", _NOTHING),
    Reason.HealthCheck: Meaning("The gateway is being watched on the restored config.", _NOTHING),
    Reason.RolledBack: Meaning(
        "Somebody else rolled the restore back through the admin API.", "Look who did; the previous config is in place."
    ),
    Reason.Restored: Meaning("The gateway was healthy on the restored config, and the restore is committed.", _NOTHING),
    Reason.NoSuchBackup: Meaning(
        "The GatewayBackup that was named does not exist, or none fits `latest` or `before`.",
        "`kubectl get gwb` shows what there is.",
    ),
    Reason.BackupNotCompleted: Meaning(
        "The GatewayBackup that was named has no file.", "Choose one whose phase is Completed."
    ),
    Reason.WrongGateway: Meaning(
        "The GatewayBackup is of another gateway.", "Choose one of this gateway, or correct `gatewayRef`."
    ),
    Reason.WrongVolume: Meaning(
        "The backup lies on another volume than the one this gateway has now.",
        "Bring the old volume back, or copy the file over and restore it with `path`.",
    ),
    Reason.ConfigNotPersistent: Meaning(
        "The gateway's config is not on a persistent volume: a restart would undo the restore.",
        "Mount a claim at the folder of its config.",
    ),
    Reason.AlreadyApplied: Meaning(
        "A restore of this name and spec has already run on this volume; nothing was done now.",
        "To run it again, give it another name.",
    ),
    Reason.IdentityMissing: Meaning(
        "The Secret that `identitySecretRef` names is absent, or has no such key.",
        "Create it: it is waited for until the restore's deadline.",
    ),
    Reason.IdentityNotAllowed: Meaning(
        "The Secret that `identitySecretRef` names is not labelled as this gateway's.",
        "If it may be: `kubectl label secret NAME mcpgateway.dev/gateway=GATEWAY`, then restore under another name.",
    ),
    Reason.IdentityNeedsTLS: Meaning(
        "The gateway's admin API is not proven by a CA: an identity never crosses plain HTTP.",
        "Set `tls.enabled` in the gateway's chart, or annotate its CA, then restore under another name.",
    ),
    Reason.SafetyBackupFailed: Meaning(
        "The live config could not be backed up first, and `safetyBackup` is Required.",
        "Mend what that GatewayBackup says, or use `safetyBackup: Auto`.",
    ),
    Reason.HealthCheckFailed: Meaning(
        "The gateway was not healthy on the restored config in time.",
        "The message says what was seen last. Look at the gateway's log; restore another backup.",
    ),
    Reason.RestartFailed: Meaning(
        "The gateway's pods were not replaced in time.", "Look at `kubectl rollout status` of the workload."
    ),
    Reason.ConfigOverwritten: Meaning(
        "Something wrote the config after the restore did.",
        "Stop what writes it (often the gateway itself, from memory), then restore under another name.",
    ),
    Reason.RollbackFailed: Meaning(
        "The previous config could not be put back.",
        "The message says what the admin API answered; the previous config is still kept beside the live one.",
    ),
    Reason.Applied: Meaning("The set holds what its policy keeps.", _NOTHING),
    Reason.DryRun: Meaning(
        "The policy has `dryRun`: what it would delete is counted, and nothing is deleted.",
        "`kubectl gateway retention explain` shows what would go; take `dryRun` off when that is right.",
    ),
    Reason.NoPolicy: Meaning(
        "No rule lets a good backup go: everything is kept.", "Give the schedule a `retention` if that is not wanted."
    ),
    Reason.PolicyInvalid: Meaning(
        "The retention policy cannot be understood, so nothing is deleted.", "Correct what the message names."
    ),
    Reason.ListingIncomplete: Meaning(
        "The list of backups or restores could not be read to its end, so nothing is deleted.",
        "It is tried again every half minute. If it stays, look at the API server.",
    ),
    Reason.ClockBehind: Meaning(
        "A backup is newer than the operator's clock says it is now, so nothing is deleted.",
        "Set the clocks of the nodes right.",
    ),
    Reason.ClockDiffers: Meaning(
        "The operator's clock and the API server's are more than a minute apart, so nothing is deleted.",
        "Set the clocks of the nodes right.",
    ),
    Reason.InventoryShrank: Meaning(
        "Half of the good backups or more are gone since the last pass, and not by retention; so nothing is deleted.",
        "Find out who removed them. If it is right, run the `kubectl annotate` line in the message.",
    ),
    Reason.RestoreChoosing: Meaning(
        "An unfinished restore of this gateway may still choose any backup, so nothing is deleted.",
        "Wait for it to end.",
    ),
    Reason.DeletionRefused: Meaning(
        "A backup that the policy lets go could not be deleted: its gateway is not reachable, or Kubernetes refused.",
        "The message has the error. It is retried every half minute.",
    ),
    Reason.DeletedByRetention: Meaning("The retention policy let a backup go, file included.", _NOTHING),
    Reason.DeletedByTTL: Meaning("A backup reached its `ttl` and goes, file included.", _NOTHING),
    Reason.ObjectiveMet: Meaning("The newest Verified backup is as young as `objective.maxAge` wants it.", _NOTHING),
    Reason.ObjectiveMissed: Meaning(
        "The newest Verified backup is older than `objective.maxAge`, or there is none.",
        "Look why none was made: `kubectl get gwb,cronjob`, and the schedule's other conditions.",
    ),
    Reason.Scheduled: Meaning("The schedule's CronJob is as it should be.", _NOTHING),
    Reason.Suspended: Meaning(
        "The schedule is suspended, and so is its CronJob.",
        "`kubectl gateway schedule resume NAME` when it is to go on.",
    ),
    Reason.CronJobCreated: Meaning("The CronJob of the schedule is made.", _NOTHING),
    Reason.CronJobUpdated: Meaning("The CronJob follows a change of its schedule, or of the operator.", _NOTHING),
    Reason.CronJobRestored: Meaning(
        "Somebody changed or deleted the CronJob, and the operator has put it right.",
        "Change the GatewayBackupSchedule instead; to stop it, suspend or delete that.",
    ),
    Reason.CronJobDeleting: Meaning(
        "The CronJob is being deleted and waits for something; it is made again when it is gone.",
        "Look at the finalizers of the CronJob and at its Jobs.",
    ),
    Reason.CronJobOverruled: Meaning(
        "What the operator writes into the CronJob is something else a moment later.",
        "Look for an admission webhook that changes CronJobs, and exempt this one.",
    ),
    Reason.NameConflict: Meaning(
        "There is a CronJob of the schedule's name that is not its own. It is not touched.",
        "Delete that CronJob, or give the schedule another name.",
    ),
    Reason.ScheduleRefused: Meaning(
        "The API server does not take the CronJob.", "The message says which field; correct it in the schedule."
    ),
    Reason.ServiceAccountMissing: Meaning(
        "The ServiceAccount `{gateway}-backup`, under which the CronJob's pods run, does not exist.",
        "Run the `kubectl` line in the message, or let the gateway chart make it (`schedule.serviceAccount.create`).",
    ),
    Reason.ImageUnknown: Meaning(
        "The operator does not know its own image, which the CronJob's pods are to run.",
        "Set GATEWAY_OPERATOR_IMAGE in its environment; its chart does.",
    ),
    Reason.Authorized: Meaning("The operator may do what this gateway needs.", _NOTHING),
}
