"""What the Dockerfiles copy is there: a renamed file is found in a second, not in a minute of building."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("dockerfile", ["api/Dockerfile", "operator/Dockerfile"])
def test_whatever_is_copied_exists(dockerfile: str) -> None:
    copied = [
        source
        for line in (REPOSITORY / dockerfile).read_text().splitlines()
        if line.startswith("COPY ") and "--from=" not in line
        for source in line.split()[1:-1]
    ]
    assert copied
    assert [source for source in copied if not (REPOSITORY / source).exists()] == []
