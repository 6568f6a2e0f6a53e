"""The admin API of a small world in memory: a volume, a config and a journal. One request id does one thing once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway_operator.domain.actions import CallBackup, CallRestore
from gateway_operator.domain.calls import Checked, Counts, Gone, Health, Journal, Listed, RestoreRecord, StoredBackup
from gateway_operator.ports import AdminApiError, AdminTarget, Identity
from tests.unit.operator.fake_cluster import Clock, Cluster, sha

VOLUME = "v" * 32
RIGHT_IDENTITY = "AGE-SECRET-KEY-1CANARY"


class Admin:
    """One gateway's admin API, its volume and its config."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.live: str | None = "old"
        self.kept: str | None = None
        self.backups: dict[str, tuple[StoredBackup, str | None]] = {}
        self.made = 0
        self.request_ids: set[str] = set()
        self.restore_record: RestoreRecord | None = None
        self.replaced_times = 0
        self.sick_on: str | None = None
        """The content on which the gateway never becomes Ready."""
        self.failing: list[AdminApiError] = []
        self.volume = VOLUME
        self.foreign: dict[str, StoredBackup] = {}
        """Files without a manifest, by their path."""
        self.problems: tuple[tuple[str, str], ...] = ()
        """What a check finds wrong."""
        self.level = "Verified"
        """How far the answer of a new backup proves it."""
        self.verified_level: str | None = "Verified"
        """How far a verification proves a file."""
        self.counts = Counts(1, 1, 1, 1, 0)
        self.encrypted = False
        self.identities: list[str | None] = []
        """What each restore was given to open the file with."""

    def _gate(self) -> None:
        if self.failing:
            raise self.failing.pop(0)

    def _state(self) -> None:
        self.cluster.pod_ready = self.live is not None and self.live != self.sick_on

    async def health(self, target: AdminTarget) -> Health:
        self._gate()
        valid = self.live not in (None, "broken")
        digest = sha(self.live) if self.live is not None else None
        record = self.restore_record
        pending = record.request_id if record and record.state is Journal.applied else None
        return Health(
            status="healthy" if valid else "unhealthy",
            config_path="/config/config.json",
            config_valid=valid,
            config_digest=digest,
            sections_digest=digest if valid else None,
            gateway_id="g",
            volume_id=self.volume,
            pending_request=pending,
            encrypted=self.encrypted,
        )

    async def backup(self, target: AdminTarget, call: CallBackup) -> StoredBackup:
        self._gate()
        backup_id = self.backup_id(self.volume, call.request_id)
        if backup_id not in self.backups:
            if self.live in (None, "broken"):
                raise AdminApiError("ConfigInvalid", "broken", retryable=False)
            self.made += 1
            content = str(self.live)
            made = StoredBackup(
                backup_id=backup_id,
                path=call.path,
                created=self.clock.now(),
                gateway_id="g",
                volume_id=self.volume,
                gateway_version=None,
                content_sha256=sha(content),
                stored_sha256=sha("stored" + content),
                stored_bytes=len(content),
                level=self.level,
                counts=self.counts,
                content_bytes=len(content),
                proof="payload",
                metadata=call.metadata,
            )
            self.backups[backup_id] = (made, content)
        return self.backups[backup_id][0]

    async def read_backup(self, target: AdminTarget, backup_id: str) -> StoredBackup | Gone:
        self._gate()
        found = self.backups.get(backup_id)
        return found[0] if found else Gone()

    async def find_file(self, target: AdminTarget, path: str) -> StoredBackup | Gone:
        self._gate()
        made = [one for one, _ in self.backups.values() if one.path == path]
        return made[0] if made else self.foreign.get(path, Gone())

    async def check_file(self, target: AdminTarget, backup_id: str, path: str) -> Checked | Gone:
        self._gate()
        found = self.backups[backup_id][0] if backup_id in self.backups else self.foreign.get(path)
        if found is None:
            return Gone()
        return Checked(found.stored_sha256, None if self.problems else self.verified_level, "payload", self.problems)

    async def list_files(self, target: AdminTarget, token: str | None) -> tuple[Sequence[Listed], str | None]:
        """A page of two, so that there are several."""
        self._gate()
        files = [Listed(one.path, "backup", one.created, one) for one, _ in self.backups.values()]
        files += [Listed(path, "foreign", one.created) for path, one in self.foreign.items()]
        later = sorted((one for one in files if one.path > (token or "")), key=lambda one: one.path)
        return later[:2], later[1].path if len(later) > 2 else None

    async def delete_backup(self, target: AdminTarget, backup_id: str) -> bool:
        self._gate()
        return self.backups.pop(backup_id, None) is not None

    async def restore(self, target: AdminTarget, call: CallRestore, identity: Identity | None) -> RestoreRecord:
        self._gate()
        self.identities.append(identity.text if identity else None)
        self.request_ids.add(call.request_id)
        record = self.restore_record
        if record is not None and record.request_id == call.request_id:
            return record
        if record is not None and record.state is Journal.applied:
            raise AdminApiError("RestorePending", "pending", retryable=False)
        found = self.backups.get(call.backup_id or "")
        if found is None:
            raise AdminApiError("BackupNotFound", "absent", retryable=False)
        if found[0].path.endswith(".age") and (identity is None or identity.text != RIGHT_IDENTITY):
            code = "IdentityRequired" if identity is None else "WrongIdentity"
            raise AdminApiError(code, "it stays closed", retryable=False)
        self.kept, previous = self.live, self.live
        self.live = found[1]
        self.replaced_times += 1
        self.restore_record = RestoreRecord(
            request_id=call.request_id,
            state=Journal.applied,
            previous_sha256=sha(previous) if previous is not None else None,
            restored_sha256=found[0].content_sha256,
            sections_digest=found[0].content_sha256,
            safety_kind="none" if call.safety_backup is False else "raw",
            safety_path=None,
        )
        self._state()
        return self.restore_record

    async def read_restore(self, target: AdminTarget, request_id: str) -> RestoreRecord | Gone:
        self._gate()
        record = self.restore_record
        return record if record is not None and record.request_id == request_id else Gone()

    def _end(self, request_id: str, state: Journal) -> RestoreRecord:
        record = self.restore_record
        if record is None or record.request_id != request_id:
            raise AdminApiError("RestoreNotFound", "absent", retryable=False)
        if record.state not in (Journal.applied, state):
            raise AdminApiError("RestoreEnded", "ended", retryable=False)
        self.restore_record = replace(record, state=state)
        return self.restore_record

    async def commit(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        self._gate()
        return self._end(request_id, Journal.committed)

    async def rollback(self, target: AdminTarget, request_id: str) -> RestoreRecord:
        self._gate()
        record = self.restore_record
        if record is not None and record.state is Journal.applied:
            if self.live is None or sha(self.live) != record.restored_sha256:
                raise AdminApiError("ConfigChanged", "changed", retryable=False)
            self.live = self.kept
            self._state()
        return self._end(request_id, Journal.rolled_back)

    def backup_id(self, volume_id: str, request_id: str) -> str:
        return sha(volume_id + request_id)[:32]
