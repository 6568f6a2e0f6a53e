"""kubectl, helm and port-forwards against one cluster; everything that is started here dies with this process."""

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
    """A step did not keep its promise; the message says which, and what was found instead."""


def die_with_parent() -> None:
    """In a child, before it runs its program: the kernel ends it when this process ends, even by kill -9."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


class Kube:
    """One cluster, as a person with kubectl and helm sees it."""

    def __init__(self, report: Report, environment: Mapping[str, str], context: str | None = None) -> None:
        self.report = report
        self.environment = dict(environment)
        self._kubectl = ["kubectl", *(["--context", context] if context else [])]
        self._helm = ["helm", *(["--kube-context", context] if context else [])]

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True, timeout: float = 60) -> str:  # noqa: A002
        """What kubectl printed."""
        return self._run([*self._kubectl, *arguments], input, check, timeout).decode()

    def read_bytes(self, *arguments: str, timeout: float = 60) -> bytes:
        """What kubectl printed, for content that is no text."""
        return self._run([*self._kubectl, *arguments], None, True, timeout)

    def helm(self, *arguments: str, check: bool = True, timeout: float = 300) -> str:
        """What helm printed."""
        return self._run([*self._helm, *arguments], None, check, timeout).decode()

    def command_line(self, *arguments: str) -> str:
        """The kubectl command line as a person would type it."""
        return " ".join([*self._kubectl, *arguments])

    def show(self, *arguments: str, timeout: float = 60) -> str:
        """Run kubectl in front of the reader: the command, then what it printed."""
        self.report.command(self.command_line(*arguments))
        output = self.kubectl(*arguments, timeout=timeout)
        self.report.output(output)
        return output

    def show_helm(self, *arguments: str, hidden: Sequence[str] = ()) -> None:
        """Run helm in front of the reader; `hidden` are values that only this demo's images need."""
        self.report.command(" ".join([*self._helm, *arguments]))
        self.helm(*arguments, *hidden)

    def apply(self, manifest: str) -> None:
        """Apply a manifest in front of the reader."""
        self.report.command(self.command_line("apply", "-f", "- <<EOF"))
        self.report.output(manifest + "EOF")
        self.report.output(self.kubectl("apply", "-f", "-", input=manifest))

    def wait_completed(self, namespace: str, thing: str, timeout: float) -> None:
        """Wait for the condition Completed with kubectl; when the condition Failed comes first, say why at once."""
        arguments = ["-n", namespace, "wait", "--for=condition=Completed", thing, f"--timeout={timeout:g}s"]
        self.report.command(self.command_line(*arguments))
        waiting = self._start([*self._kubectl, *arguments])
        failed = "jsonpath={.status.conditions[?(@.type=='Failed')].status} {.status.reason}: {.status.message}"
        with waiting:
            while waiting.poll() is None:
                state = self.kubectl("-n", namespace, "get", thing, "-o", failed, check=False)
                if state.startswith("True"):
                    waiting.kill()
                    raise DemoError(f"{thing} failed: {state.removeprefix('True').strip()}")
                time.sleep(0.3)
            said = waiting.stdout.read().decode().strip() if waiting.stdout else ""
        if waiting.returncode:
            phase = self.kubectl("-n", namespace, "get", thing, "-o", "jsonpath={.status.phase}: {.status.message}")
            raise DemoError(f"{thing} did not complete in {timeout:g} s ({said}); it is {phase}")
        self.report.output(said)

    def port_forward(self, namespace: str, target: str, port: int) -> "PortForward":
        """A local port that leads to a port of a pod."""
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
            done = subprocess.run(
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
        if check and done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")[-2000:]
            raise DemoError(f"`{' '.join(command)}` failed with {done.returncode}: {said}")
        return done.stdout


class PortForward:
    """A port-forward that is started anew when it has died: kubectl's ends at the first refused connection."""

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
        """The local port, which leads to the pod now."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._port = self._open()
        return self._port

    def close(self) -> None:
        """End it; the next use starts another, to whichever pod is there then."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _open(self, patience: float = 30) -> int:
        deadline = time.monotonic() + patience
        said = ""
        while time.monotonic() < deadline:
            # A file rather than a pipe: kubectl writes a line for each connection, and nobody reads them.
            with tempfile.TemporaryFile() as output:
                self._process = self._start(output)
                while self._process.poll() is None and time.monotonic() < deadline:
                    said = os.pread(output.fileno(), 4096, 0).decode(errors="replace")
                    if found := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", said):
                        return int(found[1])
                    time.sleep(0.02)
                said = os.pread(output.fileno(), 4096, 0).decode(errors="replace")
            self.close()
            time.sleep(0.5)
        raise DemoError(f"no port-forward within {patience:g} s: {said.strip()[-500:]}")
