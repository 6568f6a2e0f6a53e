"""Runs a real ``gateway-admin serve`` process, for the tests here and, in place of a pod, for the operator's tests."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.api.support.temporary_files import new_temporary_file, show_end_of_log

START_SECONDS = 60.0
"""After this time a server hangs. On a loaded machine, a server that works took more than 20 s to start."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which no process listens at this moment."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def admin_key() -> str:
    """A new admin key with the length of the gateway's own keys."""
    return secrets.token_urlsafe(192)


def gateway_config(key: str, *, projects: int = 2, users: int = 2) -> dict[str, Any]:
    """A valid config in the schema of gateway 2.2.4, with numbered ids."""
    return {
        "admin_apikey": key,
        "enkrypt_config": {"api_key": "", "base_url": "https://api.enkryptai.com"},
        "common_mcp_gateway_config": {"enkrypt_log_level": "INFO", "enkrypt_mcp_use_external_cache": False},
        "plugins": {
            "auth": {"provider": "local_apikey", "config": {}},
            "guardrails": {"provider": "enkrypt", "config": {}},
            "telemetry": {"provider": "opentelemetry", "config": {"enabled": False}},
        },
        "mcp_configs": {
            "c-0": {"mcp_config_name": "default_config", "mcp_config": [{"server_name": "echo", "config": {}}]}
        },
        "projects": {
            f"p-{n}": {"project_name": f"project-{n}", "mcp_config_id": "c-0", "users": [f"u-{n % users}"]}
            for n in range(projects)
        },
        "users": {f"u-{n}": {"email": f"user-{n}@example.com"} for n in range(users)},
        "apikeys": {f"gateway-key-{'k' * 36}": {"project_id": "p-0", "user_id": "u-0", "disabled": False}},
    }


class AdminProcess:
    """A server process, started by ``start`` or a `with` block. ``settings`` are flags, such as ``settle_seconds=0.1``.

    ``host`` may be any loopback address (127.0.0.2 …); ``port`` 0 takes a free one. ``prefix`` goes before the
    command (strace), ``environ`` over the inherited environment. The log is in ``log_file``, one JSON object a line.
    """

    def __init__(
        self,
        config: Path,
        backups: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        prefix: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        umask: int | None = None,
        **settings: object,
    ) -> None:
        self.config = config
        self.backups = backups
        self.host = host
        self.port = port or free_port(host)
        self.umask = umask
        self.log_file = new_temporary_file("admin-", ".log")
        settings.setdefault("settle_seconds", 0.2)
        flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        serve = [sys.executable, "-m", "gateway_api", "serve", "--config", str(config), "--backups", str(backups)]
        self.command = [*prefix, *serve, "--host", host, "--port", str(self.port), *flags]
        # At SIGABRT the process then writes what each of its threads does.
        self.environ = {**os.environ, "PYTHONFAULTHANDLER": "1", **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """The URL of the plain HTTP port."""
        return f"http://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """Everything that the process has written to its log so far."""
        return self.log_file.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log lines that are JSON, parsed."""
        events = []
        for line in self.log.splitlines():
            with contextlib.suppress(ValueError):
                events.append(json.loads(line))
        return events

    def start(self, *, wait: bool = True) -> AdminProcess:
        """Starts the process and, with ``wait``, returns once ``/health`` answers."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                umask=-1 if self.umask is None else self.umask,
                start_new_session=True,
            )
        if wait:
            try:
                self.wait_until_up()
            except BaseException:
                # The caller's `with` block is not entered, so nothing else would end the process.
                self.stop(signal.SIGKILL)
                raise
        return self

    def wait_until_up(self) -> None:
        """Returns once ``/health`` answers.

        Raises ``RuntimeError`` with the log if the process ends or does not answer in time.
        """
        end = time.monotonic() + START_SECONDS
        # One client: httpx.get() would load the machine's CA certificates at each poll, which takes 20 ms.
        with self.client(None) as client:
            while time.monotonic() < end:
                if self.process is None or self.process.poll() is not None:
                    raise RuntimeError(f"gateway-admin ended at start:\n{self.log}")
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/health").status_code == 200:
                        return
                time.sleep(0.03)
        raise RuntimeError(f"gateway-admin does not answer:\n{self.log}")

    def own_memory_kib(self) -> int:
        """Resident anonymous memory in KiB, which the kernel cannot take back.

        Pages of shared libraries are left out: the machine's page cache decides how many of them are resident.
        """
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0])

    def client(self, key: str | None, *, timeout: float = 30.0) -> httpx.Client:
        """An HTTP client that sends ``key``; the caller closes it."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout, trust_env=False, verify=False)

    def send_signal(self, number: int) -> None:
        """Sends a signal to the whole process group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40.0) -> int:
        """Stops the process, or kills it after ``timeout`` seconds; returns its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            return self.process.wait(timeout)

    def __enter__(self) -> AdminProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            # The stacks are the only record of a process that hangs.
            self.stop(signal.SIGABRT)
            show_end_of_log("the admin API", self.log)
        self.log_file.unlink(missing_ok=True)
