"""What is filled ahead is there once when it is wanted, and nothing of it is there when it is not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway_api import filling
from gateway_api.archive import form_of
from gateway_api.content import Content, ContentWriter
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.filling import Ahead
from gateway_api.sealed import unseal
from gateway_api.state_folder import StateFolder

HELPER = ThreadPoolExecutor(1, "ahead")
PARTS = ("a.json.zst",)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFolder]:
    with StateFolder(tmp_path, create=True) as opened:
        yield opened


def _content(size: int) -> Content:
    writer = ContentWriter()
    writer.write(os.urandom(size))
    return writer.content()


def _temporaries(folder: Path) -> list[Path]:
    return list(folder.rglob(".gateway-*.tmp"))


def _never() -> None:
    raise AssertionError("nothing failed")


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_what_was_begun_is_there_whole(size: int, state: StateFolder, tmp_path: Path) -> None:
    content = _content(size)
    with Ahead(HELPER, state, PARTS, []) as ahead:
        ahead.begin(content, _never)
        found = ahead.take(content)
    assert found is not None
    stored, temporary = found
    assert unseal(stored, form_of(PARTS[0]), None, size).sha256 == content.sha256
    assert temporary is not None
    assert (tmp_path / temporary).read_bytes() == stored.data()


def test_whatever_goes_wrong_behind_it_takes_the_file_along(state: StateFolder, tmp_path: Path) -> None:
    content = _content(10_000)

    def refused() -> None:
        with Ahead(HELPER, state, PARTS, []) as ahead:
            ahead.begin(content, _never)
            assert ahead.take(content) is not None
            assert _temporaries(tmp_path)
            raise ApiError(ErrorCode.ConfigInvalid)

    with pytest.raises(ApiError, match="ConfigInvalid"):
        refused()
    assert not _temporaries(tmp_path)


def test_what_nobody_waited_for_is_stopped_and_gone(state: StateFolder, tmp_path: Path) -> None:
    def refused() -> None:
        with Ahead(HELPER, state, PARTS, []) as ahead:
            ahead.begin(_content(30_000_000), _never)
            raise ApiError(ErrorCode.ConfigInvalid)

    with pytest.raises(ApiError, match="ConfigInvalid"):
        refused()
    assert not _temporaries(tmp_path)
    assert HELPER.submit(int).result(60) == 0


def test_without_anybody_to_do_it_nothing_is_begun(state: StateFolder) -> None:
    content = _content(10)
    with Ahead(None, state, PARTS, []) as ahead:
        ahead.begin(content, _never)
        assert ahead.take(content) is None


def test_another_content_is_begun_anew_and_only_the_last_is_given(state: StateFolder, tmp_path: Path) -> None:
    first, second = _content(2_000_000), _content(2_000_001)
    with Ahead(HELPER, state, PARTS, []) as ahead:
        ahead.begin(first, _never)
        ahead.begin(second, _never)
        assert ahead.take(first) is None
        assert ahead.take(second) is None
    assert not _temporaries(tmp_path)


def test_no_folder_is_made_for_what_may_be_refused(state: StateFolder, tmp_path: Path) -> None:
    content = _content(100)
    with Ahead(HELPER, state, ("new", "a.json"), []) as ahead:
        ahead.begin(content, _never)
        assert ahead.take(content) == (content, None)
    assert not (tmp_path / "new").exists()


def test_a_failure_gives_up_once_and_is_told(
    state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_api.room.free_bytes", lambda _: (0, 0))
    given_up = threading.Event()
    content = _content(100)
    with Ahead(HELPER, state, PARTS, []) as ahead:
        ahead.begin(content, given_up.set)
        assert given_up.wait(60)
        with pytest.raises(ApiError, match="VolumeFull"):
            ahead.refuse_failed()
        with pytest.raises(ApiError, match="VolumeFull"):
            ahead.take(content)
    assert not _temporaries(tmp_path)


def test_a_disk_that_gives_back_other_bytes_is_no_place_for_a_backup(
    state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "digest_of", lambda *_: ("0" * 64, 1))
    with pytest.raises(ApiError, match="VolumeUnavailable"):
        filling.write_proven(state.base_fd, _content(10))
    assert not _temporaries(tmp_path)
