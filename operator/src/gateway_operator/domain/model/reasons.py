"""Every reason the operator gives, once; what each means stands in `reason_meanings`.

A reason that comes from the admin API is that API's error code, with the cure that the contract gives; those are not
repeated here.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The operator's own reasons."""

    # waiting for a gateway
    GatewayNotFound = "GatewayNotFound"
    GatewayNotConfigured = "GatewayNotConfigured"
    NoReadyPod = "NoReadyPod"
    AdminKeyMissing = "AdminKeyMissing"
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
    # a backup
    InProgressNow = "Running"
    Verifying = "Verifying"
    BackedUp = "BackedUp"
    Suspicious = "Suspicious"
    NotVerified = "NotVerified"
    Adopted = "Adopted"
    FileNotFound = "FileNotFound"
    AlreadyOwned = "AlreadyOwned"
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
    RolledBack = "RolledBack"
    Restored = "Restored"
    NoSuchBackup = "NoSuchBackup"
    BackupNotCompleted = "BackupNotCompleted"
    WrongGateway = "WrongGateway"
    WrongVolume = "WrongVolume"
    ConfigNotPersistent = "ConfigNotPersistent"
    AlreadyApplied = "AlreadyApplied"
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
    # fine
    Authorized = "Authorized"
