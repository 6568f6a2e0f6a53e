"""Whatever a day brings, in whatever order: no answer is a 500 or undeclared, the live config is what was put there
last, every backup is listed once and opens to its exact bytes, what was asked once is done once, and the audit log is
whole.

The days are the same every time in CI; `make explore` looks for new ones.
"""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.api.stateful.restore_rules import AdminApiStateMachine
from tests.api.support.fork_server import ForkServer

pytestmark = pytest.mark.api


def test_every_promise_holds_after_every_step_of_a_day(fork_server: ForkServer) -> None:
    AdminApiStateMachine.fork_server = fork_server
    run_state_machine_as_test(
        AdminApiStateMachine, settings=hypothesis.settings(max_examples=12, stateful_step_count=25)
    )
