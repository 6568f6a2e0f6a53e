"""Runs ``kubectl-gateway`` in processes that are forked from one that has imported all its modules.

The imports take most of the time of a short command.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway_operator.cli.main import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "gateway_operator.cli.session", "gateway_operator.cli.backups"])


def run_plugin(
    words: Sequence[str], environment: Mapping[str, str], output: Path, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run the plugin in a process of its own, with this environment alone. ``output`` is a path for its output."""
    process = _CONTEXT.Process(target=_run, args=(list(words), dict(environment), str(output)))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{words} did not end within {timeout} s")
    texts = [Path(f"{output}{suffix}").read_text() for suffix in (".out", ".err")]
    return subprocess.CompletedProcess(list(words), process.exitcode, *texts)


def _run(words: list[str], environment: dict[str, str], output: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    sys.exit(main(words))
