"""Names in the pages exist: commands of `kubectl gateway`, values of the charts, and fields of the resources."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from gateway_operator.cli.options.commands import parser

ROOT: Final = Path(__file__).parents[3]
PARSER: Final = parser()
PAGES: Final = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])
SOURCES: Final = [*PAGES, *sorted(ROOT.glob("crds/*.yaml")), *sorted(ROOT.glob("helm/*/templates/NOTES.txt"))]
COMMAND: Final = re.compile(
    r"(?:(?<!`)`|\$ |^ {4,})kubectl\s+gateway\s+((?:[^`\n]|\\\n)*(?:\n[^`\n]+(?=`))?)", re.MULTILINE
)
PLACEHOLDERS: Final = {"T": "2026-01-31T12:00:00Z", '"$SAFETY"': "safety"}
"""Words of the pages that are no name, and a valid word in their place."""

USER_PAGES: Final = [
    page
    for page in PAGES
    if page.name not in ("admin-api.md", "architecture.md", "development.md", "permissions.md", "CHANGELOG.md")
    and not page.name.startswith("performance")
]
DOTTED: Final = re.compile(r"`([a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*)+)(?:=[^`]*|: [^`]*|\[\])?`")
SETTING: Final = re.compile(r"--set(?:-string|-file)? '?((?:[a-zA-Z-]|\.|\\\.)+)=")
FILES: Final = re.compile(r"\.(py|md|yaml|json|pem|crt|key|txt|gz|zst|age|manifest|svc)$")
RELATIVE: Final = ("egress.restricted", "egress.rules", "verification.level")
"""Names that a page shortens because the text before them names the rest."""


def commands(text: str) -> Iterator[tuple[int, str]]:
    """Each mention of a command of ``kubectl gateway`` with its line, without the remark after it."""
    for match in COMMAND.finditer(text):
        words = re.sub(r"\s+#.*| \| jq .*|\\\n|\n", " ", match[1])
        yield text.count("\n", 0, match.start()) + 1, words.strip()


def problem(command: str) -> str:
    """Why the command line is refused; empty if it is not. A command without arguments only needs to exist."""
    words = [
        PLACEHOLDERS.get(word, word.lower() if word.isupper() and word.isalpha() else word)
        for word in re.split(r"\s+", command)
    ]
    words = [word for word in shlex.split(" ".join(words)) if word != "…"]
    named = [word for word in words if not word.startswith("-")]
    if len(words) <= 2 and len(named) == len(words):
        words.append("--help")  # `--help` accepts a command without its arguments
    elif words[-1].startswith("--") and len(words) <= 3:
        words.append("--help") if "=" in words[-1] else words.extend(["x", "--help"])
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            PARSER.parse_args(words)
        except SystemExit as end:
            return error.getvalue().strip().rpartition("\n")[2] if end.code else ""
    return ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_of_the_plugin_in_pages_are_valid(path: Path) -> None:
    checked = [(line, one, problem(one)) for line, one in commands(path.read_text())]
    assert [f"{path.name}:{line}: {one}: {why}" for line, one, why in checked if why] == []


def test_a_command_that_does_not_exist_is_a_problem() -> None:
    text = "Run `kubectl gateway restore undo x`, or\n\n    kubectl gateway backup create --gateway G   # now\n"
    (first, second) = [one for _, one in commands(text)]
    assert "invalid choice: 'undo'" in problem(first)
    assert problem(second) == ""
    assert "NAME" in problem("restore create --gateway G --latest --wait")
    assert "unrecognized" in problem("backup list --quick x y")


def _leaves(values: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield at + name
        if isinstance(value, dict):
            yield from _leaves(value, f"{at}{name}.")


def _fields(schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for name, field in (schema.get("properties") or {}).items():
        yield at + name
        yield from _fields(field, f"{at}{name}.")
        yield from _fields(field.get("items") or {}, f"{at}{name}.")


@pytest.fixture(scope="module")
def values() -> set[str]:
    """All values of both charts, and the maps that contain them."""
    charts = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in ROOT.glob("helm/*/values.yaml")]
    return {name for chart in charts for name in _leaves(chart)}


@pytest.fixture(scope="module")
def fields() -> set[str]:
    """All fields of the resources, with and without the `spec` or `status` and the field before them."""
    bodies = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in ROOT.glob("crds/*.yaml")]
    schemas = [body["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for body in bodies]
    paths = {path for schema in schemas for path in _fields(schema)}
    return {".".join(path.split(".")[skipped:]) for path in paths for skipped in range(3)}


@pytest.mark.parametrize("page", USER_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_values_and_fields_in_pages_exist(page: Path, values: set[str], fields: set[str]) -> None:
    text = page.read_text()
    dotted = {name for name in DOTTED.findall(text) if not FILES.search(name) and name not in RELATIVE}
    assert sorted(dotted - values - fields) == []
    settings = {name.partition("\\")[0] for name in SETTING.findall(text)} - {"FIELD", *RELATIVE}
    unknown = {name for name in settings if name not in values and name.rpartition(".")[0] not in values}
    assert sorted(unknown) == []


def test_each_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", (ROOT / "README.md").read_text()))
    assert sorted(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/*.md")) == sorted(linked)
