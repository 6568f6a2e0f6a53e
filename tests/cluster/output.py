"""How the harness talks while it works, and how it runs commands that are only interesting when they fail."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.paths import ClusterError

Log = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Show a line at once; standard output stays free for what a command answers."""
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
    """Run a command; when it fails, say which one and what it said."""
    try:
        done = subprocess.run(
            command, input=input, capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd, check=False
        )
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"no answer within {timeout:g} s from: {' '.join(command)}") from None
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        raise ClusterError(f"{' '.join(command)} failed with {done.returncode}: {said}")
    return done


@contextmanager
def timed(log: Log, what: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    began = time.monotonic()
    yield
    log(f"{what} ({time.monotonic() - began:.1f} s)")


def wait_until(ready: Callable[[], bool], what: str, timeout: float, pause: float = 0.1) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {timeout:g} s")
        time.sleep(pause)
