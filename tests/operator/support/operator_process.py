"""Runs the operator as a process, as its pod would: start, probe, pause, stop and kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.api.support.temporary_files import show_end_of_log
from tests.cluster import Cluster


class OperatorProcess:
    """The operator against a test cluster. Use as a context manager.

    Without namespaces it watches the whole cluster. Each start appends to the log file.
    """

    def __init__(
        self,
        cluster: Cluster,
        log: Path,
        *namespaces: str,
        kubeconfig: Path | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
        module: str = "gateway_operator.main",
    ) -> None:
        self._cluster = cluster
        self._log = log
        self._namespaces = namespaces
        self._kubeconfig = kubeconfig or cluster.kubeconfig
        self._environment = dict(environment or {})
        self._flags = tuple(flags)
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self.metrics_port = 0

    def __enter__(self) -> OperatorProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            show_end_of_log("the operator", self.log())

    def start(self, wait: bool = True) -> None:
        """Start the process. With `wait`, wait until its liveness probe succeeds."""
        with socket.socket() as free, socket.socket() as other:
            for one in (free, other):
                one.bind(("127.0.0.1", 0))
            self.port, self.metrics_port = free.getsockname()[1], other.getsockname()[1]
        command = [sys.executable, "-m", self._module, "run"]
        command += [f"--liveness=127.0.0.1:{self.port}", f"--metrics=127.0.0.1:{self.metrics_port}"]
        command += [*(f"--namespace={namespace}" for namespace in self._namespaces), *self._flags]
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig), **self._environment}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            if wait:
                self.wait_alive()
        except BaseException:
            self.kill()
            raise

    def wait_alive(self, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not self.is_alive():
            assert self._process is not None
            assert self._process.poll() is None, f"the operator ended:\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"no probe within {timeout} s:\n{self.log()[-4000:]}"
            time.sleep(0.1)

    def is_alive(self) -> bool:
        """Whether the liveness probe succeeds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self) -> str:
        """All metrics of the process, as `/metrics` returns them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as response:
            return bytes(response.read()).decode()

    def has_ended(self) -> bool:
        """Whether the process was started and no longer runs."""
        return self._process is not None and self._process.poll() is not None

    def pause(self) -> None:
        """Freeze the process (SIGSTOP), as on a machine that swaps."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a process that was paused (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, sign: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(sign)

    def kill(self) -> None:
        """Kill the process (SIGKILL), as when its node fails."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop the process (SIGTERM), as the kubelet does. Returns the exit code, 0 if it does not run."""
        return self._end(signal.SIGTERM)

    def _end(self, sign: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(sign)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            # A process that survives would reconcile the objects of all later tests.
            process.kill()
            process.wait(30)
            raise AssertionError(f"the operator did not stop within 30 s:\n{self.log()[-8000:]}") from None

    def log(self) -> str:
        """All that the processes have logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def resident_mib(self) -> float:
        """Resident memory of the process in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
