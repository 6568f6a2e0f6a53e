"""One peer without a key cannot raise the server's memory above the limit of its container in the chart.

Latencies are printed by `make bench-admission` and not asserted here: they depend on the machine.
"""

from __future__ import annotations

import pytest

from tests.bench.admission.attacks import ATTACKS
from tests.bench.admission.measure import MEMORY_LIMIT_MIB, as_json, measure, running_target

pytestmark = pytest.mark.api


def test_memory_stays_below_the_limit_of_the_chart_under_every_attack() -> None:
    with running_target() as target:
        for name in ATTACKS:
            measured = measure(target, name, 2.0)
            print(as_json(measured))
            assert measured.memory_mib < MEMORY_LIMIT_MIB / 2, name
        target.ask_health()
        target.ask_with_key()
