"""Dry run of a restore: all of its checks, and the difference between the live config and the restored one.

Takes no lock, changes no file and writes no record, so it runs beside other operations.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from gateway_api.clock import utc_now
from gateway_api.contract import RestorePlan, RestoreRequest
from gateway_api.errors import backup_volume_error, config_volume_error
from gateway_api.gateway_config.live import ConfigFile
from gateway_api.gateway_config.replace import ConfigReplacer
from gateway_api.operation_context import OperationContext
from gateway_api.repository.index import RepositoryIndex
from gateway_api.repository.keys import EncryptionAndSigning
from gateway_api.restores import records
from gateway_api.restores.source import refuse_new_issues, restore_source
from gateway_api.restores.steps import refuse_if_pending
from gateway_api.settings import AdminSettings
from gateway_api.storage.paths import open_root
from gateway_api.storage.state_dir import StateDir


def dry_run(
    settings: AdminSettings,
    config: ConfigFile,
    index: RepositoryIndex,
    protection: EncryptionAndSigning,
    request: RestoreRequest,
) -> RestorePlan:
    """Checks the restore and describes its effect.

    Raises the errors that the restore would raise, except those of the replacement itself.
    """
    with ExitStack() as stack:
        try:
            config_state = stack.enter_context(StateDir(settings.config_dir, create=False))
        except OSError as error:
            raise config_volume_error(error) from None
        try:
            root_fd = open_root(settings.backup_dir)
            stack.callback(os.close, root_fd)
            index.refresh(root_fd)
        except OSError as error:
            raise backup_volume_error(error) from None
        context = OperationContext(
            settings=settings,
            config=config,
            config_replacer=ConfigReplacer(config_state, settings.config_file),
            config_state=config_state,
            backup_state=None,
            read_only_root=root_fd,
            index=index,
            clock=utc_now,
            requested_by="dry run",
            protection=protection,
        )
        if not request.supersede:
            refuse_if_pending(records.load_journal(config_state))
        source = restore_source(context, request)
        live = config.read()
        refuse_new_issues(source, live, allow_issues=request.allow_issues)
        return RestorePlan(
            source_path=source.path,
            source_backup_id=source.backup_id,
            signature=source.signature,
            previous_sha256=live.sha256,
            restored_sha256=source.summary.sha256,
            sections_digest=source.sections_digest,
            counts=source.summary.counts,
            issues=list(source.summary.issues),
            compared_with="config" if live.kind == "valid" else "nothing",
            diff=config.parser.diff(live.content if live.kind == "valid" else None, source.content),
        )
