"""Tests of the operator's settings from flags, environment and the ServiceAccount token."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from gateway_operator.main import parser
from gateway_operator.settings import from_command_line, service_account


def test_settings(tmp_path: Path) -> None:
    flags = parser().parse_args(["run", "--namespace", "a", "--namespace", "b", "--liveness", "", "--metrics", ""])
    settings = from_command_line(flags, {"WATCH_NAMESPACES": "ignored"})
    assert settings.namespaces == ("a", "b")
    assert (settings.liveness, settings.metrics) == ("", "")
    settings = from_command_line(parser().parse_args(["run"]), {"WATCH_NAMESPACES": "x, y,,x"})
    assert settings.namespaces == ("x", "y")
    assert (settings.liveness, settings.metrics) == (":8080", ":8081")
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "system:serviceaccount:ops:op"}).encode()).decode().rstrip("=")
    token = tmp_path / "token"
    token.write_text(f"x.{claims}.y")
    assert service_account(token) == "ops:op"
    token.write_text("nonsense")
    assert service_account(token) == ""
    assert service_account(tmp_path / "absent") == ""


def test_leader_election_is_off_unless_a_flag_turns_it_on() -> None:
    settings = from_command_line(parser().parse_args(["run"]), {})
    assert (settings.leader_elect, settings.lease_name) == (False, "gateway-backup-operator")
    flags = ["run", "--leader-elect", "--lease-name", "other", "--lease-seconds", "30"]
    settings = from_command_line(parser().parse_args(flags), {})
    assert (settings.leader_elect, settings.lease_name, settings.lease_seconds) == (True, "other", 30)


@pytest.mark.parametrize("seconds", ["2", "0", "-1", "2.5", "x"])
def test_a_lease_too_short_to_be_renewed_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["run", "--lease-seconds", seconds])
    assert "--lease-seconds" in capsys.readouterr().err
