"""Runs `gateway-admin` commands in the test process, which saves the start of an interpreter for each one."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from gateway_api import cli


class CommandResult(NamedTuple):
    """The exit code of a command and its output."""

    code: int
    stdout: str
    stderr: str


def run_command(*words: str | Path) -> CommandResult:
    """Runs the command with these arguments. It must not be one that starts to serve."""
    root, stdout, stderr = logging.getLogger(), io.StringIO(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = cli.main([str(word) for word in words])
    finally:
        # The command configures the logs of its process, which is that of the tests here.
        root.handlers[:] = handlers
        root.setLevel(level)
    return CommandResult(code, stdout.getvalue(), stderr.getvalue())
