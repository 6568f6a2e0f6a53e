"""Logging never blocks: lines that nobody reads are dropped and counted."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_api import logs
from gateway_api.logs import JsonFormatter, NonBlockingHandler


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def _log(handler: logging.Handler, name: str, **fields: object) -> None:
    record = logging.LogRecord("gateway_admin", 20, "", 0, name, None, None)
    record.fields = fields
    handler.handle(record)


def _handler(fd: int) -> NonBlockingHandler:
    handler = NonBlockingHandler(fd)
    handler.setFormatter(JsonFormatter())
    return handler


@pytest.mark.parametrize("size", [10, 5000, 100_000])
def test_full_pipe_drops_and_counts_lines(pipe: tuple[int, int], size: int) -> None:
    reader, writer = pipe
    handler = _handler(writer)
    for number in range(2000):
        _log(handler, "line", number=number, filler="x" * size)
    os.set_blocking(reader, False)
    text = b""
    while piece := _read(reader):
        text += piece
    _log(handler, "after")
    text += _read(reader)
    lines = text.split(b"\n")
    whole = [json.loads(line) for line in lines if line.endswith(b"}")]
    dropped = next(line["lines"] for line in whole if line["event"] == "log_lines_dropped")
    assert whole[-1]["event"] == "after"
    assert dropped + sum(line["event"] == "line" for line in whole) == 2000
    assert sum(bool(line) and not line.endswith(b"}") for line in lines) <= 1, "at most one torn line"


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


def test_closed_reader_and_closed_descriptor_raise_nothing() -> None:
    reader, writer = os.pipe()
    handler = _handler(writer)
    os.close(reader)
    _log(handler, "line")
    os.close(writer)
    _log(handler, "line")


def test_field_that_is_no_json_value_does_not_raise(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        _log(_handler(file.fileno()), "line", value=sys)
    assert json.loads((tmp_path / "log").read_text()) == {"event": "log_line_failed"}


def test_limited_events_are_left_out_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "gateway_admin")
    now = [0.0]
    monkeypatch.setattr("gateway_api.logs.time.monotonic", lambda: now[0])
    monkeypatch.setattr(logs, "_limits", {})
    for _ in range(1000):
        logs.limited_event("attack", peer="p")
    first = len(caplog.records)
    assert first < 100
    now[0] += 1
    logs.limited_event("attack", peer="p")
    assert caplog.records[-1].__dict__["fields"] == {"peer": "p", "left_out": 1000 - first}
