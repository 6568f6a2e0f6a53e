"""Tests of how the error bodies of the admin API become failures, and that an admin key is never printed."""

from __future__ import annotations

import json

import pytest

from gateway_api import contract
from gateway_operator.adapters.admin_errors import KEY_REMEDY, error_from_response
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.ports import AdminTarget


@pytest.mark.parametrize("code", list(contract.ErrorCode))
def test_every_error_body_becomes_a_failure_with_its_code(code: contract.ErrorCode) -> None:
    spec = contract.ERRORS[code]
    error = error_from_response(spec.status, {"Retry-After": "7"}, json.dumps(contract.example_error(code)).encode())
    assert (error.code, error.retryable, error.status) == (code.value, spec.retryable, spec.status)
    assert error.remedy == (KEY_REMEDY if code is contract.ErrorCode.Unauthorized else spec.remedy)
    assert error.retry_after == 7


def test_remedy_is_not_repeated() -> None:
    assert Failure("X", "Do this.", True, remedy="Do this.").sentence() == "Do this."
    assert Failure("X", "It broke.", True, remedy="Do this.").sentence() == "It broke. Do this."


def test_retryable_follows_the_status_without_a_known_code() -> None:
    assert error_from_response(502, {}, b"<html>").retryable
    assert not error_from_response(404, {}, b"not here").retryable
    later = {**contract.example_error(contract.ErrorCode.Busy), "code": "InventedLater"}
    assert error_from_response(503, {}, json.dumps(later).encode()).retryable
    assert not error_from_response(409, {"Retry-After": "soon"}, json.dumps(later).encode()).retryable


def test_repr_of_a_target_has_no_admin_key() -> None:
    endpoint = Endpoint("gw-1", "10.0.0.1", 8001, False, None, True, "admin")
    assert "s3cret" not in repr(AdminTarget(endpoint, ("s3cret",), "s3cret"))
