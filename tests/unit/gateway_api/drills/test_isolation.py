"""A drill pod counts as isolated only if none of the targets answers in two rounds in a row."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_api import cli
from gateway_api.drills.isolation import NOT_ISOLATED, check_isolation, find_reachable, parse_target

TARGET = ("10.0.0.1", 8443)


def rounds(*answers: bool) -> Iterator[bool]:
    """The answers of one target, one a round; the last one is repeated."""
    yield from answers
    while True:
        yield answers[-1]


def run(answers: Iterator[bool], seconds: float = 5.0) -> tuple[list[tuple[str, int]], int]:
    """The result of the check and the number of rounds. Each pause takes a second of the simulated time."""
    now, calls = [0.0], [0]

    def connect(target: tuple[str, int]) -> bool:
        calls[0] += 1
        return next(answers)

    def sleep(_: float) -> None:
        now[0] += 1

    result = find_reachable([TARGET], seconds, connect=connect, monotonic=lambda: now[0], sleep=sleep)
    return result, calls[0]


@pytest.mark.parametrize(
    ("answers", "expected", "number"),
    [
        ((False,), [], 2),
        ((True, False), [], 3),
        ((False, True, False), [], 4),
        ((True,), [TARGET], 6),
    ],
    ids=["isolated", "policy takes effect late", "one lost packet", "no policy engine"],
)
def test_isolation_needs_two_silent_rounds_within_the_time(
    answers: tuple[bool, ...], expected: list[tuple[str, int]], number: int
) -> None:
    assert run(rounds(*answers)) == (expected, number)


def test_no_target_is_isolated_at_once() -> None:
    assert find_reachable([], 5, sleep=lambda _: None) == []


@pytest.mark.parametrize("accept", [False, True])
def test_real_answer_ends_the_check_and_is_written_for_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], accept: bool
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr("gateway_api.drills.isolation.check_isolation.__defaults__", (log,))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        flags = ["--target", f"127.0.0.1:{port}", "--seconds", "0", *(["--accept"] if accept else [])]
        code = cli.main(["drill", "isolation", *flags])
    assert capsys.readouterr().out.strip() == log.read_text()
    assert code == (0 if accept else NOT_ISOLATED)
    assert log.read_text() == f"The pod reached 127.0.0.1 port {port}, 127.0.0.1 port {port}."


def test_refused_connection_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert check_isolation([("127.0.0.1", port)], 5.0, tmp_path / "none") == ""


def test_targets_are_parsed_and_a_bad_one_names_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_target("10.0.0.1:8001") == ("10.0.0.1", 8001)
    assert parse_target("[fd00::1]:8001") == ("fd00::1", 8001)
    for text in ("10.0.0.1", ":80", "a:0", "a:b"):
        assert cli.main(["drill", "isolation", "--target", text]) == 2
        assert "--target HOST:PORT" in capsys.readouterr().err
