"""Runs kubectl, helm and port-forwards on one cluster. All child processes end together with this process."""

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from tests.demo.terminal_report import Report

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class DemoError(Exception):
    """A step of the demo failed. The message contains the expected and the actual state."""


def die_with_parent() -> None:
    """Run in a child before exec: the kernel then kills the child when this process ends, even by SIGKILL."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


class Kube:
    """kubectl and helm for one cluster. Methods named show print the command and its output."""

    def __init__(self, report: Report, environment: Mapping[str, str], context: str | None = None) -> None:
        self.report = report
        self.environment = dict(environment)
        self._kubectl = ["kubectl", *(["--context", context] if context else [])]
        self._helm = ["helm", *(["--kube-context", context] if context else [])]

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True, timeout: float = 60) -> str:  # noqa: A002
        """Run kubectl and return its standard output; DemoError if it fails and `check` is set."""
        return self._run([*self._kubectl, *arguments], input, check, timeout).decode()

    def read_bytes(self, *arguments: str, timeout: float = 60) -> bytes:
        """Run kubectl and return its standard output as bytes."""
        return self._run([*self._kubectl, *arguments], None, True, timeout)

    def helm(self, *arguments: str, check: bool = True, timeout: float = 300) -> str:
        """Run helm and return its standard output; DemoError if it fails and `check` is set."""
        return self._run([*self._helm, *arguments], None, check, timeout).decode()

    def command_line(self, *arguments: str) -> str:
        """The kubectl command line, as text for the report."""
        return " ".join([*self._kubectl, *arguments])

    def show(self, *arguments: str, timeout: float = 60) -> str:
        """Run kubectl and print the command and its output."""
        self.report.command(self.command_line(*arguments))
        output = self.kubectl(*arguments, timeout=timeout)
        self.report.output(output)
        return output

    def show_helm(self, *arguments: str, hidden: Sequence[str] = ()) -> None:
        """Run helm and print the command, without the `hidden` arguments that set the demo's images."""
        self.report.command(" ".join([*self._helm, *arguments]))
        self.helm(*arguments, *hidden)

    def apply(self, manifest: str) -> None:
        """Apply a manifest, and print it with the output of kubectl."""
        self.report.command(self.command_line("apply", "-f", "- <<EOF"))
        self.report.output(manifest + "EOF")
        self.report.output(self.kubectl("apply", "-f", "-", input=manifest))

    def wait_completed(self, namespace: str, thing: str, timeout: float) -> None:
        """Wait until the object has ended; DemoError if it is not Completed then."""
        arguments = ["-n", namespace, "wait", "--for=condition=Finished", thing, f"--timeout={timeout:g}s"]
        self.report.command(self.command_line(*arguments))
        output = self.kubectl(*arguments, check=False, timeout=timeout + 10)
        state = self.kubectl("-n", namespace, "get", thing, "-o", "jsonpath={.status.phase}: {.status.message}")
        if not state.startswith("Completed:"):
            raise DemoError(f"{thing} did not complete within {timeout:g} s; it is {state}")
        self.report.output(output)

    def port_forward(self, namespace: str, target: str, port: int) -> "PortForward":
        """A port-forward from a free local port to a port of a pod."""
        command = [*self._kubectl, "-n", namespace, "port-forward", "--address=127.0.0.1", target, f":{port}"]
        return PortForward(lambda output: self._start(command, output))

    def _start(self, command: Sequence[str], output: Any = subprocess.PIPE) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self.environment,
            preexec_fn=die_with_parent,
        )

    def _run(self, command: Sequence[str], given: str | None, check: bool, timeout: float) -> bytes:
        try:
            result = subprocess.run(
                command,
                input=None if given is None else given.encode(),
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                env=self.environment,
                timeout=timeout,
                preexec_fn=die_with_parent,
                check=False,
            )
        except FileNotFoundError:
            raise DemoError(f"{command[0]} is not installed") from None
        except subprocess.TimeoutExpired:
            raise DemoError(f"no answer within {timeout:g} s from: {' '.join(command)}") from None
        if check and result.returncode:
            message = (result.stderr.strip() or result.stdout.strip()).decode(errors="replace")[-2000:]
            raise DemoError(f"`{' '.join(command)}` failed with {result.returncode}: {message}")
        return result.stdout


class PortForward:
    """A port-forward that restarts when it has ended, because kubectl's ends at the first refused connection."""

    def __init__(self, start: Callable[[Any], "subprocess.Popen[bytes]"]) -> None:
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> "PortForward":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The local port. Starts the port-forward if it does not run."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._port = self._open()
        return self._port

    def close(self) -> None:
        """End the port-forward. The next use starts another one, to the current pod."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _open(self, patience: float = 30) -> int:
        deadline = time.monotonic() + patience
        printed = ""
        while time.monotonic() < deadline:
            # A file, not a pipe: kubectl writes a line for each connection, and an unread pipe would fill up.
            with tempfile.TemporaryFile() as output:
                self._process = self._start(output)
                while self._process.poll() is None and time.monotonic() < deadline:
                    printed = os.pread(output.fileno(), 4096, 0).decode(errors="replace")
                    if match := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", printed):
                        return int(match[1])
                    time.sleep(0.02)
                printed = os.pread(output.fileno(), 4096, 0).decode(errors="replace")
            self.close()
            time.sleep(0.5)
        raise DemoError(f"no port-forward within {patience:g} s: {printed.strip()[-500:]}")
