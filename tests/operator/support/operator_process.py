"""The real operator as a process of its own, as a pod would run it."""

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

from tests.cluster import Cluster


class OperatorProcess:
    """Started against a cluster; its log goes to a file. Use as a context manager."""

    def __init__(
        self,
        cluster: Cluster,
        log: Path,
        *namespaces: str,
        kubeconfig: Path | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self._cluster = cluster
        self._log = log
        self._namespaces = namespaces
        self._kubeconfig = kubeconfig or cluster.kubeconfig
        self._environment = dict(environment or {})
        self._flags = tuple(flags)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> OperatorProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until its probe says that it watches."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "gateway_operator.main", "run", f"--liveness=127.0.0.1:{self.port}"]
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
        """Wait for the probe."""
        deadline = time.monotonic() + timeout
        while not self.alive():
            assert self._process is not None
            assert self._process.poll() is None, f"the operator ended:\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"no probe within {timeout} s:\n{self.log()[-4000:]}"
            time.sleep(0.1)

    def alive(self) -> bool:
        """What the kubelet's probe would say."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def pause(self) -> None:
        """As a machine that swaps does: it lives, and sees nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on from there."""
        self._signal(signal.SIGCONT)

    def _signal(self, sign: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(sign)

    def kill(self) -> None:
        """As a node that dies does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As the kubelet does. Gives the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, sign: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(sign)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            # Left alive, it would act on the objects of every later test.
            process.kill()
            process.wait(30)
            raise AssertionError(f"the operator did not stop within 30 s:\n{self.log()[-8000:]}") from None

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def rss(self) -> float:
        """MiB of memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
