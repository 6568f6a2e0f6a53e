"""One exception for every way a call can fail, and the one place that turns it into a body.

Everything below the routes raises :class:`ApiError` with a code of the contract; what escapes as anything else is
an ``InternalError`` whose text stays in the process, because it may quote a config.
"""

from __future__ import annotations

import errno
from typing import Final

from gateway_api.contract import ERRORS, ErrorCode

RETRY_AFTER_SECONDS: Final = 2


class ApiError(Exception):
    """A declared failure. ``detail`` is shown to the caller, so it names places and never values.

    ``retry_after`` is in seconds and becomes the header; codes that may succeed later get a default.
    """

    def __init__(self, code: ErrorCode, detail: str | None = None, *, retry_after: int | None = None) -> None:
        self.code = code
        self.detail = detail or ERRORS[code].cure
        self.retry_after = retry_after
        super().__init__(f"{code.value}: {self.detail}")

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return ERRORS[self.code].status

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the answer: ``Retry-After`` and, on 401, ``WWW-Authenticate``."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        elif ERRORS[self.code].retryable and self.status in (409, 503):
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def backup_volume_error(error: OSError) -> ApiError:
    """What a failed system call on the backup volume means to the caller."""
    if error.errno in FULL:
        return ApiError(ErrorCode.VolumeFull, "the backup volume is full; nothing was changed")
    return ApiError(ErrorCode.VolumeUnavailable, f"the backup volume cannot be used ({_name(error)})")


def config_volume_error(error: OSError) -> ApiError:
    """What a failed system call in the config directory means to the caller."""
    if error.errno in FULL:
        return ApiError(ErrorCode.VolumeFull, "the config volume is full; the config was not changed")
    if error.errno in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE):
        return ApiError(ErrorCode.VolumeUnavailable, f"the config volume cannot be used ({_name(error)})")
    return ApiError(
        ErrorCode.ConfigNotReplaceable, f"the config's directory cannot be written ({_name(error)}); nothing changed"
    )


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown error")
