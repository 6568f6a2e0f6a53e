"""The durable steps that replace the config, for restores and resets.

After a crash at any point the config is either the old one or the new one, and the journal tells recovery which. The
order of the steps guarantees this:
1. Stage the new config. Journal `prepared`.
2. Keep the previous config and compare it with the safety backup.
3. Rename the staged file. Store the digests of its admin keys. Journal `applied`.
4. Wait until the gateway leaves the file alone. Journal `settled`.
"""

from __future__ import annotations

from typing import Final, Literal

from gateway_api.contract import ErrorCode, RestoreResult, RestoreState, SafetyBackup
from gateway_api.errors import ApiError
from gateway_api.gateway_config.live import ConfigRead
from gateway_api.operation_context import OperationContext
from gateway_api.repository.reader import StoredFile
from gateway_api.restores import records
from gateway_api.restores.journal import Journal
from gateway_api.restores.previous import describe_copy, read_previous
from gateway_api.restores.safety_backup import create_safety_backup
from gateway_api.restores.steps import abort, after_rename, finish, record_admin_keys

RETAKES: Final = 3
"""How often the safety backup is taken again because the gateway wrote its config in between."""
SafetyOption = bool | Literal["required"]


def with_previous(
    context: OperationContext, journal: Journal, previous: ConfigRead, requested: SafetyOption
) -> Journal:
    """The journal with the config that is about to be replaced, or was replaced, after a safety backup of it.

    Raises the error of a safety backup that is required and fails.
    """
    replacer = context.config_replacer
    had_config = previous.kind != "missing"
    sha256 = previous.sha256
    if had_config and sha256 is None:
        # A config above the size limit is not read into memory. Its digest is needed for recovery and rollback.
        sha256 = replacer.live_digest()
    copy = journal.copy_of_previous
    if copy is None or copy.content_sha256 != sha256:
        copy = create_safety_backup(context, previous, journal.request_id, requested)
    saved = describe_copy(context, journal.kept_file, copy) if had_config else SafetyBackup(kind="missing")
    result = journal.result.model_copy(update={"previous_sha256": sha256, "safety_backup": saved})
    changes: dict[str, object] = {"had_config": had_config, "copy_of_previous": copy, "result": result}
    if journal.phase == "prepared":
        changes["access"] = replacer.access()
    return journal.model_copy(update=changes)


def apply(context: OperationContext, journal: Journal, source: StoredFile, requested: SafetyOption) -> RestoreResult:
    """Replaces the config. ``journal`` is `prepared` and not written yet."""
    replacer = context.config_replacer
    # Staged before the journal mentions it. A crash right after this: recovery removes the staged file.
    replacer.stage(journal.staged_file, source.content, journal.access)
    try:
        # A crash right after this: the staged file exists, so the rename has not happened. Recovery undoes all.
        journal = records.save_journal(context.config_state, journal)
        # Before the rename, because afterwards the previous config has no name. A crash right after this is the same as
        # before it: recovery removes the kept file, which is the live config.
        journal = _keep_previous(context, journal, source, requested)
        # The rename, which makes the staged file the config. A crash right after this: the staged file is absent and
        # the digest of the config is the restored one, so recovery records `applied`.
        replacer.activate(journal.staged_file)
    except ApiError as error:
        # The rename may have happened if only its durability is unknown: then recovery decides.
        if error.code is not ErrorCode.DurabilityUnknown:
            abort(context, journal, drop_journal=True)
        raise
    return _record_applied(context, journal, source, requested)


def reapply(context: OperationContext, journal: Journal, source: StoredFile, requested: SafetyOption) -> RestoreResult:
    """Replaces the config again, because the gateway overwrote it before it had settled.

    The journal is `applied` already, and the config that was kept at the first attempt stays the one for a rollback.
    """
    replacer = context.config_replacer
    # A crash right after this: recovery removes the staged file of an `applied` restore.
    replacer.stage(journal.staged_file, source.content, journal.access)
    try:
        if journal.result.restored_sha256 != source.summary.sha256:
            # A reset that rotates the admin key generates another one at each attempt. The digest must be recorded
            # before the rename: recovery compares it with the live config. A crash right after this: the phase is
            # `applied` and the config differs, so a repeated request applies again.
            result = journal.result.model_copy(update={"restored_sha256": source.summary.sha256})
            journal = records.save_journal(context.config_state, journal.model_copy(update={"result": result}))
        # The rename. A crash right after this: a repeated request waits until the config has settled.
        replacer.activate(journal.staged_file)
    except ApiError as error:
        if error.code is not ErrorCode.DurabilityUnknown:
            abort(context, journal, drop_journal=False)
        raise
    return _record_applied(context, journal, source, requested)


def _record_applied(
    context: OperationContext, journal: Journal, source: StoredFile, requested: SafetyOption
) -> RestoreResult:
    with after_rename():
        # Before `applied` is recorded. A crash right before or after this: recovery stores the keys of the journal.
        record_admin_keys(context, source.summary.admin_key_digests)
        # A crash right after this: a repeated request waits until the config has settled. A restore without a
        # request id is committed by recovery.
        journal = records.save_journal(context.config_state, journal.moved_to("applied"))
    return confirm(context, journal, requested)


def _keep_previous(context: OperationContext, journal: Journal, source: StoredFile, requested: SafetyOption) -> Journal:
    """Keeps the live config, and returns the journal that describes exactly the kept bytes.

    The gateway may write its config after it was read for the safety backup. Then the safety backup is taken again.
    Raises ``ConfigUnstable`` when that happens too often.
    """
    replacer = context.config_replacer
    for attempt in range(1 + RETAKES):
        if attempt:
            live = context.config.read()
            if live.kind == "unstable":
                raise live.error()
            changed = with_previous(context, journal, live, requested)
            if changed.access != journal.access:
                # The staged file becomes the config, so it needs the access that the config has now.
                replacer.stage(journal.staged_file, source.content, changed.access)
            # A crash right after this: the staged file exists, so recovery undoes all.
            journal = records.save_journal(context.config_state, changed)
        replacer.keep_previous(journal.kept_file)
        if _is_kept(context, journal):
            return journal
    raise ApiError(ErrorCode.ConfigUnstable)


def _is_kept(context: OperationContext, journal: Journal) -> bool:
    """Whether the kept file is the live config, and the one that the journal describes."""
    replacer = context.config_replacer
    if not journal.had_config:
        return not replacer.has_config
    if not replacer.is_live(journal.kept_file):
        return False
    expected = journal.result.previous_sha256
    # An unreadable config has no digest. It is kept as it is, and nothing ever counts as a copy of it.
    return expected is None or replacer.digest(journal.kept_file) == expected


def confirm(context: OperationContext, journal: Journal, requested: SafetyOption) -> RestoreResult:
    """Waits until the gateway leaves the restored config alone; raises ``ConfigChangedDuringRestore`` if not."""
    with after_rename():
        settled = context.config_replacer.wait_until_settled(context.settings.settle_seconds)
        if settled != journal.result.restored_sha256:
            raise ApiError(
                ErrorCode.ConfigChangedDuringRestore,
                f"the gateway overwrote the config that restore {journal.request_id} had applied",
            )
        journal = _with_late_writes(context, journal, requested)
        # A crash right after this: a repeated request gets the stored result.
        journal = records.save_journal(context.config_state, journal.model_copy(update={"settled": True}))
        if journal.auto_commit:
            return finish(context, journal, RestoreState.committed).result
        return journal.result


def _with_late_writes(context: OperationContext, journal: Journal, requested: SafetyOption) -> Journal:
    """The journal with the previous config as the gateway left it.

    A gateway that had the previous config open during the rename writes to the kept file. If it wrote a whole config,
    that one was the last live config: it is backed up and is the one for a rollback. A partial write changes nothing
    here, and `release` never removes it without a copy.
    """
    digest = context.config_replacer.digest(journal.kept_file)
    if not journal.had_config or digest is None or digest == journal.result.previous_sha256:
        return journal
    previous = read_previous(context, journal.kept_file)
    if previous.kind != "valid":
        return journal
    # The config is replaced already, so a failure of this backup must not look like a failure of the restore.
    return with_previous(context, journal, previous, requested is not False)
