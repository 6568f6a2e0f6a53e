"""Extracts the sentences that a person reads from Python, Markdown and YAML files.

Python gives docstrings, attribute docstrings and comments. Markdown gives paragraphs, list items and table cells.
YAML gives comments and the values of `description`. Code blocks are left out. Inline code counts as one word.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CODE_SPAN = re.compile(r"``[^`]+``|`[^`]+`|<[^<> ][^<>]*>|\{\{.*?\}\}")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[\"')*_]*\s+|\s+->\s+|\s+→\s+")
_WORD = re.compile(r"[A-Za-z0-9`][\w'/.+%-]*")
_DIRECTIVE = re.compile(r"^(type: ignore|noqa|pragma|!|fmt:|mypy:|pylint|codespell)")


class Paragraph(NamedTuple):
    """A run of prose and the line on which it begins."""

    line: int
    text: str


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph, with each code span replaced by the single word `code`."""
    plain = _LINK.sub(r"\1", _CODE_SPAN.sub("code", text))
    parts = (part.strip() for part in _SENTENCE_END.split(" ".join(plain.split())))
    return [part for part in parts if part]


def word_count(sentence: str) -> int:
    """The number of words; punctuation alone is no word."""
    return len(_WORD.findall(sentence))


def paragraphs(path: Path) -> list[Paragraph]:
    """All prose of one file, by its suffix; other files have none."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return [*_python_docstrings(text), *_comment_blocks(_python_comments(text))]
    if path.suffix == ".md":
        return list(_markdown(text))
    if path.suffix in {".yaml", ".yml"} or path.name == "Makefile":
        return [*_comment_blocks(_hash_comments(text)), *_descriptions(text)]
    return []


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring of a module, class or function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, docstring


def _python_docstrings(text: str) -> Iterator[Paragraph]:
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            and "\x00" not in node.value.value
        ):
            yield from _blocks(node.lineno, node.value.value.splitlines())


def _python_comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#").strip()


def _hash_comments(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#"):
            yield number, stripped.lstrip("#@").strip().removeprefix("-- ")


def _comment_blocks(comments: Iterator[tuple[int, str]]) -> Iterator[Paragraph]:
    block: list[str] = []
    start = last = 0
    for number, comment in comments:
        if _DIRECTIVE.match(comment):
            continue
        if block and number != last + 1:
            yield from _blocks(start, block)
            block = []
        if not block:
            start = number
        block.append(comment)
        last = number
    if block:
        yield from _blocks(start, block)


def _blocks(first: int, lines: list[str]) -> Iterator[Paragraph]:
    """Splits lines into paragraphs at blank lines, list items and indented code."""
    block: list[str] = []
    start = first
    for number, line in enumerate(lines, first):
        stripped = line.strip()
        item = re.match(r"([-*]|\d+\.) ", stripped) is not None
        if (not stripped or item) and block:
            yield Paragraph(start, " ".join(block))
            block = []
        if stripped and not line.startswith("        "):
            if not block:
                start = number
            block.append(stripped)
    if block:
        yield Paragraph(start, " ".join(block))


def _markdown(text: str) -> Iterator[Paragraph]:
    prose: list[str] = []
    start = 1
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("```"):
            fenced = not fenced
            stripped = ""
        elif fenced or (line.startswith(("    ", "<!--")) and not re.match(r"\s+([-*]|\d+\.) ", line)):
            stripped = stripped if prose and not fenced and not line.startswith("<!--") else ""
        if stripped.startswith("|"):
            yield from (Paragraph(number, cell.strip()) for cell in stripped.strip("|").split("|"))
            stripped = ""
        boundary = re.match(r"([-*]|\d+\.|#+) ", stripped)
        if prose and (not stripped or boundary):
            yield Paragraph(start, " ".join(prose))
            prose = []
        if stripped:
            if not prose:
                start = number
            prose.append(stripped)
    if prose:
        yield Paragraph(start, " ".join(prose))


def _descriptions(text: str) -> Iterator[Paragraph]:
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = re.match(r"(\s*)(?:- )?description: (.*)", line)
        if match is None:
            continue
        indent, value = len(match[1]), match[2]
        parts = [] if value in {"|", ">", ">-", "|-"} else [value]
        for follow in lines[number:]:
            if follow.strip() and len(follow) - len(follow.lstrip()) <= indent:
                break
            parts.append(follow.strip())
        yield Paragraph(number, " ".join(parts).strip("\"'"))
