"""Why the operator does not start: a missing CRD and an unreachable API server have different remedies."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_operator.adapters.custom_resources import PLURALS, CustomResources
from gateway_operator.ports import ClusterError, ForbiddenError, MissingError

ALL = list(PLURALS.values())


class AnsweringApi(CustomResources):
    """Answers the question for the kinds with a list of names, or raises."""

    def __init__(self, answer: list[str] | ClusterError) -> None:
        self.answer = answer

    async def request(self, *_: Any, **__: Any) -> dict[str, Any]:
        if isinstance(self.answer, ClusterError):
            raise self.answer
        return {"resources": [{"name": name} for name in self.answer]}


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (ALL, ""),
        ([*ALL, "gatewaybackups/status"], ""),
        (ALL[1:], "Apply the CRDs"),
        ([], "Apply the CRDs"),
        (MissingError("not found"), "Apply the CRDs"),
        (ForbiddenError("forbidden"), "forbidden. "),
        (ClusterError("The Kubernetes API did not answer GET /apis/x: TimeoutError"), "check the NetworkPolicies"),
    ],
)
async def test_reason_names_the_remedy_of_its_own_cause(answer: list[str] | ClusterError, remedy: str) -> None:
    obstacle = await AnsweringApi(answer).why_kinds_are_not_served()
    assert (obstacle == "") == (remedy == "")
    assert remedy in obstacle
    assert not obstacle or obstacle.endswith(".")
