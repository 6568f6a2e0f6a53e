"""The tests run every block of the pages that a reader follows, and read the blocks as a shell does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.node import pages
from tests.node.page_commands import Page, PageError, PageReader, reasons, steps
from tests.node.shell import Shell

READERS = [pages.ROOT / name for name in ("tests/node/reader.py", "tests/api/test_pages.py")]
READERS += sorted((pages.ROOT / "tests/node").glob("test_*.py"))
"""The modules that run parts of pages."""
ALL_PAGES = sorted([pages.ROOT / "README.md", pages.ROOT / "CONTRIBUTING.md", *(pages.ROOT / "docs").glob("*.md")])
NAMES = {name: page for name, page in vars(pages).items() if isinstance(page, Page)}


def constants_of_tests_that_use(name: str) -> set[str]:
    """All string constants of the tests that name this page; `run_all` runs all of its parts."""
    trees = [ast.parse(path.read_text()) for path in READERS]
    using = [tree for tree in trees if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))]
    nodes = [node for tree in using for node in ast.walk(tree)]
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    all_parts = any(f"({name}).run_all()" in ast.unparse(node) for node in nodes if isinstance(node, ast.Call))
    return strings | set(NAMES[name].parts if all_parts else ())


@pytest.mark.parametrize("name", NAMES)
def test_no_unmarked_block_of_a_page_is_left_unrun(name: str) -> None:
    page = NAMES[name]
    every = list(steps(page.path.read_text()))
    assert page.starts(every)[0] == 0, f"{page.path.name}: no part contains {every[0].script!r}"
    assert sum(len(page.steps(part)) for part in page.parts) == len(every)
    assert set(page.parts) - constants_of_tests_that_use(name) == set()


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: path.name)
def test_page_without_a_test_has_no_unmarked_block(path: Path) -> None:
    if path not in {page.path for page in NAMES.values()}:
        assert list(steps(path.read_text())) == []


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: path.name)
def test_each_mark_gives_a_reason(path: Path) -> None:
    assert [reason for reason in reasons(path.read_text()) if len(reason.split()) < 5] == []


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: path.name)
def test_pages_show_commands_only_in_fenced_blocks(path: Path) -> None:
    """A block that is only indented would not be run."""
    outside = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    programs = "kubectl|helm|curl|jq|age|openssl|make|git|velero|gateway-admin|gateway-operator"
    assert re.findall(rf"^ {{4,}}(?:{programs}|apiVersion:|spec:) ?.*$", outside, re.MULTILINE) == []


@pytest.mark.parametrize(
    ("block", "scripts"),
    [
        ("$ one\noutput\n$ two\n", ["one", "two"]),
        ("$ one \\\n    --more\noutput\n", ["one \\\n    --more"]),
        ("$ one |\n  two\n", ["one |\n  two"]),
        ("$ echo 'a\nb'\n", ["echo 'a\nb'"]),
        ("$ echo one     # it's a remark\n$ two\n", ["echo one     # it's a remark", "two"]),
        ("$ cat <<END\n$ text\nEND\n$ two\n", ["cat <<END\n$ text\nEND", "two"]),
        ("$ f() {\n    one\n  }\n$ f\n", ["f() {\n    one\n  }", "f"]),
    ],
    ids=["output", "backslash", "pipe", "quotes", "comment", "here-document", "function"],
)
def test_a_command_ends_where_the_shell_would_run_it(block: str, scripts: list[str]) -> None:
    assert [step.script for step in steps(f"text\n\n```console\n{block}```\n")] == scripts
    indented = "".join(f"   {line}\n" for line in f"```console\n{block}```".splitlines())
    assert [step.script for step in steps(f"1. text\n\n{indented}")] == scripts


def test_manifests_are_applied_and_marks_are_obeyed() -> None:
    page = (
        "```yaml\napiVersion: v1\n```\n"
        "<!-- run: helm upgrade -f - -->\n```yaml\na: 1\n```\n"
        "<!-- not run: nobody has a docker here -->\n```console\n$ docker build\n```\n"
        "```mermaid\nflowchart\n```\n"
    )
    assert [step.script.partition(" <<")[0] for step in steps(page)] == ["kubectl apply -f -", "helm upgrade -f -"]
    assert reasons(page) == ["nobody has a docker here"]


@pytest.mark.parametrize(
    "block", ["```yaml\na: 1\n```\n", "```\n$ one\n```\n", "```json\n{}\n```\n", "```console\n$ cat <<END\n```\n"]
)
def test_block_that_no_reader_can_paste_is_refused(block: str) -> None:
    with pytest.raises(PageError):
        list(steps(block))


def test_missing_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```console\n$ one\n$ two\n```\n")
    page = Page(path, {"first": "one", "second": "three"})
    with pytest.raises(PageError, match="three"):
        page.steps("first")


def test_reader_keeps_variables_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "```console\n$ A=1\n$ sleep 60 &\n$ kill $!\n```\n```console\n$ echo value $A\n```\n"
        "```console\n$ false | true\n$ echo never\n```\n```console\n$ printf 'NAME AGE\\n'\nNAME   PHASE\n```\n"
    )
    page = Page(path, {"set": "A=1", "use": "echo", "fail": "false", "table": "printf"})
    with Shell({"PATH": "/usr/bin:/bin"}, tmp_path) as shell:
        reader = PageReader(page, shell)
        reader.run("set")
        assert reader.run("use") == "value 1\n"
        with pytest.raises(AssertionError, match=r"page\.md, line 10: false \| true\nended with 1"):
            reader.run("fail")
        with pytest.raises(AssertionError, match="prints other columns"):
            reader.run("table")


def test_shell_ends_at_the_timeout(tmp_path: Path) -> None:
    with Shell({"PATH": "/usr/bin:/bin"}, tmp_path) as shell:
        assert shell.run("echo before; sleep 60", timeout=0.5) == (124, "before\n")
    with Shell({"PATH": "/usr/bin:/bin"}, tmp_path) as shell:
        assert shell.run("exit 3") == (255, "")
