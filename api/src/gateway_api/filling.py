"""The temporary file of a backup: sealed, written, fsynced and read back before it gets a name, and that while a worker
still judges the config.

What is written ahead is nobody's backup: it has no manifest and no name, and goes again when the judgement, or
anything else, is against it. The names are given by `store.py` alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from types import TracebackType

from .archive import form_of
from .content import Content, digest_of
from .contract import ErrorCode
from .durable import close, make_temporary, unlink_quietly
from .errors import ApiError, backup_volume_error
from .room import refuse_without_room
from .safe_path import open_file, open_parent
from .sealed import seal
from .state_folder import StateFolder

Filled = tuple[Content, str | None]
"""What was sealed, and the temporary file that holds it already, if any does."""


def write_proven(parent: int, stored: Content) -> str:
    """A new temporary file that holds ``stored``, read back from the disk; returns its name.

    Raises ``VolumeUnavailable`` if the disk gave back other bytes, ``OSError``.
    """
    temporary = make_temporary(parent, stored)
    try:
        if not _reads_back(parent, temporary, stored):
            raise ApiError(ErrorCode.VolumeUnavailable, "the backup volume gave back other bytes than were written")
    except BaseException:
        unlink_quietly(parent, temporary)
        raise
    return temporary


def _reads_back(parent: int, temporary: str, stored: Content) -> bool:
    fd = open_file(parent, temporary)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return digest_of(fd, stored.size) == (stored.sha256, stored.size)
    finally:
        close(fd)


class _Task:
    """One content that is being sealed and written by another thread."""

    def __init__(self, content: Content, give_up: Callable[[], None]) -> None:
        self.content = content
        self.unwanted = threading.Event()
        self.failure: BaseException | None = None
        self.future: Future[Filled | None]
        self._give_up = give_up

    def run(self, fill: Callable[[_Task], Filled]) -> Filled | None:
        try:
            return fill(self)
        except BaseException as error:  # it is raised where the result is asked for
            self.failure = error
            if not self.unwanted.is_set():
                self._give_up()
            return None


class Ahead:
    """Fills the temporary file of the backup at ``parts`` while its config is judged, in a ``with`` block: when that is
    left by an exception, nothing stays. Takes no lock and needs the caller's. ``helper`` runs it: None, nobody does."""

    def __init__(
        self, helper: Executor | None, state: StateFolder, parts: tuple[str, ...], recipients: Sequence[str]
    ) -> None:
        self._helper = helper
        self._state = state
        self._parts = parts
        self._recipients = recipients
        self._task: _Task | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._drop()

    def begin(self, content: Content, give_up: Callable[[], None]) -> None:
        """Begins with ``content``, and forgets any other. ``give_up`` is called once if that fails. Raises nothing."""
        self._drop()
        if self._helper is None:
            return
        task = _Task(content, give_up)
        # Where no thread can be made for it, it is done after the judgement.
        with suppress(RuntimeError):
            task.future = self._helper.submit(task.run, self._fill)
            self._task = task

    def refuse_failed(self) -> None:
        """Raises what ``give_up`` was called for, if it was."""
        if self._task is not None and self._task.failure is not None:
            if isinstance(self._task.failure, OSError):
                raise backup_volume_error(self._task.failure) from None
            raise self._task.failure

    def take(self, content: Content) -> Filled | None:
        """What was made of ``content``, once that is done; None if it was never begun. Raises what failed."""
        if self._task is None or self._task.content.sha256 != content.sha256:
            self._drop()
            return None
        filled = self._task.future.result()
        self.refuse_failed()
        return filled

    def _fill(self, task: _Task) -> Filled:
        stored = seal(task.content, form_of(self._parts[-1]), self._recipients, task.unwanted)
        refuse_without_room(self._state, stored.size)
        try:
            with open_parent(self._state.base_fd, self._parts) as parent:
                return stored, write_proven(parent, stored)
        except FileNotFoundError:
            # Folders are made for backups only, and this is none yet.
            return stored, None

    def _drop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.unwanted.set()
        _, temporary = task.future.result() or (None, None)
        if temporary is not None:
            with suppress(OSError, ApiError), open_parent(self._state.base_fd, self._parts) as parent:
                unlink_quietly(parent, temporary)
