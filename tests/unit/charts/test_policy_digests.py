"""The operator knows the policies of its chart by their digests."""

from __future__ import annotations

import pytest

from gateway_operator.domain.gateway.admission import DIGESTS, policy_digest
from tests.unit.charts.render import one, render


@pytest.mark.parametrize("suffix", DIGESTS)
def test_operator_knows_the_policies_of_its_chart(suffix: str) -> None:
    # After a change of an expression, copy the new digest to domain/gateway/admission.py.
    policy = one(render("operator"), "ValidatingAdmissionPolicy", f"gateway-backup-operator-{suffix}")
    assert policy_digest(policy) == DIGESTS[suffix]
