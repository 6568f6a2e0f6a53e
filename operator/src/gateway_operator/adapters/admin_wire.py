"""The admin API's answers in the operator's own words: what an error means, what a record says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from gateway_api import contract
from gateway_operator.domain.calls import Counts, Journal, RestoreRecord, StoredBackup
from gateway_operator.domain.names import ADMIN_KEY_SECRET
from gateway_operator.domain.reasons import Reason
from gateway_operator.ports import AdminApiError

_BY_NAME: Final = {code.value: spec for code, spec in contract.ERRORS.items()}

KEY_REFUSED: Final = "The admin API refused the operator's key."
KEY_CURE: Final = (
    f"Compare the Secret that the workload's annotation {ADMIN_KEY_SECRET} names with the one that its pod mounts."
)


def refusal(status: int, headers: Mapping[str, str], raw: bytes) -> AdminApiError:
    """An error body as an exception. A code this version does not know goes by its HTTP status."""
    try:
        body = contract.ErrorBody.model_validate_json(raw)
    except ValidationError:
        retryable = status >= 500 or status in (408, 429)
        detail = f"HTTP {status} with a body that is not the admin API's."
        return AdminApiError(Reason.UnexpectedAnswer, detail, retryable=retryable, status=status, unsure=status >= 500)
    known = _BY_NAME.get(body.code)
    refused = body.code == contract.ErrorCode.Unauthorized  # the API's own words are for people with curl
    return AdminApiError(
        body.code,
        KEY_REFUSED if refused else body.detail,
        retryable=known.retryable if known else status >= 500,
        status=status,
        cure=KEY_CURE if refused else known.remedy if known else "",
        retry_after=_seconds(headers.get("Retry-After")),
        unsure=status >= 500 or body.code == contract.ErrorCode.InProgress,
    )


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


def stored(data: contract.BackupRecord) -> StoredBackup:
    """A backup."""
    return StoredBackup(
        backup_id=data.backup_id,
        path=data.path,
        created=data.created,
        gateway_id=data.gateway_id,
        volume_id=data.volume_id,
        gateway_version=data.gateway_version,
        content_sha256=data.content_sha256,
        stored_sha256=data.stored_sha256,
        stored_bytes=data.stored_bytes,
        level=data.level.value if data.level else "",
        counts=counts_of(data.counts),
        content_bytes=data.content_bytes,
        proof=data.proof,
        metadata=data.metadata,
        recipients=tuple(data.recipients),
        signed_by=tuple(data.signed_by),
    )


def counts_of(data: contract.Counts) -> Counts:
    """How many of each thing."""
    return Counts(data.configs, data.projects, data.users, data.api_keys, data.disabled_api_keys)


def restore_record(data: contract.RestoreResult) -> RestoreRecord:
    """A restore."""
    return RestoreRecord(
        request_id=data.request_id,
        state=Journal(data.state.value),
        previous_sha256=data.previous_sha256,
        restored_sha256=data.restored_sha256,
        sections_digest=data.sections_digest,
        safety_kind=data.safety_backup.kind,
        safety_path=data.safety_backup.path,
        counts=counts_of(data.counts),
    )
