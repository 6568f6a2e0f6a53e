"""The reason why a gateway, or an age identity for it, cannot be used now. An unexpected exception is one, too."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.reasons import Reason

_PASSING: Final = frozenset(
    {
        Reason.IdentityMissing,
        Reason.RolloutInProgress,
        Reason.PodTerminating,
        Reason.KubernetesError,
        Reason.InternalError,
    }
)


@dataclass(frozen=True, slots=True)
class GatewayProblem:
    """Why the gateway cannot be called now. ``forbidden``: Kubernetes denied the operator a permission."""

    reason: str
    message: str
    forbidden: bool = False

    @property
    def may_pass(self) -> bool:
        """Whether a problem of a restore that has changed nothing may end while the restore waits."""
        return self.forbidden or self.reason in _PASSING


def describe_error(error: BaseException) -> str:
    """The type of an exception and the place where it was raised.

    The text of the exception is left out: it may quote a Secret. The log has it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    location = f" in {PurePath(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"The operator stopped at an unexpected {type(error).__name__}{location}; its log has the details."


def unexpected_failure(error: BaseException) -> Failure:
    """The failure of a step. The step may have had its effect, so the outcome is unknown."""
    return Failure(Reason.InternalError, describe_error(error), retryable=True, outcome_unknown=True)


def unexpected_problem(error: BaseException) -> GatewayProblem:
    """The problem with a gateway whose lookup ended with an unexpected exception."""
    return GatewayProblem(Reason.InternalError, describe_error(error))
