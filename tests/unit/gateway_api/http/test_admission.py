"""Authentication under load: the right key is never refused, and wrong keys cost at most one load a second."""

from __future__ import annotations

import asyncio

import pytest

from gateway_api.auth import AcceptedKeys, match_key
from gateway_api.contract import ErrorCode
from gateway_api.errors import ApiError
from gateway_api.gateway_config.admin_keys import key_digest
from gateway_api.http.admission import NEGATIVE_SECONDS, KeyAdmission
from gateway_api.http.rate_limit import FAILURE_BURST

FILE_KEY = b"f" * 40
KEY, NEXT, WRONG = b"k" * 40, b"n" * 40, b"w" * 40


class _Files:
    """The accepted keys in the files, with counts of the reads, and a clock."""

    def __init__(self) -> None:
        self.accepted: AcceptedKeys = (("config", key_digest(KEY)),)
        self.loads = 0
        self.now = 1000.0
        self.hold = asyncio.Event()
        self.hold.set()
        self.admission = KeyAdmission((self.load_file, self.load), self.check, lambda: self.now)

    async def load(self) -> AcceptedKeys:
        self.loads += 1
        accepted = self.accepted
        await self.hold.wait()
        return accepted

    async def load_file(self) -> AcceptedKeys:
        return (("key_file", key_digest(FILE_KEY)),)

    async def check(self, digest: str) -> str | None:
        return match_key(digest, (*await self.load_file(), *self.accepted))

    async def outcome(self, key: bytes | None, peer: str = "p") -> str:
        try:
            return await self.admission.authenticate(key, peer)
        except ApiError as error:
            return error.code.value


def test_wrong_keys_of_one_peer_cost_one_load_a_second() -> None:
    async def run() -> None:
        files = _Files()
        for number in range(int(FAILURE_BURST)):
            assert await files.outcome(b"%040d" % number) == "Unauthorized"
        burst = files.loads
        for number in range(1000):
            assert await files.outcome(b"%041d" % number) == "TooManyFailures"
        assert files.loads <= burst + 1
        files.now += NEGATIVE_SECONDS + 0.1
        assert await files.outcome(WRONG) == "TooManyFailures"
        assert await files.outcome(WRONG) == "TooManyFailures"
        assert files.loads <= burst + 2

    asyncio.run(run())


def test_right_key_is_never_refused_after_failures_of_the_same_peer() -> None:
    async def run() -> None:
        files = _Files()
        for _ in range(50):
            await files.outcome(WRONG)
            assert await files.outcome(KEY) == "config"

    asyncio.run(run())


def test_right_key_does_not_wait_for_a_load_of_wrong_keys() -> None:
    async def run() -> None:
        files = _Files()
        assert await files.outcome(KEY) == "config"
        files.hold.clear()
        waiting = [asyncio.create_task(files.outcome(b"%040d" % number, str(number))) for number in range(100)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(files.outcome(KEY), 1) == "config"
        files.hold.set()
        assert set(await asyncio.gather(*waiting)) == {"Unauthorized"}
        assert files.loads <= 4, "requests that wait share one load"

    asyncio.run(run())


def test_key_in_the_key_file_does_not_wait_for_the_config() -> None:
    async def run() -> None:
        files = _Files()
        files.hold.clear()
        assert await asyncio.wait_for(files.outcome(FILE_KEY), 1) == "key_file"
        assert files.loads == 0

    asyncio.run(run())


def test_rotated_key_counts_at_once_for_both_keys() -> None:
    async def run() -> None:
        files = _Files()
        assert await files.outcome(KEY) == "config"
        files.accepted = (("config", key_digest(NEXT)),)
        assert await files.outcome(KEY) == "Unauthorized"
        assert await files.outcome(NEXT) == "config"

    asyncio.run(run())


def test_new_key_behind_a_limited_peer_is_accepted_within_a_second() -> None:
    async def run() -> None:
        files = _Files()
        for _ in range(50):
            await files.outcome(WRONG)
        files.accepted = (("config", key_digest(NEXT)),)
        files.now += NEGATIVE_SECONDS + 0.01
        assert await files.outcome(NEXT) == "config"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("key", "code"), [(None, "Unauthorized"), (b"x" * 31, "AdminKeyTooShort"), (b"x" * 32, "Unauthorized")]
)
def test_short_key_gets_an_answer_that_says_so(key: bytes | None, code: str) -> None:
    assert asyncio.run(_outcome(key)) == ErrorCode(code)


async def _outcome(key: bytes | None) -> str:
    return await _Files().outcome(key)
