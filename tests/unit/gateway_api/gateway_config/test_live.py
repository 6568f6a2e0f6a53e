"""When a read of the live config counts as complete. Only this process's clock counts, never the file's times."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from gateway_api.gateway_config.live import ConfigFile, is_stable
from gateway_api.gateway_config.parser import ConfigParser
from tests.api.support.admin_process import gateway_config

CONTENT = json.dumps(gateway_config("k" * 64), indent=2).encode()
SETTLE = 0.4


@pytest.mark.parametrize(
    ("unchanged_for", "same_as_before", "is_valid", "stable"),
    [
        (0.0, False, True, False),
        (0.1, True, True, True),
        (0.1, True, False, False),
        (3.0, True, False, True),
    ],
)
def test_valid_file_needs_two_equal_reads_and_any_other_the_settle_time(
    unchanged_for: float, same_as_before: bool, is_valid: bool, stable: bool
) -> None:
    settled = is_stable(unchanged_for=unchanged_for, same_as_before=same_as_before, is_valid=is_valid, settle=2.0)
    assert settled is stable


def _config_file(path: Path) -> ConfigFile:
    return ConfigFile(path, 1 << 20, SETTLE, ConfigParser(1 << 20, 10.0))


def _write(path: Path, content: bytes, clock_offset: float) -> None:
    """Writes in place, on a file server whose clock differs by ``clock_offset`` seconds."""
    path.write_bytes(content)
    os.utime(path, times=(time.time() + clock_offset,) * 2)


@pytest.mark.parametrize("clock_offset", [-86_400.0, -2.0, 0.0, 2.0, 86_400.0])
def test_config_being_written_is_never_invalid_with_any_file_server_clock(clock_offset: float, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    _write(path, CONTENT[:100], clock_offset)
    writer = threading.Timer(SETTLE / 2, lambda: _write(path, CONTENT, clock_offset))
    writer.start()
    live = _config_file(path).read()
    writer.join()
    assert (live.kind, live.problem) == ("valid", "")


@pytest.mark.parametrize("clock_offset", [-2.0, 0.0, 86_400.0])
def test_half_a_config_that_stays_is_invalid_after_the_settle_time(clock_offset: float, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    _write(path, CONTENT[:100], clock_offset)
    config = _config_file(path)
    began = time.monotonic()
    assert config.read().kind == "invalid"
    assert time.monotonic() - began >= SETTLE
    # A file that was observed unchanged for the settle time is not waited for again.
    began = time.monotonic()
    assert config.read().kind == "invalid"
    assert time.monotonic() - began < SETTLE


def test_config_that_keeps_changing_is_unstable(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(CONTENT)
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.wait(0.001):
            number += 1
            path.write_bytes(CONTENT + b" " * (number % 100))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert _config_file(path).read(patience=0.2).kind == "unstable"
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("other.json", "symbolic link to a regular file"),
        (".", "symbolic link to a directory"),
        ("absent", "symbolic link to something that does not exist"),
        ("config.json", "symbolic link to something that does not exist or cannot be opened"),
    ],
)
def test_linked_config_is_a_permanent_error_that_names_the_kind_of_target(
    target: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "other.json").write_bytes(CONTENT)
    (tmp_path / "config.json").symlink_to(target)
    error = _config_file(tmp_path / "config.json").read().error()
    assert error.code == "ConfigNotAFile"
    assert words in error.detail


@pytest.mark.parametrize("kind", ["a directory", "a FIFO"])
def test_special_file_as_config_is_a_permanent_error_that_names_its_kind(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.mkdir() if kind == "a directory" else os.mkfifo(path)
    live = _config_file(path).read()
    assert live.error().code == "ConfigNotAFile"
    assert kind in live.problem
