"""The exception for every expected failure, and the errors that failed system calls become.

Code below the routes raises :class:`ApiError` with a code of the contract. `http/error_body.py` turns it into an
answer. Any other exception is answered with ``InternalError``; its text may quote a config and never leaves the
process.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from gateway_api.contract import ERRORS, ErrorCode, ExistingBackup

_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
SHORTAGE_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""The errnos of a process that can open no more files. They say nothing about the file."""


class ApiError(Exception):
    """An expected failure.

    ``detail`` defaults to the remedy of ``code``. The caller sees it, so it holds no value from a config.
    ``retry_after`` is the number of seconds until a retry makes sense; None leaves it to the code. ``existing`` is
    the backup that has the requested record name.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str | None = None,
        *,
        retry_after: int | None = None,
        existing: ExistingBackup | None = None,
    ) -> None:
        self.code = code
        self.detail = detail or ERRORS[code].remedy
        self.retry_after = retry_after
        self.existing = existing
        super().__init__(f"{code.value}: {self.detail}")


def is_volume_full(error: OSError) -> bool:
    """Whether the error reports a full volume or an exhausted quota."""
    return error.errno in _FULL_ERRNOS


def backup_volume_error(error: OSError) -> ApiError:
    """The error for a failed system call on the backup volume."""
    if is_volume_full(error):
        return ApiError(ErrorCode.VolumeFull, "the backup volume is full; nothing was changed")
    return ApiError(ErrorCode.VolumeUnavailable, f"the backup volume cannot be used ({errno_name(error)})")


def config_volume_error(error: OSError) -> ApiError:
    """The error for a failed system call in the config directory.

    Errors of the device or of the process are ``VolumeUnavailable`` and may pass. All others, such as a missing
    permission, are ``ConfigNotReplaceable`` and need a person.
    """
    if is_volume_full(error):
        return ApiError(ErrorCode.VolumeFull, "the config volume is full; the config was not changed")
    if error.errno in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE):
        return ApiError(ErrorCode.VolumeUnavailable, f"the config volume cannot be used ({errno_name(error)})")
    return ApiError(
        ErrorCode.ConfigNotReplaceable,
        f"the config's directory cannot be written ({errno_name(error)}); nothing changed",
    )


def describe_errno(error: OSError) -> str:
    """The text and the name of an errno, such as ``read-only file system (EROFS)``."""
    number = error.errno or 0
    text = os.strerror(number) if number else str(error)
    return f"{text[:1].lower()}{text[1:]} ({errno.errorcode.get(number, 'no errno')})"


def errno_name(error: OSError) -> str:
    """The name of an errno, such as ``EROFS``."""
    return errno.errorcode.get(error.errno or 0, "unknown error")
