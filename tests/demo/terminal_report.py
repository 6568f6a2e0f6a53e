"""Prints the demo's progress: numbered steps with their durations, commands and outputs; colours only on a terminal."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

_INDENT = "    "


class Report:
    """Prints numbered steps to a stream, and their durations at the end."""

    def __init__(self, stream: TextIO = sys.stdout, colours: bool | None = None) -> None:
        self._stream = stream
        on_a_terminal = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._colours = on_a_terminal if colours is None else colours
        self._began = time.monotonic()
        self._steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a numbered title, run the block, and print its duration."""
        number = len(self._steps) + 1
        began = time.monotonic()
        self._line("")
        self._line(self._paint("1", f"{number}. {title}"))
        self._steps.append((title, 0.0))
        try:
            yield
        except BaseException:
            self._line(f"{_INDENT}{self._paint('31', 'failed')} after {time.monotonic() - began:.1f} s")
            raise
        seconds = time.monotonic() - began
        self._steps[-1] = (title, seconds)
        self._line(f"{_INDENT}{self._paint('32', 'done')} in {seconds:.1f} s")

    def say(self, text: str) -> None:
        """Print text, indented, one line at a time."""
        for line in text.splitlines() or [""]:
            self._line((_INDENT + line).rstrip())

    def note(self, text: str) -> None:
        """Print secondary text in a faint colour: the progress of a program, a hint."""
        for line in text.splitlines():
            self._line(_INDENT + self._paint("2", line))

    def command(self, text: str) -> None:
        """Print a shell command with a prompt."""
        self._line(f"{_INDENT}{self._paint('36', '$ ' + text)}")

    def output(self, text: str) -> None:
        """Print the output of a command, indented."""
        for line in text.rstrip().splitlines():
            self._line(f"{_INDENT}{line}".rstrip())

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table with columns of equal width."""
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        for index, row in enumerate([head, *rows]):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self._line(_INDENT + (self._paint("2", line) if index == 0 else line))

    def plain(self, text: str = "") -> None:
        """Print text without indentation, between the steps."""
        for line in text.splitlines() or [""]:
            self._line(line)

    def summary(self) -> None:
        """Print the duration of each step and the total."""
        self._line("")
        for number, (title, seconds) in enumerate(self._steps, 1):
            self._line(self._paint("2", f"{seconds:7.1f} s  {number}. {title}"))
        self._line(f"{time.monotonic() - self._began:7.1f} s  total")

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours else text

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
