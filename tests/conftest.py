"""What holds for every test: the cluster's fixtures, how tests share two cores, and that in CI nothing is skipped
without somebody knowing."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["tests.cluster.fixtures"]

# No clock: a machine that is busy makes examples slowly, and nothing follows from that.
NO_CLOCK = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("here", NO_CLOCK)
# In CI the same examples every time: a change is judged by what it changed. New ones are looked for elsewhere.
hypothesis.settings.register_profile("ci", NO_CLOCK, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

NODE = ("tests/node/", "tests/cluster/test_node.py", "tests/cluster/test_gateway_image.py")
# Where two run at once: the longest groups first, so that the short ones fill up what is left of the other core's time.
LONGEST_FIRST = (
    *NODE,
    "tests/api/fault_injection/test_crash_points.py",
    "tests/operator/",
    "tests/cluster/",
    "tests/api/",
    "tests/unit/",
)


class OneNode(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests stay together, since they share a server or an operator; all that need a node share one node."""

    def _split_scope(self, nodeid: str) -> str:
        return "node" if nodeid.startswith(NODE) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneNode:
    """How ``-n`` deals the tests out."""
    return OneNode(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Files are dealt out in the order they were collected in, not the ones with most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast tests first; but where two run at once, the longest groups first."""
    if getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    """The place of a test's group; a sort keeps the order within a file."""
    ranks = (number for number, prefix in enumerate(LONGEST_FIRST) if item.nodeid.startswith(prefix))
    return next(ranks, len(LONGEST_FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``CI=true`` a skip is a failure: a test that never runs is a test that nobody has."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} must run in CI: {reason}"
    return report
