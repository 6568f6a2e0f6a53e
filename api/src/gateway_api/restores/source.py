"""What may become the config: reading a backup from the volume and refusing everything that would brick a gateway.

Our own files give back their exact bytes; the public gateway's envelope is unwrapped; a foreign file is judged by its
content alone. A manifest beside the file binds it.
"""

from __future__ import annotations

from gateway_api.contract import ErrorCode, Issue, RestoreRequest
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigRead
from gateway_api.operation_context import OperationContext
from gateway_api.repository.reader import StoredFile, open_stored_file
from gateway_api.repository.signature_policy import SignatureOverrides
from gateway_api.storage.paths import parse_either


def new_issues(source: StoredFile, live: ConfigRead) -> tuple[Issue, ...]:
    """Issues that neither the source's manifest recorded nor the live config has."""
    known = {(issue.code, issue.where) for issue in source.known_issues}
    if live.summary is not None:
        known |= {(issue.code, issue.where) for issue in live.summary.issues}
    return tuple(issue for issue in source.summary.issues if (issue.code, issue.where) not in known)


def refuse_new_issues(source: StoredFile, live: ConfigRead, *, allow_issues: bool) -> None:
    """Raises ``ConfigUnstable`` for a live config that cannot be compared with, ``BackupHasIssues``."""
    if live.kind == "unstable":
        raise live.error()
    found = new_issues(source, live)
    if found and not allow_issues:
        raise ApiError(ErrorCode.BackupHasIssues, f"{len(found)} new issues, the first at {found[0].where}")


def restore_source(context: OperationContext, request: RestoreRequest) -> StoredFile:
    """What ``request`` names, read and judged. Raises what :func:`open_stored_file` raises."""
    volume = context.volume
    if request.input_file is not None:
        parts = parse_either(request.input_file, context.settings.backup_dir)
    else:
        located = context.inventory.locate(volume.base_fd, request.backup_id or "")
        if located is None:
            raise ApiError(ErrorCode.BackupNotFound)
        parts = located.parts
    asked = SignatureOverrides(request.accept_unsigned, request.trust_key_id)
    return open_stored_file(
        volume,
        parts,
        limit=context.settings.max_config_bytes,
        expected_sha256=request.expected_sha256,
        identity=None if request.identity is None else request.identity.get_secret_value(),
        admit=lambda received, encrypted: context.check_policy(received, asked, encrypted=encrypted),
        parser=context.config.judge,
    )
