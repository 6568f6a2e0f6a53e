"""The meanings of the reasons of a drill."""

from __future__ import annotations

from typing import Final

from gateway_operator.domain.model.reason_docs.meaning import NOTHING, Meaning
from gateway_operator.domain.model.reasons import Reason

DRILL_REASONS: Final[dict[Reason, Meaning]] = {
    Reason.Drilling: Meaning("The backup is being restored in a temporary pod.", NOTHING),
    Reason.Drilled: Meaning(
        "A gateway became Ready in a temporary pod with the backup and its counts. On a schedule: its newest drill.",
        NOTHING,
    ),
    Reason.NotIsolated: Meaning(
        "The drill pod reached the API server or the live gateway, so nothing was restored in it.",
        "Use a network plugin that enforces NetworkPolicies, or accept it for this gateway as `docs/drills.md` shows.",
    ),
    Reason.DrillNotPossible: Meaning(
        "The workload's pod template, or the file, does not allow a drill.",
        "Follow the message: name the admin port in the template, or drill a backup that has a manifest.",
    ),
    Reason.DrillPodRejected: Meaning(
        "The API server refused the drill pod, or another pod has its name.",
        "Follow the message; quotas, pod security and admission policies of the namespace apply to the drill pod too.",
    ),
    Reason.DrillPodFailed: Meaning(
        "A container of the drill pod ended, or the pod was deleted or evicted.",
        "Read the message. If the gateway's container ended, the backup may not restore: drill an older one.",
    ),
    Reason.DrillTimedOut: Meaning(
        "The drill did not end within `timeoutSeconds`.",
        "The message says what the pod waited for: a node, an image, or the gateway's readiness probe.",
    ),
    Reason.CountsDiffer: Meaning(
        "The gateway in the drill pod has other numbers of users, projects, configs or keys than the backup.",
        "Compare the backup with the live config by a restore with `mode: DryRun`.",
    ),
}
