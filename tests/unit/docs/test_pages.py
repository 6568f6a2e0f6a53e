"""The docs match the code: generated pages are up to date, the runbook has each error code, and links have a target."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway_api.contract import ERRORS, ErrorCode

REPOSITORY = Path(__file__).parents[3]
PAGES = sorted([*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("tests/*/README.md")])


def test_generated_pages_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, REPOSITORY / "docs/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_each_error_code_has_a_specification() -> None:
    assert set(ERRORS) == set(ErrorCode)


@pytest.mark.parametrize("code", list(ErrorCode), ids=str)
def test_runbook_has_a_section_for_each_error_code(code: ErrorCode) -> None:
    runbook = (REPOSITORY / "docs/runbook.md").read_text()
    assert re.search(rf"^### {code.value}\n\S", runbook, re.MULTILINE), f"docs/runbook.md has no '### {code.value}'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_between_pages_have_a_target(page: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}, which does not exist"
        assert not section or section in _sections(file), (
            f"{page.name} links to {target}#{section}, which does not exist"
        )


def _sections(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
