"""The threat model names a test for each promise, and each named test exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
PROMISES = PAGE.partition("## Promises")[2].partition("## Not defended")[0]
ROWS = [row for row in re.findall(r"^\| (.+) \|$", PROMISES, re.MULTILINE) if row != "promise | tests"]
_TEST = re.compile(r"`(?P<path>tests/[\w/]+\.py)::(?P<name>test_\w+)`")


def test_page_has_promises_of_each_kind_of_attacker() -> None:
    assert len(re.findall(r"^### ", PROMISES, re.MULTILINE)) >= 6
    assert len(ROWS) >= 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.partition(" | ")[0])
def test_each_promise_names_tests_that_exist(row: str) -> None:
    promise, separator, tests = row.partition(" | ")
    assert promise.endswith(".")
    assert separator
    named = list(_TEST.finditer(tests))
    assert named, "no test"
    assert _TEST.sub("", tests).strip(", ") == "", "more than names of tests"
    for one in named:
        tree = ast.parse((ROOT / one["path"]).read_text(encoding="utf-8"))
        assert one["name"] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, one[0]
