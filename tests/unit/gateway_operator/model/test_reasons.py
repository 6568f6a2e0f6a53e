"""Tests that the list of reasons is complete, is on the page and has no unused entry."""

from __future__ import annotations

import re
from pathlib import Path

from gateway_api.contract import ErrorCode
from gateway_operator.domain.model.reason_docs import REASONS
from gateway_operator.domain.model.reasons import Reason

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "concepts.md"
MARKS = re.compile(r"(<!-- reasons: .*? -->\n)(.*?)(<!-- end of reasons -->)", re.DOTALL)


def table() -> str:
    """The table of docs/concepts.md, built from the code."""
    rows = [f"| `{reason}` | {meaning.text} | {meaning.remedy} |" for reason, meaning in REASONS.items()]
    return "\n".join(["| reason | means | what to do |", "|---|---|---|", *rows, ""])


def test_concepts_page_has_the_current_table() -> None:
    match = MARKS.search(PAGE.read_text())
    assert match is not None
    assert match[2] == table(), "write the table: python -m tests.unit.gateway_operator.model.test_reasons"


def test_every_reason_has_a_meaning_and_a_remedy() -> None:
    assert set(REASONS) == set(Reason)
    assert all(meaning.text and meaning.remedy for meaning in REASONS.values())


def test_no_reason_equals_an_error_code_of_the_admin_api() -> None:
    """Only a defect has the same name in both programs, and the same remedy: the log of the program."""
    assert {str(reason) for reason in Reason} & {code.value for code in ErrorCode} == {"InternalError"}


def test_every_reason_is_used() -> None:
    lists = ("reasons", "reason_docs")
    files = (path for path in (ROOT / "operator/src").rglob("*.py") if not {path.stem, path.parent.name} & set(lists))
    source = "\n".join(path.read_text() for path in files)
    assert not [reason.name for reason in Reason if f"Reason.{reason.name}" not in source]


def test_reasons_have_the_form_that_kubernetes_requires() -> None:
    assert all(re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", reason) for reason in Reason)


if __name__ == "__main__":
    PAGE.write_text(MARKS.sub(lambda match: match[1] + table() + match[3], PAGE.read_text()))
