"""Runs the console blocks of a documentation page as a reader would paste them.

A command begins with `$ `. The lines after it belong to it while the shell would still wait for more: after a backslash
or a pipe, inside quotes, and inside a here-document. All other lines are output and are ignored.
"""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^(?P<indent> *)```console\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HERE_DOCUMENT = re.compile(r"<<-?\s*'?(\w+)'?")


def commands(page: str) -> Iterator[str]:
    """The commands of all console blocks of a page, in their order."""
    for block in _BLOCK.finditer(page):
        lines = iter(textwrap.dedent(block["body"]).splitlines())
        for line in lines:
            if line.startswith("$ "):
                yield _whole_command(line[2:], lines)


def _whole_command(command: str, lines: Iterator[str]) -> str:
    while _is_open(command):
        command += "\n" + next(lines)
    return command


def _is_open(command: str) -> bool:
    document = _HERE_DOCUMENT.search(command)
    if document is not None:
        return f"\n{document[1]}" not in command
    first = re.sub(r"\s+#.*$", "", command)
    return first.endswith(("\\", "|")) or first.count("'") % 2 == 1 or first.count('"') % 2 == 1


@dataclass
class PageReader:
    """Runs commands of a page in one shell, so that variables stay. ``replacements`` are the reader's own values."""

    page: Path
    environment: Mapping[str, str]
    folder: Path
    replacements: Mapping[str, str]

    def run(self, first: str, last: str) -> str:
        """Run the commands from the one that contains `first` to the one that contains `last`. Returns their output."""
        every = list(commands(self._replaced()))
        begin = next(index for index, one in enumerate(every) if first in one)
        end = next(index for index, one in enumerate(every) if last in one and index >= begin)
        script = "\n".join(every[begin : end + 1])
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=self.folder, env=dict(self.environment), capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.page.name}: {done.stderr}\n{done.stdout}"
        return done.stdout

    def _replaced(self) -> str:
        text = self.page.read_text()
        for placeholder, value in self.replacements.items():
            assert placeholder in text, f"{self.page.name} no longer contains {placeholder!r}"
            text = text.replace(placeholder, value)
        return text
