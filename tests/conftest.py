"""pytest configuration for all tests: cluster fixtures, Hypothesis profiles, and the order of tests on two cores.

With ``CI=true`` a skipped test fails, so that a missing requirement is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["tests.cluster.fixtures"]

# No deadlines, because a loaded machine generates and runs examples slowly.
NO_DEADLINE = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("local", NO_DEADLINE)
# In CI the same examples in each run, so that a failure is due to the change. Local runs search for new examples.
hypothesis.settings.register_profile("ci", NO_DEADLINE, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")

NODE = ("tests/node/", "tests/cluster/test_node.py")
# With two workers the longest groups run first, so that short tests fill the remaining time of the other worker.
LONGEST_FIRST = (
    *NODE,
    "tests/api/fault_injection/test_crash_points.py",
    "tests/operator/",
    "tests/cluster/",
    "tests/api/",
    "tests/unit/",
)


class OneNode(LoadFileScheduling):  # type: ignore[misc]
    """Assigns all tests of a file to one worker, because they share fixtures, and all tests with a node to one node."""

    def _split_scope(self, nodeid: str) -> str:
        return "node" if nodeid.startswith(NODE) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneNode:
    """The scheduler that ``-n`` uses to distribute the tests."""
    return OneNode(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Distribute files in the order of collection instead of by their number of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers, sort the longest groups first; with one process, keep the order."""
    if getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    """Rank of a test's group. The sort is stable, so the order within a file is kept."""
    ranks = (number for number, prefix in enumerate(LONGEST_FIRST) if item.nodeid.startswith(prefix))
    return next(ranks, len(LONGEST_FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure with ``CI=true``."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} must run in CI: {reason}"
    return report
