"""Approval of a restore by a second person, where the gateway's workload requires it.

    Validating   the source is resolved and everything is checked   -> Pending (ApprovalRequired)
    Pending      wait for the approving annotation                  -> Pending, approved -> Validating
                 no approval in time, or no policy that proves one  -> Failed

The approver sees in ``status.source`` exactly what will be restored. The approval is recorded in ``status.approval``
before anything follows from it, and is judged once: a later change of annotation, policy or workload has no effect.
The annotation alone proves nothing. It counts only while the admission policy of the chart is in force, unchanged since
before the restore was created.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway_operator.domain.gateway.admission import RESTORES_POLICY, policy_problem
from gateway_operator.domain.model import durations, timestamps
from gateway_operator.domain.model.actions import KubernetesEvent, RestoreAction, Wait, Write
from gateway_operator.domain.model.names import APPROVAL_TIMEOUT
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.status import RestoreObservation, deadline, finish, step, steps

_DEFAULT_SECONDS: Final = 86_400.0
_POLL_SECONDS: Final = 30.0
"""A change of the annotation starts a run at once. This interval is for the policy, which has no watch."""
_SERVICE_ACCOUNT: Final = "system:serviceaccount:"


def is_needed(observed: RestoreObservation) -> bool:
    """Whether the restore must be approved before it changes anything. Dry runs and drills change nothing.

    Once it has been required for this restore, the annotation of the workload no longer matters.
    """
    restore = observed.restore
    return restore.mode == "Apply" and not restore.approved and (bool(restore.approval) or observed.approval_required)


def request(observed: RestoreObservation, diff: dict[str, Any], now: datetime) -> RestoreAction:
    """Ask for the approval of a restore whose source is resolved; end if nobody could give it.

    ``diff``: the difference to the live config, for ``status.diff``.
    """
    restore = observed.restore
    seconds = _timeout(observed.approval_timeout)
    if problem := _requester_problem(restore):
        return finish(restore, "Failed", Reason.RequesterInvalid, problem, now)
    if problem := _source_problem(restore):
        return finish(restore, "Failed", Reason.SpecInvalid, problem, now)
    if seconds is None:
        text = observed.approval_timeout
        problem = f"The annotation {APPROVAL_TIMEOUT} of {restore.gateway} is no duration such as 24h: {text[:40]!r}."
        return finish(restore, "Failed", Reason.ApprovalUnavailable, problem, now)
    refused = _policy_action(observed, now)
    if refused is not None:
        return refused
    expires = timestamps.later(now, seconds)
    # The start time is removed, because the time for the restore itself begins after the approval.
    status = {
        "startTime": None,
        "diff": diff,
        "approval": {"requestedTime": timestamps.text(now), "expiresAt": timestamps.text(expires)},
    }
    message = _waiting_message(restore, expires)
    event = KubernetesEvent(Reason.ApprovalRequired, message)
    return step(restore, "Pending", Reason.ApprovalRequired, message, now, status, event=event, name="Approval")


def waiting(observed: RestoreObservation, now: datetime) -> RestoreAction:
    """Judge the approval of a restore that waits for it. Without one, wait for it until its deadline."""
    restore = observed.restore
    expires = deadline(restore)
    if now >= expires:
        message = f"Nobody approved the restore before {timestamps.text(expires)}. Nothing was changed."
        return finish(restore, "Failed", Reason.ApprovalExpired, f"{message} Create it again under another name.", now)
    refused = _policy_action(observed, now)
    if refused is not None:
        return refused
    approver = restore.approver
    if not approver:
        status = {"phase": "Pending", "reason": str(Reason.ApprovalRequired), "failure": None}
        left = max(0.5, timestamps.seconds_until(expires, now))
        # Requeue for the deadline, and because the policy has no watch.
        return Wait(min(_POLL_SECONDS, left), {**status, "message": _waiting_message(restore, expires)})
    if approver == restore.requested_by or approver.startswith(_SERVICE_ACCOUNT):
        # The policy refuses this, so the annotation was not written under it.
        message = f"The approval names {approver}, who cannot approve this restore. Nothing was changed."
        return finish(restore, "Failed", Reason.ApprovalUnavailable, message, now)
    message = f"Approved by {approver}."
    # Durable before the restore continues: the approval is judged only here.
    accepted: dict[str, Any] = {
        "approval": {**restore.approval, "by": approver, "time": timestamps.text(now)},
        "reason": str(Reason.Approved),
        "message": message,
        "failure": None,
        "steps": steps(restore, now, None, ended=message),
    }
    return Write(accepted, KubernetesEvent(Reason.Approved, message))


def _timeout(text: str) -> float | None:
    """Seconds to wait for the approval; None for an annotation that cannot be parsed."""
    if not text:
        return _DEFAULT_SECONDS
    length = durations.parse_or_none(text)
    return length.total_seconds() if length else None


def _requester_problem(restore: Restore) -> str:
    """Why nobody could approve this restore as the second person; empty if someone can."""
    if not restore.requested_by:
        return (
            "This gateway requires approval, and spec.requestedBy is missing: it must name the user who creates the "
            "restore. `kubectl gateway restore create` sets it."
        )
    if restore.requested_by.startswith(_SERVICE_ACCOUNT):
        return (
            f"This gateway requires approval, and {restore.requested_by} is a ServiceAccount. The approver could act "
            "as it and so be both people: a person must create the restore."
        )
    return ""


def _source_problem(restore: Restore) -> str:
    """Why the source could change after the approval; empty if it cannot."""
    if restore.factory_reset is not None or restore.source.get("sha256"):
        return ""
    return (
        "This gateway requires approval, and nothing names the contents of the file: set spec.expectedSha256, so that "
        "the approved file cannot be replaced."
    )


def _policy_action(observed: RestoreObservation, now: datetime) -> RestoreAction | None:
    """The action if the policy is not in force; None if it is."""
    restore, installed = observed.restore, observed.policy
    problem = policy_problem(RESTORES_POLICY, installed, since=restore.meta.created)
    if not problem:
        return None
    if installed is not None and installed.retryable and now < deadline(restore):
        return Wait(_POLL_SECONDS, {"message": f"Waiting, because the approval cannot be judged now. {problem}"})
    message = f"This gateway requires approval, and approvals cannot be checked. {problem} Nothing was changed."
    return finish(restore, "Failed", Reason.ApprovalUnavailable, message, now)


def _waiting_message(restore: Restore, expires: datetime) -> str:
    ref, source = restore.meta.ref, _source_text(restore)
    command = f"kubectl gateway restore approve -n {ref.namespace} {ref.name}"
    return (
        f"{restore.requested_by} requests to restore {source}. Another person must approve it until "
        f"{timestamps.text(expires)}: {command}"
    )


def _source_text(restore: Restore) -> str:
    if restore.factory_reset is not None:
        return "an empty config (factoryReset)"
    source: dict[str, Any] = dict(restore.source)
    name = f"GatewayBackup {source['backupName']}" if source.get("backupName") else str(source.get("path"))
    return f"{name} (SHA-256 {str(source.get('sha256'))[:12]})"
