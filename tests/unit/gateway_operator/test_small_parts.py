"""Names, times, conditions, certificates, settings, and what an error body becomes."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from gateway_api import contract
from gateway_operator.adapters.admin_errors import KEY_REMEDY, error_from_response
from gateway_operator.domain.gateway.workload import Endpoint
from gateway_operator.domain.model import conditions, names, timestamps
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.restore.request_id import restore_request_id
from gateway_operator.jobs.certificates import make
from gateway_operator.main import _parser
from gateway_operator.ports import AdminTarget
from gateway_operator.settings import from_command_line, service_account

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(LABEL, st.from_regex(r"[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?", fullmatch=True), st.uuids(), st.datetimes())
def test_paths_fit_and_are_stable(group: str, name: str, uid: Any, created: datetime) -> None:
    path = names.backup_path(group, created.replace(tzinfo=UTC), name, str(uid))
    folder, file = path.split("/")
    assert folder == group
    assert len(f"{file}.verification.json".encode()) <= 180
    assert file.endswith(f"-{str(uid)[:8]}.json.zst")
    assert path == names.backup_path(group, created.replace(tzinfo=UTC), name, str(uid))
    safety = names.safety_backup_name(name, str(uid))
    assert len(safety) <= 63
    assert safety[0].isalnum()
    assert safety.endswith(f"-safety-{str(uid)[:8]}")


def test_a_path_as_people_see_it() -> None:
    path = names.backup_path("nightly", NOW, "before-upgrade", "0123456789abcdef")
    assert path == "nightly/20260501T120000Z-before-upgrade-01234567.json.zst"


def test_a_request_id_outlives_defaults_and_notes() -> None:
    """An id that changes would let a finished restore run again."""
    bare = {"gatewayRef": {"name": "gw"}, "backupName": "b"}
    filled = {
        **bare,
        "gatewayRef": {"kind": "Deployment", "name": "gw", "ordinal": 0},
        "safetyBackup": "Auto",
        "onFailure": "Rollback",
        "restart": "Auto",
        "healthCheck": {"consecutive": 3, "timeoutSeconds": 180},
        "timeoutSeconds": 600,
        "startingDeadlineSeconds": 300,
        "description": "a note",
    }
    first = restore_request_id("v", "ns", "r", bare)
    assert first == restore_request_id("v", "ns", "r", filled)
    assert first == "4de846c99e2f7ff3172e6e7af9f93575529ca8cedf60b3a75ea2ed9095a38456"
    others = [
        restore_request_id("w", "ns", "r", bare),
        restore_request_id("v", "other", "r", bare),
        restore_request_id("v", "ns", "s", bare),
        restore_request_id("v", "ns", "r", {**bare, "backupName": "c"}),
        restore_request_id("v", "ns", "r", {**bare, "restart": "Always"}),
    ]
    assert len({first, *others}) == 6


def test_conditions_keep_their_time_until_they_turn() -> None:
    first = conditions.with_condition([], "Authorized", False, "NotAuthorized", "no", 1, NOW)
    later = NOW + timedelta(hours=1)
    same = conditions.with_condition(first, "Authorized", False, "NotAuthorized", "still", 2, later)
    assert same[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert same[0]["message"] == "still"
    turned = conditions.with_condition(same, "Authorized", True, "Authorized", "yes", 2, later)
    assert turned[0]["lastTransitionTime"] == timestamps.text(later)
    end = conditions.terminal_conditions(turned, True, "BackedUp", "there", 2, later)
    assert [one["type"] for one in end] == ["Authorized", "Finished", "Completed", "Failed"]


def test_waits_grow() -> None:
    looks = [timestamps.look_again(NOW, NOW + timedelta(seconds=waited)) for waited in (-5, 0, 5, 20, 1000)]
    assert looks == [2, 2, 2.5, 10, 15]
    assert timestamps.parse("nonsense") is None
    assert timestamps.parse("2026-05-01T12:00:00Z") == NOW


def test_a_certificate_is_good_for_its_names_and_nothing_more() -> None:
    bundle = make("gw", "prod", NOW)
    certificate = x509.load_pem_x509_certificate(bundle.certificate.encode())
    names_in_it = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names_in_it.get_values_for_type(x509.DNSName) == [
        "gw.prod.svc",
        "gw.prod.svc.cluster.local",
        "gw",
        "localhost",
    ]
    assert [str(one) for one in names_in_it.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    ca = x509.load_pem_x509_certificate(bundle.ca.encode())
    certificate.verify_directly_issued_by(ca)
    assert certificate.not_valid_after_utc - NOW > timedelta(days=3640)
    assert certificate.not_valid_before_utc < NOW
    assert bundle.key not in repr(bundle)
    ssl.create_default_context(cadata=bundle.ca)
    assert len(make("g" * 63, "n" * 63, NOW).certificate) > 100


def test_settings(tmp_path: Path) -> None:
    flags = _parser().parse_args(["run", "--namespace", "a", "--namespace", "b", "--liveness", ""])
    found = from_command_line(flags, {"WATCH_NAMESPACES": "ignored"})
    assert found.namespaces == ("a", "b")
    assert found.liveness_url is None
    found = from_command_line(_parser().parse_args(["run"]), {"WATCH_NAMESPACES": "x, y,,x"})
    assert found.namespaces == ("x", "y")
    assert found.liveness_url == "http://0.0.0.0:8080/healthz"
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "system:serviceaccount:ops:op"}).encode()).decode().rstrip("=")
    token = tmp_path / "token"
    token.write_text(f"x.{claims}.y")
    assert service_account(token) == "ops:op"
    token.write_text("nonsense")
    assert service_account(token) == ""
    assert service_account(tmp_path / "absent") == ""


@pytest.mark.parametrize("code", list(contract.ErrorCode))
def test_an_error_body_becomes_its_code(code: contract.ErrorCode) -> None:
    spec = contract.ERRORS[code]
    error = error_from_response(spec.status, {"Retry-After": "7"}, json.dumps(contract.example_error(code)).encode())
    assert (error.code, error.retryable, error.status) == (code.value, spec.retryable, spec.status)
    assert error.remedy == (KEY_REMEDY if code is contract.ErrorCode.Unauthorized else spec.remedy)
    assert error.retry_after == 7


def test_remedy_is_not_repeated() -> None:
    assert Failure("X", "Do this.", True, remedy="Do this.").sentence() == "Do this."
    assert Failure("X", "It broke.", True, remedy="Do this.").sentence() == "It broke. Do this."


def test_what_is_no_error_body() -> None:
    assert error_from_response(502, {}, b"<html>").retryable
    assert not error_from_response(404, {}, b"not here").retryable
    later = {**contract.example_error(contract.ErrorCode.Busy), "code": "InventedLater"}
    assert error_from_response(503, {}, json.dumps(later).encode()).retryable
    assert not error_from_response(409, {"Retry-After": "soon"}, json.dumps(later).encode()).retryable


def test_a_target_never_shows_its_key() -> None:
    endpoint = Endpoint("gw-1", "10.0.0.1", 8001, False, None, True, "admin")
    assert "s3cret" not in repr(AdminTarget(endpoint, "s3cret", "s3cret"))
