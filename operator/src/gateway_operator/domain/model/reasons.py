"""All reasons of the operator; `reason_docs` describes each of them.

A failed call to the admin API has that API's error code as its reason. The contract defines those codes and their
remedies.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reasons that the operator itself sets."""

    # waiting for a gateway
    GatewayNotFound = "GatewayNotFound"
    GatewayNotConfigured = "GatewayNotConfigured"
    NoReadyPod = "NoReadyPod"
    AdminKeyMissing = "AdminKeyMissing"
    AdminKeyInvalid = "AdminKeyInvalid"
    CertificateMissing = "CertificateMissing"
    NotAuthorized = "NotAuthorized"
    # calling it
    Unreachable = "Unreachable"
    CallTimedOut = "CallTimedOut"
    CertificateNotTrusted = "CertificateNotTrusted"
    UnexpectedAnswer = "UnexpectedAnswer"
    VolumeUnknown = "VolumeUnknown"
    # time
    StartingDeadlineExceeded = "StartingDeadlineExceeded"
    TimedOut = "TimedOut"
    # the object or the operator itself
    SpecInvalid = "SpecInvalid"
    KubernetesError = "KubernetesError"
    InternalError = "InternalError"
    # a backup
    InProgressNow = "Running"
    Verifying = "Verifying"
    BackedUp = "BackedUp"
    Suspicious = "Suspicious"
    NotVerified = "NotVerified"
    Adopted = "Adopted"
    FileNotFound = "FileNotFound"
    AlreadyOwned = "AlreadyOwned"
    OriginUnknown = "OriginUnknown"
    OriginNotConfirmed = "OriginNotConfirmed"
    RecordMismatch = "RecordMismatch"
    Deleting = "Deleting"
    FileDeleted = "FileDeleted"
    FileKept = "FileKept"
    # an import
    Importing = "Importing"
    Imported = "Imported"
    ImportedInPart = "ImportedInPart"
    WouldImport = "WouldImport"
    # a restore
    Validating = "Validating"
    SafetyBackup = "SafetyBackup"
    Restoring = "Restoring"
    Restarting = "Restarting"
    HealthCheck = "HealthCheck"
    Committing = "Committing"
    RolledBack = "RolledBack"
    Restored = "Restored"
    NoSuchBackup = "NoSuchBackup"
    BackupNotCompleted = "BackupNotCompleted"
    WrongGateway = "WrongGateway"
    WrongVolume = "WrongVolume"
    ConfigNotPersistent = "ConfigNotPersistent"
    AlreadyApplied = "AlreadyApplied"
    RolloutPaused = "RolloutPaused"
    RestartNotPossible = "RestartNotPossible"
    RolloutInProgress = "RolloutInProgress"
    PodTerminating = "PodTerminating"
    IdentityMissing = "IdentityMissing"
    IdentityNotAllowed = "IdentityNotAllowed"
    IdentityNeedsTLS = "IdentityNeedsTLS"
    SafetyBackupFailed = "SafetyBackupFailed"
    HealthCheckFailed = "HealthCheckFailed"
    RestartFailed = "RestartFailed"
    ConfigOverwritten = "ConfigOverwritten"
    RollbackFailed = "RollbackFailed"
    # retention and objectives
    Applied = "Applied"
    DryRun = "DryRun"
    NoPolicy = "NoPolicy"
    PolicyInvalid = "PolicyInvalid"
    ListingIncomplete = "ListingIncomplete"
    ClockBehind = "ClockBehind"
    ClockDiffers = "ClockDiffers"
    InventoryShrank = "InventoryShrank"
    RestoreChoosing = "RestoreChoosing"
    DeletionRefused = "DeletionRefused"
    DeletedByRetention = "DeletedByRetention"
    DeletedByTTL = "DeletedByTTL"
    ObjectiveMet = "ObjectiveMet"
    ObjectiveMissed = "ObjectiveMissed"
    # a schedule
    Scheduled = "Scheduled"
    Suspended = "Suspended"
    CronJobCreated = "CronJobCreated"
    CronJobUpdated = "CronJobUpdated"
    CronJobRestored = "CronJobRestored"
    CronJobDeleting = "CronJobDeleting"
    CronJobOverruled = "CronJobOverruled"
    NameConflict = "NameConflict"
    ScheduleRefused = "ScheduleRefused"
    ServiceAccountMissing = "ServiceAccountMissing"
    ImageUnknown = "ImageUnknown"
    JobWithoutPod = "JobWithoutPod"
    JobFailed = "JobFailed"
    # permissions
    Authorized = "Authorized"
