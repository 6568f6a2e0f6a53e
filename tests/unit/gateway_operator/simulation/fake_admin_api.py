"""A fake of one gateway's admin API in memory: a volume, a config and a journal of restores.

As in the real API, a repeated request id returns the result of the first request.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway_api.contract import (
    BackupEntry,
    BackupLevel,
    BackupPage,
    BackupRecord,
    ConfigDiff,
    Counts,
    EntryDiff,
    ExistingBackup,
    FileInspection,
    KeyDiff,
    PendingRestore,
    Problem,
    RestorePlan,
    RestoreResult,
    RestoreState,
    SafetyBackup,
    SystemHealthData,
    SystemStatus,
    VerificationResult,
)
from gateway_operator.domain.model.actions import CallBackup, CallReset, CallRestore
from gateway_operator.domain.model.admin_api import BackupFile, FileCheck, NotFound, TaggedPage
from gateway_operator.ports import AdminApiError, AdminTarget, Identity
from tests.unit.gateway_operator.simulation.fake_cluster import WRONG_KEY, Clock, Cluster, sha

VOLUME = "v" * 32
EMPTY_CONFIG = "empty"
"""The config after a reset."""
RIGHT_IDENTITY = "AGE-SECRET-KEY-1CANARY"


ONE_OF_EACH = Counts(configs=1, projects=1, users=1, api_keys=1)
SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def backup_record(**fields: Any) -> BackupRecord:
    """A record of a small Verified backup."""
    defaults: dict[str, Any] = {
        "backup_id": "id", "path": "manual/x.json.zst", "created": SOME_TIME, "gateway_id": "g", "volume_id": VOLUME,
        "content_sha256": "a" * 64, "content_bytes": 1, "stored_sha256": "b" * 64, "stored_bytes": 1,
        "compression": "zstd", "counts": ONE_OF_EACH, "level": BackupLevel.Verified,
    }  # fmt: skip
    return BackupRecord(**{**defaults, **fields})


def inspection_of(record: BackupRecord, **fields: Any) -> FileInspection:
    """The inspection of a backup's file whose manifest was lost."""
    same = record.model_dump(include={"path", "gateway_id", "volume_id", "stored_sha256", "stored_bytes",
                                      "content_sha256", "content_bytes", "counts", "level"})  # fmt: skip
    return FileInspection(**{**same, "kind": "foreign", "modified": record.created, **fields})


def health_data(**fields: Any) -> SystemHealthData:
    """The health of a gateway with a valid config."""
    defaults: dict[str, Any] = {
        "status": SystemStatus.healthy, "version": "1", "config_path": "/config/config.json", "backup_path": "/backups",
        "config_valid": True,
        "total_configs": 1, "total_projects": 1, "total_users": 1, "total_api_keys": 1, "cache_enabled": False,
        "cache_type": "local", "telemetry_enabled": False, "guardrails_configured": False, "uptime_seconds": 1,
        "gateway_id": "g", "volume_id": VOLUME,
    }  # fmt: skip
    return SystemHealthData(**{**defaults, **fields})


def restore_result(**fields: Any) -> RestoreResult:
    """A restore whose config was replaced, and that is neither committed nor rolled back."""
    defaults: dict[str, Any] = {
        "request_id": "r", "state": RestoreState.applied, "source_path": "", "restored_sha256": "a" * 64,
        "sections_digest": "a" * 64, "counts": ONE_OF_EACH, "safety_backup": SafetyBackup(kind="missing"),
        "started": SOME_TIME,
    }  # fmt: skip
    return RestoreResult(**{**defaults, **fields})


def restore_plan(**fields: Any) -> RestorePlan:
    """The dry run of a restore that adds a user and removes two."""
    none = EntryDiff(added=0, removed=0, changed=0)
    users = EntryDiff(added=1, removed=2, changed=0, added_names=["new"], removed_names=["a", "b"])
    keys = KeyDiff(added=0, removed=0, changed=0, disabled=0, enabled=0)
    diff = ConfigDiff(
        admin_key_changes=False, configs=none, projects=none, users=users, emails_added=1, emails_removed=2,
        api_keys=keys, settings_changed=[],
    )  # fmt: skip
    defaults: dict[str, Any] = {
        "source_path": "manual/x.json.zst", "source_gateway_id": "g", "restored_sha256": "a" * 64,
        "sections_digest": "a" * 64, "counts": ONE_OF_EACH, "compared_with": "config", "key_remains_accepted": True,
        "diff": diff,
    }  # fmt: skip
    return RestorePlan(**{**defaults, **fields})


class Admin:
    """One gateway's admin API, its volume and its config."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.live: str | None = "old"
        self.kept: str | None = None
        self.backups: dict[str, tuple[BackupRecord, str | None]] = {}
        self.files_made = 0
        self.request_ids: set[str] = set()
        self.restore_record: RestoreResult | None = None
        self.replaced_times = 0
        self.unhealthy_on: str | None = None
        """The content on which the gateway never becomes Ready."""
        self.failing: list[AdminApiError] = []
        self.is_full = False
        """Whether the volumes have no free space: reads work, and every change is refused."""
        self.health_fields: dict[str, Any] = {}
        """Fields that the health has in any case."""
        self.volume = VOLUME
        self.foreign: dict[str, FileInspection] = {}
        """Files without a manifest, by their path."""
        self.special: dict[str, BackupEntry] = {}
        """Entries that replace or extend the list of files, by their path."""
        self.full_lists = 0
        """The number of lists that were not answered with 304."""
        self.problems: list[Problem] = []
        """The problems that a check of any file reports."""
        self.level = "Verified"
        """The level in the answer to a new backup."""
        self.verified_level: str | None = "Verified"
        """The level that a verification reports."""
        self.counts = ONE_OF_EACH
        self.encrypted = False
        self.certificate_end: datetime | None = None
        self.identities: list[str | None] = []
        """The identity that each restore call was given."""
        self.plan_fields: dict[str, Any] = {}
        """Fields of the answer to a dry run."""
        self.other_key_in: str | None = None
        """The content with another admin key. The operator's is accepted until a restore of it is committed."""

    def _gate(self, target: AdminTarget) -> None:
        if self.failing:
            raise self.failing.pop(0)
        record = self.restore_record
        is_open = record is not None and record.state is RestoreState.applied
        key_has_ended = self.other_key_in is not None and self.live == self.other_key_in and not is_open
        if key_has_ended or WRONG_KEY in target.keys:
            raise AdminApiError("Unauthorized", "wrong key", retryable=False)

    def _write_gate(self, target: AdminTarget) -> None:
        self._gate(target)
        if self.is_full:
            raise AdminApiError("VolumeFull", "no space left", remedy="Free space.", retryable=True, status=507)

    def _state(self) -> None:
        self.cluster.pod_ready = self.live is not None and self.live != self.unhealthy_on

    async def health(self, target: AdminTarget) -> SystemHealthData:
        self._gate(target)
        valid = self.live not in (None, "broken")
        digest = sha(self.live) if self.live is not None else None
        record = self.restore_record
        pending = record if record is not None and record.state is RestoreState.applied else None
        return health_data(
            **self.health_fields,
            status=SystemStatus.healthy if valid else SystemStatus.unhealthy,
            config_valid=valid,
            config_digest=digest,
            sections_digest=digest if valid else None,
            volume_id=self.volume,
            pending_restore=self._pending(pending) if pending else None,
            encryption="require" if self.encrypted else "allow",
            certificate_end=self.certificate_end,
        )

    def _pending(self, record: RestoreResult) -> PendingRestore:
        ends = self.other_key_in is not None and self.live == self.other_key_in
        return PendingRestore(request_id=record.request_id, state="applied", key_ends_with_commit=ends)

    async def backup(self, target: AdminTarget, call: CallBackup) -> BackupRecord:
        self._write_gate(target)
        backup_id = self.backup_id(self.volume, call.request_id)
        if backup_id not in self.backups:
            for holder, _ in self.backups.values():
                if holder.record_name == call.record_name:
                    existing = ExistingBackup(backup_id=holder.backup_id, path=holder.path, created=holder.created)
                    raise AdminApiError("NameUsed", "used", retryable=False, existing=existing)
            if self.live in (None, "broken"):
                raise AdminApiError("ConfigInvalid", "broken", retryable=False)
            self.files_made += 1
            content = str(self.live)
            record = backup_record(
                backup_id=backup_id,
                path=call.path,
                created=self.clock.now(),
                volume_id=self.volume,
                content_sha256=sha(content),
                stored_sha256=sha("stored" + content),
                stored_bytes=len(content),
                level=BackupLevel(self.level),
                counts=self.counts,
                content_bytes=len(content),
                proof="payload",
                metadata=dict(call.metadata),
                record_name=call.record_name,
            )
            self.backups[backup_id] = (record, content)
        return self.backups[backup_id][0]

    async def read_backup(self, target: AdminTarget, backup_id: str) -> BackupRecord | NotFound:
        self._gate(target)
        stored = self.backups.get(backup_id)
        return stored[0] if stored else NotFound()

    def read_content(self, target: AdminTarget, backup_id: str) -> tuple[BackupRecord, str | None]:
        """The record and the content of a backup's file."""
        self._gate(target)
        if backup_id not in self.backups:
            raise AdminApiError("BackupNotFound", "absent", retryable=False)
        return self.backups[backup_id]

    async def find_file(self, target: AdminTarget, path: str) -> BackupFile | NotFound:
        self._gate(target)
        records = [one for one, _ in self.backups.values() if one.path == path]
        return records[0] if records else self.foreign.get(path, NotFound())

    async def check_file(self, target: AdminTarget, backup_id: str, path: str) -> FileCheck | NotFound:
        self._gate(target)
        level = None if self.problems or self.verified_level is None else BackupLevel(self.verified_level)
        if backup_id not in self.backups:
            file = self.foreign.get(path)
            if file is None:
                return NotFound()
            return file.model_copy(update={"level": level, "problems": list(self.problems)})
        return VerificationResult(
            backup_id=backup_id,
            stored_sha256=self.backups[backup_id][0].stored_sha256,
            checked=self.clock.now(),
            level=level,
            proof="payload",
            signature="unsigned",
            problems=list(self.problems),
        )

    async def list_files(self, target: AdminTarget, token: str | None) -> BackupPage:
        """A page of two files, so that tests with few files need several pages."""
        self._gate(target)
        later = sorted((one for one in self._entries() if one.path > (token or "")), key=lambda one: one.path)
        return BackupPage.model_validate(
            {
                "items": later[:2],
                "continue": later[1].path if len(later) > 2 else None,
                "volume_id": self.volume,
                "listed_at": self.clock.now(),
            }
        )

    def _entries(self) -> list[BackupEntry]:
        entries = [
            BackupEntry(kind="backup", path=one.path, size_bytes=1, modified=one.created, record=one)
            for one, _ in self.backups.values()
        ]
        entries += [
            BackupEntry(kind="foreign", path=path, size_bytes=1, modified=one.modified)
            for path, one in self.foreign.items()
        ]
        return [one for one in entries if one.path not in self.special] + list(self.special.values())

    async def list_if_changed(self, target: AdminTarget, etag: str) -> TaggedPage:
        """The tag covers all files and the volume, as in the real API."""
        self._gate(target)
        tag = sha(self.volume + "".join(one.model_dump_json() for one in self._entries()))
        if tag == etag:
            return TaggedPage(None, tag)
        self.full_lists += 1
        return TaggedPage(await self.list_files(target, None), tag)

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        self._gate(target)
        return self.backups.pop(backup_id, None) is not None

    async def restore(self, target: AdminTarget, call: CallRestore, identity: Identity | None) -> RestoreResult:
        self._write_gate(target)
        self.identities.append(identity.text if identity else None)
        self.request_ids.add(call.request_id)
        return self._replace(call, identity)

    async def reset(self, target: AdminTarget, call: CallReset) -> RestoreResult:
        self._write_gate(target)
        self.request_ids.add(call.request_id)
        return self._replace(call, None)

    async def plan(self, target: AdminTarget, call: CallRestore | CallReset, identity: Identity | None) -> RestorePlan:
        self._gate(target)
        return restore_plan(restored_sha256=sha(self._source(call, identity)), **self.plan_fields)

    def _source(self, call: CallRestore | CallReset, identity: Identity | None) -> str:
        """The config that a restore or reset writes. AdminApiError if it is refused."""
        record = self.restore_record
        if record is not None and record.state is RestoreState.applied and not call.supersede:
            raise AdminApiError("RestorePending", "pending", retryable=False)
        if isinstance(call, CallReset):
            return EMPTY_CONFIG
        stored = next((one for one in self.backups.values() if self._is_named(call, one[0])), None)
        if stored is None:
            raise AdminApiError("BackupNotFound", "absent", retryable=False)
        if stored[0].path.endswith(".age") and (identity is None or identity.text != RIGHT_IDENTITY):
            code = "IdentityRequired" if identity is None else "WrongIdentity"
            raise AdminApiError(code, "it stays closed", retryable=False)
        return str(stored[1])

    @staticmethod
    def _is_named(call: CallRestore, file: BackupRecord) -> bool:
        return file.backup_id == call.backup_id if call.backup_id else file.path == call.path

    def _replace(self, call: CallRestore | CallReset, identity: Identity | None) -> RestoreResult:
        record = self.restore_record
        if record is not None and record.request_id == call.request_id:
            return record
        content = self._source(call, identity)
        self.kept, previous = self.live, self.live
        self.live = content
        self.replaced_times += 1
        self.restore_record = restore_result(
            request_id=call.request_id,
            previous_sha256=sha(previous) if previous is not None else None,
            restored_sha256=sha(content),
            sections_digest=sha(content),
            safety_backup=SafetyBackup(kind="backup" if call.safety_backup is False else "raw"),
        )
        self._state()
        return self.restore_record

    async def copy_backup(self, source: AdminTarget, target: AdminTarget, backup_id: str, seconds: float) -> None:
        raise NotImplementedError("AdminRouter knows both admin APIs and copies between them.")

    async def read_restore(self, target: AdminTarget, request_id: str) -> RestoreResult | NotFound:
        self._gate(target)
        record = self.restore_record
        return record if record is not None and record.request_id == request_id else NotFound()

    def _end(self, request_id: str, state: RestoreState) -> RestoreResult:
        record = self.restore_record
        if record is None or record.request_id != request_id:
            raise AdminApiError("RestoreNotFound", "absent", retryable=False)
        if record.state not in (RestoreState.applied, state):
            raise AdminApiError("RestoreEnded", "ended", retryable=False)
        self.restore_record = record.model_copy(update={"state": state})
        return self.restore_record

    async def commit(self, target: AdminTarget, request_id: str) -> RestoreResult:
        self._write_gate(target)
        return self._end(request_id, RestoreState.committed)

    async def rollback(self, target: AdminTarget, request_id: str, *, force: bool) -> RestoreResult:
        self._write_gate(target)
        record = self.restore_record
        if record is not None and record.state is RestoreState.applied:
            if not force and (self.live is None or sha(self.live) != record.restored_sha256):
                raise AdminApiError("ConfigChanged", "changed", retryable=False)
            self.live = self.kept
            self._state()
        return self._end(request_id, RestoreState.rolled_back)

    def backup_id(self, volume_id: str, request_id: str) -> str:
        return sha(volume_id + request_id)[:32]
