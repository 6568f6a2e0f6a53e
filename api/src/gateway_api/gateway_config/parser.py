"""Parses and validates configs: small ones in the calling thread, large ones in a worker process.

A thread that parses JSON holds the interpreter lock, so a large config would delay every probe. Each worker runs one
task of `parse_tasks.py` and ends. Its input and output are descriptors, never paths. Summaries are cached by the
digest of the content, so that the same bytes are not parsed twice.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from gateway_api import logs
from gateway_api.contract import ConfigDiff, ErrorCode
from gateway_api.errors import ApiError, errno_name
from gateway_api.gateway_config import parse_tasks
from gateway_api.gateway_config.schema import InvalidConfig
from gateway_api.gateway_config.summary import ConfigSummary, build_summary
from gateway_api.storage.content import NO_LIMIT, Blob, MemFd, read_blob

REMEMBERED: Final = 8
"""Number of summaries in the cache."""
_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
_START: Final = (
    f"import sys; sys.path.insert(0, {_PACKAGES!r}); from gateway_api.gateway_config.parse_worker import main; main()"
)
COMMAND: Final = (sys.executable, "-I", "-S", "-c", _START)
"""Starts the worker in isolated mode and without site-packages, which takes a few milliseconds."""


class ConfigParser:
    """Runs parse tasks. Methods block, so they must run in a thread.

    A content of more than ``above`` bytes is parsed by a worker, which is killed after ``seconds``. All methods raise
    ``WorkerFailed`` when a worker is needed and does not finish, and ``OSError`` when memory runs out.
    """

    def __init__(self, above: int, seconds: float) -> None:
        self._above = above
        self._seconds = seconds
        self._cache: OrderedDict[str, ConfigSummary | InvalidConfig] = OrderedDict()
        # One task at a time: two large configs in memory at once could exceed the container's limit.
        self._one_at_a_time = threading.Lock()

    def needs_worker(self, content: Blob) -> bool:
        """Whether :meth:`summarize` would start a worker for ``content``."""
        return content.size > self._above and content.sha256 not in self._cache

    def summarize(self, content: Blob, *, sections: bool) -> ConfigSummary:
        """The summary of a live config. ``sections`` adds the digest of its data sections. Raises ``InvalidConfig``."""
        if (result := self._cached(content, sections)) is None:
            with self._one_at_a_time:
                # Another thread may have parsed the same content while this one waited for the lock.
                if (result := self._cached(content, sections)) is None:
                    result = self._parse(content, sections)
        if isinstance(result, InvalidConfig):
            # A new exception: raising the cached one again would extend its traceback each time.
            raise InvalidConfig(str(result), parsed=result.parsed)
        return result

    def parse_backup(self, content: Blob, limit: int) -> tuple[Blob, ConfigSummary]:
        """The config bytes to restore and their summary. ``content`` is a config, or a backup envelope with one.

        Raises :class:`InvalidConfig`, and ``BackupTooLarge`` when an unwrapped config has more than ``limit`` bytes.
        """
        cached = self._cached(content, True)
        if isinstance(cached, ConfigSummary):
            return content, cached
        with self._one_at_a_time:
            result, unwrapped = self._run("parse", content, unwrap=True, sections=True, limit=limit)
        if "too_large" in result:
            raise ApiError(ErrorCode.BackupTooLarge)
        if "invalid" in result:
            raise InvalidConfig(result["invalid"], parsed=result["parsed"])
        config = unwrapped or content
        summary = build_summary(result["summary"], sha256=config.sha256, size=config.size)
        self._remember(config, summary)
        return config, summary

    def diff(self, old: Blob | None, new: Blob) -> ConfigDiff:
        """The change from one valid config to another; ``old`` is None when there is no valid live config."""
        with self._one_at_a_time:
            result, _ = self._run("compare", new, old)
        return ConfigDiff.model_validate(result["diff"])

    def read_admin_key(self, content: Blob) -> str | None:
        """The admin key in a config, also in an invalid one. None when there is no key or the content is not JSON."""
        with self._one_at_a_time:
            result, _ = self._run("read_admin_key", content)
        key = result["admin_key"]
        return key if isinstance(key, str) else None

    def _cached(self, content: Blob, sections: bool) -> ConfigSummary | InvalidConfig | None:
        cached = self._cache.get(content.sha256)
        if isinstance(cached, ConfigSummary) and sections and cached.sections_digest is None:
            return None
        return cached

    def _remember(self, content: Blob, result: ConfigSummary | InvalidConfig) -> None:
        self._cache[content.sha256] = result
        while len(self._cache) > REMEMBERED:
            self._cache.popitem(last=False)

    def _parse(self, content: Blob, sections: bool) -> ConfigSummary | InvalidConfig:
        # The digest of the sections is cheap for a small config, and computing it now avoids a second parse.
        sections = sections or content.size <= self._above
        options: dict[str, Any] = {"unwrap": False, "sections": sections, "limit": content.size}
        result, _ = self._run("parse", content, **options)
        parsed: ConfigSummary | InvalidConfig
        if "invalid" in result:
            parsed = InvalidConfig(result["invalid"], parsed=result["parsed"])
        else:
            parsed = build_summary(result["summary"], sha256=content.sha256, size=content.size)
        self._remember(content, parsed)
        return parsed

    def _run(
        self, task: str, content: Blob, old: Blob | None = None, **options: Any
    ) -> tuple[dict[str, Any], Blob | None]:
        """Runs a task of `parse_tasks.py` here or in a worker, by the size of its input."""
        size = content.size + (0 if old is None else old.size)
        if size <= self._above:
            old_data = None if old is None else old.data()
            match task:
                case "parse":
                    result, output = parse_tasks.parse(content.data(), **options)
                case "compare":
                    result, output = parse_tasks.compare(old_data, content.data())
                case _:
                    result, output = parse_tasks.read_admin_key(content.data())
            return result, None if output is None else Blob.of(output)
        with ExitStack() as stack:
            data_fd = stack.enter_context(content.descriptor())
            old_fd = None if old is None else stack.enter_context(old.descriptor())
            output_file = MemFd()
            job = {"task": task, "data": data_fd, "old": old_fd, "output": output_file.fd, "options": options}
            inherited = [fd for fd in (data_fd, old_fd, output_file.fd) if fd is not None]
            result = self._run_worker(job, inherited)
            return result, read_blob(output_file.fd, NO_LIMIT) if os.fstat(output_file.fd).st_size else None

    def _run_worker(self, job: dict[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
        """The result of one worker process, which has ended when this returns."""
        line = json.dumps({**job, "server": os.getpid()}).encode() + b"\n"
        try:
            process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
                cwd="/",
                env={},
                # A process group of its own: a signal to the server's group must not end the worker of a running task.
                process_group=0,
            )
        except OSError as error:
            raise _worker_failed(
                f"the worker process for a large config could not be started ({errno_name(error)})"
            ) from None
        with process as worker:
            try:
                output, _ = worker.communicate(line, timeout=self._seconds)
            except subprocess.TimeoutExpired:
                raise _worker_failed(f"parsing a large config took longer than {self._seconds:g} seconds") from None
            except OSError:
                raise _worker_failed("the pipe to the worker process failed while it parsed a large config") from None
            finally:
                # Leaving the block waits for the worker, so it must not be able to run on.
                worker.kill()
        if worker.returncode != 0:
            killed = worker.returncode == -signal.SIGKILL
            reason = "was killed, possibly because memory ran out" if killed else "ended with an error"
            raise _worker_failed(f"the worker process for a large config {reason}")
        try:
            result: dict[str, Any] = json.loads(output)
        except ValueError:
            raise _worker_failed("the worker process for a large config returned no result") from None
        return result


def _worker_failed(reason: str) -> ApiError:
    logs.event("worker_failed", logging.ERROR, reason=reason)
    return ApiError(ErrorCode.WorkerFailed, f"{reason}; nothing was changed")
