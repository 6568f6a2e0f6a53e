"""Converts error responses of the admin API to AdminApiError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from gateway_api import contract
from gateway_operator.domain.model.names import ADMIN_KEY_SECRET
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.ports import AdminApiError

_BY_CODE: Final = {code.value: spec for code, spec in contract.ERRORS.items()}

KEY_REFUSED: Final = "The admin API refused the operator's key."
KEY_REMEDY: Final = (
    f"Check that the workload's annotation {ADMIN_KEY_SECRET} names the Secret that its pod mounts as the admin key."
)


def error_from_response(status: int, headers: Mapping[str, str], raw: bytes) -> AdminApiError:
    """The exception for an error response.

    A code that this version does not have is retryable if the HTTP status is 500 or higher.
    """
    try:
        body = contract.ErrorBody.model_validate_json(raw)
    except ValidationError:
        retryable = status >= 500 or status in (408, 429)
        detail = f"HTTP {status} with a body that is not an admin API error."
        return AdminApiError(
            Reason.UnexpectedAnswer, detail, retryable=retryable, status=status, outcome_unknown=status >= 500
        )
    spec = _BY_CODE.get(body.code)
    # The contract's remedy for Unauthorized is for a user with curl, so the operator gives its own.
    unauthorized = body.code == contract.ErrorCode.Unauthorized
    return AdminApiError(
        body.code,
        KEY_REFUSED if unauthorized else body.detail,
        retryable=spec.retryable if spec else status >= 500,
        status=status,
        remedy=KEY_REMEDY if unauthorized else spec.remedy if spec else "",
        retry_after=_seconds(headers.get("Retry-After")),
        outcome_unknown=status >= 500 or body.code == contract.ErrorCode.InProgress,
        existing=body.existing,
    )


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None
