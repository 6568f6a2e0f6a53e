"""All source paths of COPY in the Dockerfiles exist. This finds a renamed file without an image build."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("dockerfile", ["api/Dockerfile", "operator/Dockerfile"])
def test_copied_files_exist(dockerfile: str) -> None:
    copied = [
        source
        for line in (REPOSITORY / dockerfile).read_text().splitlines()
        if line.startswith("COPY ") and "--from=" not in line
        for source in line.split()[1:-1]
    ]
    assert copied
    assert [source for source in copied if not (REPOSITORY / source).exists()] == []
