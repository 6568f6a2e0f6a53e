"""`make explore`: days of every kind for as many minutes as are given, or until one breaks a promise: that one is
shown, made as short as it goes."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from tests.api.stateful.restore_rules import AdminApiStateMachine
from tests.api.support.fork_server import ForkServer


def main() -> int:
    """Runs what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.api.stateful", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="no new round is begun after these")
    parser.add_argument("--seed", type=int, help="of the first round; the next ones count up")
    parser.add_argument("--days", type=int, default=20, help="in a round")
    parser.add_argument("--steps", type=int, default=40, help="in a day")
    words = parser.parse_args()
    seed = secrets.randbelow(1 << 30) if words.seed is None else words.seed
    plan = hypothesis.settings(
        max_examples=words.days,
        stateful_step_count=words.steps,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    end, rounds = time.monotonic() + 60 * words.minutes, 0
    with tempfile.TemporaryDirectory(prefix="explore-") as folder:
        fork_server = ForkServer(Path(folder) / "log")
        try:
            while time.monotonic() < end:
                AdminApiStateMachine.fork_server = fork_server
                print(f"seed {seed + rounds}", flush=True)
                run_state_machine_as_test(hypothesis.seed(seed + rounds)(AdminApiStateMachine), settings=plan)
                rounds += 1
        finally:
            fork_server.close()
    print(f"{rounds} rounds of {words.days} days held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
