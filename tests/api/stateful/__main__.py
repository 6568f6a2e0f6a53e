"""Runs random sequences of operations for some minutes and prints the shortest failing sequence: `make stateful-test`.

Each round has its own seed, which is printed before the round starts. `--seed` repeats a round.
"""

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
    """Runs rounds of sequences until the time is over or a sequence fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.api.stateful", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="start no new round after this time")
    parser.add_argument("--seed", type=int, help="seed of the first round; later rounds add 1 each (default: random)")
    parser.add_argument("--sequences", type=int, default=20, help="number of sequences per round")
    parser.add_argument("--steps", type=int, default=40, help="maximum number of steps per sequence")
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 30) if options.seed is None else options.seed
    plan = hypothesis.settings(
        max_examples=options.sequences,
        stateful_step_count=options.steps,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    end, rounds = time.monotonic() + 60 * options.minutes, 0
    with tempfile.TemporaryDirectory(prefix="stateful-test-") as folder:
        fork_server = ForkServer(Path(folder) / "log")
        try:
            while time.monotonic() < end:
                AdminApiStateMachine.fork_server = fork_server
                print(f"seed {seed + rounds}", flush=True)
                run_state_machine_as_test(hypothesis.seed(seed + rounds)(AdminApiStateMachine), settings=plan)
                rounds += 1
        finally:
            fork_server.close()
    print(f"{rounds} rounds of {options.sequences} sequences passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
