"""Runs the blocks of a documentation page as a reader would paste them.

A reader pastes the commands of a console block into a shell and a manifest into `kubectl apply -f -`. A comment on the
line before a block changes this. `<!-- not run: REASON -->` leaves the block out. `<!-- run: COMMAND -->` gives the
block to that command. All other blocks are run, or the page is refused.

In a console block a command begins with `$ `. The lines after it belong to it while the shell would still wait for
more: after a backslash or a pipe, inside quotes, inside a function's braces, and inside a here-document. All other
lines are output.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.node.shell import Shell

_BLOCK = re.compile(
    r"^(?:(?P<margin> *)<!-- (?P<mark>run|not run): (?P<text>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_HERE_DOCUMENT = re.compile(r"<<-?\s*'?(\w+)'?")
_END = "END_OF_THE_BLOCK"
_DRAWINGS = ("mermaid",)


class PageError(Exception):
    """A block of a page is of a kind that nobody can paste, and it has no mark."""


@dataclass(frozen=True)
class Step:
    """One command of a page, its line in the page, and the first line of the output that the page shows."""

    line: int
    script: str
    shown: str = ""


@dataclass(frozen=True)
class Page:
    """A page and its parts in order: their names, and a text in the first command of each."""

    path: Path
    parts: Mapping[str, str]

    def steps(self, part: str, replacements: Mapping[str, str] | None = None) -> list[Step]:
        """The steps of one part, with the reader's own values in place of the page's."""
        every = list(steps(self.path.read_text()))
        starts = self.starts(every)
        index = list(self.parts).index(part)
        end = starts[index + 1] if index + 1 < len(starts) else len(every)
        return [_replaced(step, replacements or {}) for step in every[starts[index] : end]]

    def starts(self, every: list[Step]) -> list[int]:
        """The index of the first step of each part. PageError if a part is missing or out of order."""
        begin, found = 0, []
        for part, text in self.parts.items():
            index = next((index for index, step in enumerate(every) if index >= begin and text in step.script), None)
            if index is None:
                raise PageError(f"{self.path.name}: no command after the part before {part!r} contains {text!r}")
            found.append(index)
            begin = index + 1
        return found


def steps(page: str) -> Iterator[Step]:
    """All commands of a page in order, without the blocks that are marked `not run`."""
    for block in _BLOCK.finditer(page):
        line = page.count("\n", 0, block.start("body")) + 1
        body = textwrap.dedent(block["body"])  # a block inside a list is indented
        if block["mark"] == "not run" or block["language"] in _DRAWINGS:
            continue
        if block["mark"] == "run":
            yield Step(line, _with_input(block["text"], body))
        elif block["language"] == "console":
            yield from _console(line, body)
        elif block["language"] == "yaml" and re.search(r"^apiVersion: ", body, re.MULTILINE):
            yield Step(line, _with_input("kubectl apply -f -", body))
        else:
            raise PageError(f"line {line}: a reader cannot paste this block: mark it with `run:` or `not run:`")


def reasons(page: str) -> list[str]:
    """The reasons of the blocks that are marked `not run`."""
    return [block["text"] for block in _BLOCK.finditer(page) if block["mark"] == "not run"]


def _console(line: int, body: str) -> Iterator[Step]:
    lines = body.splitlines()
    number = 0
    while number < len(lines):
        first = number
        number += 1
        if not lines[first].startswith("$ "):
            continue
        command = lines[first][2:]
        while _is_open(command):
            if number == len(lines):
                raise PageError(f"line {line + first}: the command does not end in its block")
            command += "\n" + lines[number]
            number += 1
        shown = lines[number] if number < len(lines) and not lines[number].startswith("$ ") else ""
        yield Step(line + first, command, shown)


def _is_open(command: str) -> bool:
    document = _HERE_DOCUMENT.search(command)
    if document is not None:
        return f"\n{document[1]}" not in command
    if command.partition("\n")[0].endswith("{"):
        return command.rpartition("\n")[2].strip() != "}"
    first = re.sub(r"\s+#.*$", "", command)
    return first.endswith(("\\", "|")) or first.count("'") % 2 == 1 or first.count('"') % 2 == 1


def _with_input(command: str, text: str) -> str:
    return f"{command} <<'{_END}'\n{text}{_END}"


def _replaced(step: Step, replacements: Mapping[str, str]) -> Step:
    script = step.script
    for placeholder, value in replacements.items():
        script = script.replace(placeholder, value)
    return Step(step.line, script, step.shown)


@dataclass
class PageReader:
    """Runs the parts of a page in one shell, so that variables and background commands stay between parts."""

    page: Page
    shell: Shell
    replacements: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = self.page.path.read_text()
        unused = [placeholder for placeholder in self.replacements if placeholder not in text]
        assert not unused, f"{self.page.path.name} no longer contains {unused}"

    def run(self, part: str) -> str:
        """Run one part and return the output of its commands. Tables must have the columns that the page shows."""
        return "".join(self._run(step) for step in self.page.steps(part, self.replacements))

    def run_all(self) -> str:
        """Run all parts of the page in order, and return their output."""
        return "".join(self.run(part) for part in self.page.parts)

    def _run(self, step: Step) -> str:
        status, output = self.shell.run(step.script)
        where = f"{self.page.path.name}, line {step.line}: {step.script}"
        assert status == 0, f"{where}\nended with {status}:\n{output}"
        if step.shown.startswith("NAME "):
            columns = [" ".join(line.split()) for line in output.splitlines()]
            assert " ".join(step.shown.split()) in columns, f"{where}\nprints other columns:\n{output}"
        return output
