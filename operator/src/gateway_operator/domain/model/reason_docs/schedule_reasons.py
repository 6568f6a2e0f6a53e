"""The meanings of the reasons of retention, objectives, schedules and permissions."""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.model.reason_docs.meaning import NOTHING, Meaning
from gateway_operator.domain.model.reasons import Reason

SCHEDULE_REASONS: Final[dict[Reason, Meaning]] = {
    Reason.Applied: Meaning("The policy was applied to the backup set.", NOTHING),
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
    Reason.DeletedByRetention: Meaning("The retention policy deleted a backup and its file.", NOTHING),
    Reason.DeletedByTTL: Meaning("A backup reached its `ttl` and is deleted with its file.", NOTHING),
    Reason.ObjectiveMet: Meaning("The newest Verified backup is not older than `objective.maxAge`.", NOTHING),
    Reason.ObjectiveMissed: Meaning(
        "The newest Verified backup is older than `objective.maxAge`, or there is none.",
        "Find the cause with `kubectl get gwb,cronjob` and in the schedule's other conditions.",
    ),
    Reason.GatewayHealthy: Meaning("The gateway's admin API answers and reports no problem.", NOTHING),
    Reason.GatewayDegraded: Meaning(
        "The admin API reports problems that do not prevent backups, such as a nearly full volume.",
        "Fix the problems that the message names.",
    ),
    Reason.GatewayUnhealthy: Meaning(
        "The admin API answers, and the gateway's config is missing or invalid.",
        "Fix the config, or restore a backup: see docs/restores.md.",
    ),
    Reason.CertificateValid: Meaning("The gateway's TLS certificate is valid for more than a month.", NOTHING),
    Reason.CertificateExpiring: Meaning(
        "The gateway's TLS certificate ends within a month, so its renewal has failed.",
        "Look at the Jobs of the CronJob `NAME-renew`, or at what issues your own certificate.",
    ),
    Reason.CertificateExpired: Meaning(
        "The gateway's TLS certificate has ended. Every call to the admin API fails.",
        "Renew it: run the CronJob `NAME-renew` by hand, or replace your own certificate.",
    ),
    Reason.Encrypted: Meaning("The newest Completed backup of the schedule is encrypted.", NOTHING),
    Reason.NotEncrypted: Meaning(
        "The newest Completed backup of the schedule is not encrypted. Anyone who can read the backup volume can read "
        "all keys in it.",
        "Set `encryption.recipients` in the gateway's chart. Backups that exist stay as they are.",
    ),
    Reason.BackupVolumeRetained: Meaning("The backups stay when their claim or the namespace is deleted.", NOTHING),
    Reason.BackupVolumeDeletedWithClaim: Meaning(
        "The reclaim policy of the PersistentVolume is not Retain. A deletion of the claim or of the namespace also "
        "deletes all backups.",
        "Run the `kubectl patch` line in the message, or keep copies elsewhere.",
    ),
    Reason.BackupVolumeTemporary: Meaning(
        "The backup directory is not on a persistent volume. The backups are deleted with the pod.",
        "Mount a PersistentVolumeClaim at the backup directory.",
    ),
    Reason.BackupVolumeUnknown: Meaning(
        "The operator cannot tell whether the backups stay when the namespace is deleted.",
        "The message has the cause. Look at the volume yourself: `kubectl get pvc,pv`.",
    ),
    Reason.Scheduled: Meaning("The CronJob matches its schedule.", NOTHING),
    Reason.Suspended: Meaning(
        "The schedule is suspended, and so is its CronJob.",
        "To resume it, run `kubectl gateway schedule resume NAME`.",
    ),
    Reason.CronJobCreated: Meaning("The CronJob of the schedule was created.", NOTHING),
    Reason.CronJobUpdated: Meaning(
        "The CronJob was updated after a change of its schedule or of the operator.", NOTHING
    ),
    Reason.CronJobRestored: Meaning(
        "Someone changed or deleted the CronJob, and the operator reverted that.",
        "Change the GatewayBackupSchedule instead; to stop backups, suspend or delete it.",
    ),
    Reason.CronJobDeleting: Meaning(
        "The CronJob is being deleted. Afterwards the operator creates it again.",
        "If it persists, check the finalizers of the CronJob and its Jobs.",
    ),
    Reason.CronJobDeleted: Meaning(
        "The CronJob of the drills was deleted, because the schedule has no drills any more.", NOTHING
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
    Reason.DrillOverdue: Meaning(
        "The last good drill is older than `spec.drill.schedule` demands, or there is none.",
        "Read the events of the CronJob `{schedule}-drill`. Start a drill with `kubectl gateway drill create`.",
    ),
    Reason.JobFailed: Meaning(
        "The newest Job of the schedule ended, and there is no backup or drill of it.",
        "Read the message and `kubectl logs job/NAME`. The next Job sets the condition again.",
    ),
    Reason.Authorized: Meaning("The operator has the permissions that this gateway needs.", NOTHING),
}
