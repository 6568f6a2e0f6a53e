"""Reads configs: small ones at once, large ones in a worker process, so that no probe waits for the interpreter.

What has been found is remembered by the content's digest: the same bytes are not read twice.
"""

from __future__ import annotations

import errno
import json
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
from gateway_api.errors import ApiError
from gateway_api.gateway_config import parse_tasks
from gateway_api.gateway_config.schema import InvalidConfig
from gateway_api.gateway_config.summary import ConfigSummary, summary_of
from gateway_api.storage.content import Blob, BlobWriter, read_blob

REMEMBERED: Final = 8
_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
_START: Final = (
    f"import sys; sys.path.insert(0, {_PACKAGES!r}); from gateway_api.gateway_config.parse_worker import main; main()"
)
COMMAND: Final = (sys.executable, "-I", "-S", "-c", _START)
"""Isolated and without site-packages: the worker needs the standard library alone, and starts in a few milliseconds."""


class ConfigParser:
    """Methods block, so they run in a thread. All raise ``WorkerFailed`` when a worker is needed and none finishes,
    and ``OSError`` when there is no memory for a content.

    ``above`` is the size in bytes from which on a worker reads, ``seconds`` how long one may take.
    """

    def __init__(self, above: int, seconds: float) -> None:
        self._above = above
        self._seconds = seconds
        self._known: OrderedDict[str, ConfigSummary | InvalidConfig] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def needs_worker(self, content: Blob) -> bool:
        """Whether :meth:`summary` would start a worker for ``content``."""
        return content.size > self._above and content.sha256 not in self._known

    def summary(self, content: Blob, *, sections: bool) -> ConfigSummary:
        """Summarise a live config, with the digest of its sections if ``sections``. Raises ``InvalidConfig``."""
        if (known := self._cached(content, sections)) is None:
            with self._one_at_a_time:
                if (known := self._cached(content, sections)) is None:
                    known = self._parse(content, sections)
        if isinstance(known, InvalidConfig):
            raise InvalidConfig(str(known), parsed=known.parsed)
        return known

    def accept(self, content: Blob, limit: int) -> tuple[Blob, ConfigSummary]:
        """The bytes to restore and their summary, for a content that is a config or an envelope of one.

        Raises :class:`InvalidConfig`, and ``BackupTooLarge`` when an unwrapped config has more than ``limit`` bytes.
        """
        known = self._cached(content, True)
        if isinstance(known, ConfigSummary):
            return content, known
        with self._one_at_a_time:
            answer, other = self._run("judge", content, unwrap=True, sections=True, limit=limit)
        if "too_large" in answer:
            raise ApiError(ErrorCode.BackupTooLarge)
        if "refused" in answer:
            raise InvalidConfig(answer["refused"], parsed=answer["parsed"])
        wanted = other or content
        summary = summary_of(answer["facts"], sha256=wanted.sha256, size=wanted.size)
        self._remember(wanted, summary)
        return wanted, summary

    def difference(self, old: Blob | None, new: Blob) -> ConfigDiff:
        """What changes from one config to another; both have been judged."""
        with self._one_at_a_time:
            answer, _ = self._run("difference", new, old)
        return ConfigDiff.model_validate(answer["diff"])

    def admin_key(self, content: Blob) -> str | None:
        """The admin key in a config, also in one of the wrong shape; None when it cannot be told."""
        with self._one_at_a_time:
            answer, _ = self._run("admin_key", content)
        key = answer["admin_key"]
        return key if isinstance(key, str) else None

    def _cached(self, content: Blob, sections: bool) -> ConfigSummary | InvalidConfig | None:
        known = self._known.get(content.sha256)
        if isinstance(known, ConfigSummary) and sections and known.sections_digest is None:
            return None
        return known

    def _remember(self, content: Blob, found: ConfigSummary | InvalidConfig) -> None:
        self._known[content.sha256] = found
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _parse(self, content: Blob, sections: bool) -> ConfigSummary | InvalidConfig:
        sections = sections or content.size <= self._above
        options: dict[str, Any] = {"unwrap": False, "sections": sections, "limit": content.size}
        answer, _ = self._run("judge", content, **options)
        found: ConfigSummary | InvalidConfig
        if "refused" in answer:
            found = InvalidConfig(answer["refused"], parsed=answer["parsed"])
        else:
            found = summary_of(answer["facts"], sha256=content.sha256, size=content.size)
        self._remember(content, found)
        return found

    def _run(
        self, name: str, content: Blob, old: Blob | None = None, **options: Any
    ) -> tuple[dict[str, Any], Blob | None]:
        size = content.size + (0 if old is None else old.size)
        if size <= self._above:
            before = None if old is None else old.data()
            match name:
                case "judge":
                    answer, other = parse_tasks.parse(content.data(), **options)
                case "difference":
                    answer, other = parse_tasks.difference(before, content.data())
                case _:
                    answer, other = parse_tasks.admin_key(content.data())
            return answer, None if other is None else Blob.of(other)
        with ExitStack() as stack:
            data = stack.enter_context(content.descriptor())
            before_fd = None if old is None else stack.enter_context(old.descriptor())
            output = stack.enter_context(BlobWriter.new_memfd())
            job = {"reading": name, "data": data, "old": before_fd, "output": output, "options": options}
            given = [fd for fd in (data, before_fd, output) if fd is not None]
            answer = self._worker(job, given)
            return answer, read_blob(output, 1 << 40) if os.fstat(output).st_size else None

    def _worker(self, job: dict[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
        """The answer of one worker, which is gone when this returns."""
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
                # What a terminal or a supervisor sends to the group is for the server to handle.
                process_group=0,
            )
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            raise _failed(f"no process could be started to read a large config ({name})") from None
        with process as worker:
            try:
                answer, _ = worker.communicate(line, timeout=self._seconds)
            except subprocess.TimeoutExpired:
                raise _failed(f"reading a large config took longer than {self._seconds:g} seconds") from None
            except OSError:
                raise _failed("the process that was to read a large config could not be spoken to") from None
            finally:
                worker.kill()
        if worker.returncode != 0:
            killed = worker.returncode == -signal.SIGKILL
            why = "was killed, maybe because there was no memory" if killed else "ended with an error"
            raise _failed(f"the process that was to read a large config {why}")
        try:
            found: dict[str, Any] = json.loads(answer)
        except ValueError:
            raise _failed("the process that was to read a large config gave no answer") from None
        return found


def _failed(why: str) -> ApiError:
    logs.event("worker_failed", 40, reason=why)
    return ApiError(ErrorCode.WorkerFailed, f"{why}; nothing was changed")
