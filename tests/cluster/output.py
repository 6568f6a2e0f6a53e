"""Helpers to print progress, run commands and wait for conditions. A failed command raises ClusterError."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.paths import ClusterError

Log = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Print a line to standard error immediately; standard output is for the results of commands."""
    print(line, file=sys.stderr, flush=True)


def run(
    command: Sequence[str],
    *,
    input: str | None = None,  # noqa: A002 - the name that subprocess.run gave it
    check: bool = True,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command; ClusterError with the command and its output if it fails and `check` is set."""
    try:
        result = subprocess.run(
            command, input=input, capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd, check=False
        )
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"no answer within {timeout:g} s from: {' '.join(command)}") from None
    if check and result.returncode != 0:
        output = (result.stderr.strip() or result.stdout.strip())[-3000:]
        raise ClusterError(f"{' '.join(command)} failed with {result.returncode}: {output}")
    return result


@contextmanager
def timed(log: Log, what: str) -> Iterator[None]:
    """Log `what` with its duration after the block."""
    began = time.monotonic()
    yield
    log(f"{what} ({time.monotonic() - began:.1f} s)")


def wait_until(ready: Callable[[], bool], what: str, timeout: float, pause: float = 0.1) -> None:
    """Poll until a condition holds; ClusterError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {timeout:g} s")
        time.sleep(pause)
