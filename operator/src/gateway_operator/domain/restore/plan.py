"""Judges and describes the admin API's dry run of a restore."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway_api.contract import EntryCounts, EntryDiff, KeyDiff, RestorePlan, SystemHealthData
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.source import Refusal

_SECTIONS: Final = {"configs": "configs", "projects": "projects", "users": "users", "apiKeys": "api_keys"}
"""The sections of ``status.diff``, with their fields in the contract."""
_WORDS: Final = {"configs": "MCP configs", "projects": "projects", "users": "users", "apiKeys": "API keys"}


def plan_refusal(restore: Restore, health: SystemHealthData, plan: RestorePlan) -> Refusal | None:
    """Why the restore is refused although the admin API would make it; None if it is not."""
    reset = restore.factory_reset
    if reset is not None and reset.rotate_admin_key and not plan.key_remains_accepted:
        message = (
            "The factory reset would create a new admin key, and the admin API would no longer accept the operator's "
            "key: the operator could neither check nor end the restore. Put the operator's key into the file that "
            "GATEWAY_ADMIN_KEY_FILE of the admin container names, or leave rotateAdminKey out."
        )
        return Refusal(Reason.AdminKeyWouldBeLost, message)
    if restore.allow_other_gateway:
        return None
    source_id = plan.source_gateway_id
    if source_id is not None and health.gateway_id is not None and source_id != health.gateway_id:
        message = (
            f"{plan.source_path} is a backup of another gateway (id {source_id}); this one has the id "
            f"{health.gateway_id}. To restore it here, set allowOtherGateway."
        )
        return Refusal(Reason.OtherGateway, message)
    if is_newer(plan.source_gateway_version, health.gateway_version):
        message = (
            f"{plan.source_path} was made by gateway version {plan.source_gateway_version}, which is newer than this "
            f"gateway's version {health.gateway_version}. Upgrade the gateway, or set allowOtherGateway."
        )
        return Refusal(Reason.NewerVersion, message)
    return None


def is_newer(source: str | None, live: str | None) -> bool:
    """Whether a version is newer than another, by their leading numbers. A version without a number is unknown."""
    one, other = _numbers(source), _numbers(live)
    return bool(one and other) and one > other


def _numbers(version: str | None) -> tuple[int, ...]:
    match = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", version or "", re.ASCII)
    if match is None:
        return ()
    numbers = [int(part) for part in match[1].split(".")]
    # 2.2 and 2.2.0 are one version.
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def diff_status(plan: RestorePlan) -> dict[str, Any]:
    """The difference in the form of ``status.diff``."""
    return {
        "adminKeyChanges": plan.diff.admin_key_changes,
        "comparedWith": plan.compared_with,
        "sections": [_section(name, getattr(plan.diff, field)) for name, field in _SECTIONS.items()],
        "settingsChanged": list(plan.diff.settings_changed),
    }


def _section(name: str, counts: EntryCounts) -> dict[str, Any]:
    section: dict[str, Any] = {
        "name": name,
        "added": counts.added,
        "removed": counts.removed,
        "changed": counts.changed,
    }
    if isinstance(counts, KeyDiff):
        section |= {"disabled": counts.disabled, "enabled": counts.enabled}
    if isinstance(counts, EntryDiff):
        names = {
            "addedNames": counts.added_names,
            "removedNames": counts.removed_names,
            "changedNames": counts.changed_names,
        }
        section |= {field: list(given) for field, given in names.items() if given}
    return section


def diff_text(plan: RestorePlan) -> str:
    """The difference in one or two sentences. A change of the admin key comes first."""
    diff = plan.diff
    parts = []
    for name, field in _SECTIONS.items():
        counts = getattr(diff, field)
        marks = [("+", counts.added), ("-", counts.removed), ("~", counts.changed)]
        changes = [f"{mark}{count}" for mark, count in marks if count]
        if isinstance(counts, KeyDiff):
            flags = [(counts.disabled, "disabled"), (counts.enabled, "enabled")]
            changes += [f"{count} {word}" for count, word in flags if count]
        if changes:
            parts.append(f"{_WORDS[name]} {' '.join(changes)}")
    if diff.settings_changed:
        parts.append(f"settings {', '.join(diff.settings_changed)}")
    subject = "reset" if plan.operation == "reset" else "restore"
    sentence = f"The {subject} would change: {'; '.join(parts)}." if parts else f"The {subject} would change no entry."
    first = "The admin key changes. " if diff.admin_key_changes else ""
    nothing = "" if plan.compared_with == "config" else " The live config is missing or cannot be read."
    return f"{first}{sentence}{nothing}"
