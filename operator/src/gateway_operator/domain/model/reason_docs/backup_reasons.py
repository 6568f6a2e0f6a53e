"""The meanings of the reasons that any object, a backup or an import can have."""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.model.reason_docs.meaning import NOTHING, Meaning
from gateway_operator.domain.model.reasons import Reason

BACKUP_REASONS: Final[dict[Reason, Meaning]] = {
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
    Reason.Running: Meaning("The operator has called the admin API for the backup.", NOTHING),
    Reason.Verifying: Meaning(
        "The file is being verified: it was adopted, or the answer did not prove the required level.",
        NOTHING,
    ),
    Reason.BackedUp: Meaning("The file is on the volume, with the level in `status.verification`.", NOTHING),
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
    Reason.Adopted: Meaning("The file was already on the volume and now belongs to this GatewayBackup.", NOTHING),
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
        NOTHING,
    ),
    Reason.FileDeleted: Meaning("The file was deleted with the object.", NOTHING),
    Reason.FileKept: Meaning(
        "The object was deleted, and the file stays on the volume.",
        "The event has the cause. A GatewayBackup with `existing: {path}` adopts the file; the admin API deletes it.",
    ),
    Reason.FileMissing: Meaning(
        "The file of the backup is not on the volume, so it counts for nothing.", "Bring the file or the volume back."
    ),
    Reason.FileBack: Meaning("The file of a backup is on the volume again.", NOTHING),
    Reason.Importing: Meaning("The files of the volume that have no GatewayBackup are being adopted.", NOTHING),
    Reason.Imported: Meaning("Every selected backup on the volume has a GatewayBackup.", NOTHING),
    Reason.ImportedInPart: Meaning(
        "Some files on the volume could not be adopted.",
        "`status.problems` lists them with the causes. To retry, delete the failed GatewayBackups and import again.",
    ),
    Reason.WouldImport: Meaning(
        "With `dryRun` the import only lists the files that it would adopt.", "Create an import without `dryRun`."
    ),
}
