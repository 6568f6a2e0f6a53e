"""Dry run of a restore or reset: all of its checks, and the difference between the live config and the new one.

Takes no lock, changes no file and writes no record, so it runs beside other operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from gateway_api.clock import utc_now
from gateway_api.contract import ResetRequest, RestorePlan, RestoreRequest
from gateway_api.errors import config_volume_error
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.operation_context import OperationContext
from gateway_api.repository.index import RepositoryIndex, open_volume
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.repository.reader import StoredFile
from gateway_api.restores import records
from gateway_api.restores.reset import empty_config
from gateway_api.restores.source import refuse_new_issues, restore_source
from gateway_api.restores.steps import refuse_if_pending
from gateway_api.settings import AdminSettings
from gateway_api.storage.state_dir import StateDir


def dry_run(
    settings: AdminSettings,
    config: ConfigFile,
    index: RepositoryIndex,
    crypto: EncryptionAndSigning,
    request: RestoreRequest | ResetRequest,
    accepted_key: Callable[[Sequence[str]], bool],
) -> RestorePlan:
    """Checks the restore or reset and describes its effect.

    ``accepted_key`` tells whether the key of this request is accepted when the config has the keys with these digests.
    Raises the errors that the operation would raise, except those of the replacement itself.
    """
    with ExitStack() as stack:
        try:
            config_state = stack.enter_context(StateDir(settings.config_dir, create=False))
        except OSError as error:
            raise config_volume_error(error) from None
        context = OperationContext(
            settings=settings,
            config=config,
            config_replacer=ConfigReplacer(config_state, settings.config_file),
            config_state=config_state,
            backup_state=None,
            index=index,
            clock=utc_now,
            requested_by="dry run",
            crypto=crypto,
        )
        if not request.supersede:
            refuse_if_pending(records.load_journal(config_state))
        if isinstance(request, ResetRequest):
            source, allow_issues = empty_config(context, request), True
        else:
            # Only the source is read from the backup volume: its errors become errors of that volume.
            with open_volume(settings.backup_dir, index) as root_fd:
                source = restore_source(replace(context, read_only_root=root_fd), request)
            allow_issues = request.allow_issues
        live = config.read()
        refuse_new_issues(source, live, allow_issues=allow_issues)
        valid = live.content if live.kind == "valid" else None
        return RestorePlan(
            operation="reset" if isinstance(request, ResetRequest) else "restore",
            key_remains_accepted=accepted_key(source.summary.admin_key_digests),
            compared_with="nothing" if valid is None else "config",
            previous_sha256=live.sha256,
            diff=config.parser.diff(valid, source.content),
            **_describe_source(source),
        )


def _describe_source(source: StoredFile) -> dict[str, Any]:
    """The fields of a plan that depend on the new config alone."""
    return {
        "source_path": source.path,
        "source_backup_id": source.backup_id,
        "source_gateway_id": source.gateway_id,
        "source_gateway_version": source.gateway_version,
        "signature": source.signature,
        "restored_sha256": source.summary.sha256,
        "sections_digest": source.sections_digest,
        "counts": source.summary.counts,
        "issues": list(source.summary.issues),
    }
