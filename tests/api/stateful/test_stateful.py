"""Random sequences of operations on real servers, checked against a model after every step.

No answer is a 500 or undeclared. The live config is the one written last. Every backup is listed once and opens to its
exact bytes. A repeated request runs once. The audit log has no gap and no changed line.

CI always runs the same sequences; `make stateful-test` runs new ones.
"""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.api.stateful.restore_rules import AdminApiStateMachine
from tests.api.support.fork_server import ForkServer

pytestmark = pytest.mark.api


def test_system_matches_the_model_after_every_step(fork_server: ForkServer) -> None:
    AdminApiStateMachine.fork_server = fork_server
    run_state_machine_as_test(
        AdminApiStateMachine, settings=hypothesis.settings(max_examples=12, stateful_step_count=25)
    )
