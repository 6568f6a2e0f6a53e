"""The one list of reasons: complete, on the page, and all of them in use."""

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
    """The page's table, from the code."""
    rows = [f"| `{reason}` | {meaning.means} | {meaning.do} |" for reason, meaning in REASONS.items()]
    return "\n".join(["| reason | means | what to do |", "|---|---|---|", *rows, ""])


def test_the_page_has_the_list() -> None:
    found = MARKS.search(PAGE.read_text())
    assert found is not None
    assert found[2] == table(), "write the table with: python -m tests.unit.operator.test_reasons"


def test_every_reason_has_its_meaning() -> None:
    assert set(REASONS) == set(Reason)
    assert all(meaning.means and meaning.do for meaning in REASONS.values())


def test_no_reason_is_also_a_code_of_the_admin_api() -> None:
    assert not {str(reason) for reason in Reason} & {code.value for code in ErrorCode}


def test_every_reason_is_given_by_something() -> None:
    lists = ("reasons.py", "reason_meanings.py")
    files = (path for path in (ROOT / "operator/src").rglob("*.py") if path.name not in lists)
    source = "\n".join(path.read_text() for path in files)
    assert not [reason.name for reason in Reason if f"Reason.{reason.name}" not in source]


def test_a_reason_is_one_word_as_kubernetes_wants_it() -> None:
    assert all(re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", reason) for reason in Reason)


if __name__ == "__main__":
    PAGE.write_text(MARKS.sub(lambda found: found[1] + table() + found[3], PAGE.read_text()))
