"""The rules of language and names, as functions from a file to a list of problems."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.conventions.prose import docstrings, paragraphs, sentences, word_count

MAX_WORDS = 25
MIN_DOCSTRING_WORDS = 5
MAX_TEST_NAME = 70
MAX_FILE_LINES = 320
MAX_FOLDER_FILES = 15

FORBIDDEN_IN_NAMES = frozenset(
    re.findall(
        r"\w+",
        "seen told said wanted known made found gone bring look again sighting sightings nudge nudges nudged cure sick "
        "mend mended verdict brake brakes turn turns trouble standing news place places whoever anew blow blows struck "
        "grounds nursery twin judged judging unsure vanished",
    )
)
FORBIDDEN_IN_TEST_NAMES = frozenset(
    re.findall(
        r"\w+",
        "said told sighting sightings nudge nudges nudged cure sick mend mended verdict brake brakes trouble whoever "
        "anew blow blows struck grounds nursery twin judging unsure vanished",
    )
)
ALLOWED_NAMES = re.compile(r"not_?found|NotFound|notfound|NOT_FOUND|connection_made")

FORBIDDEN_PHRASES = {
    r"whoever": "anyone who",
    r"mend(s|ed|ing)?": "fix",
    r"nudge[sd]?": "requeue",
    r"sightings?": "cached lookup",
    r"told": "reported",
    r"said": "reported",
    r"wanted": "requested, desired",
    r"cure[sd]?": "remedy, restore",
    r"the sick": "an invalid config",
    r"rights": "permissions",
    r"(lets?|letting) (\w+ )?go": "delete, release",
    r"for ever": "permanently",
    r"anew": "again",
    r"as ever": "(leave out)",
    r"so many": "(give the number)",
    r"nobody asked": "(leave out)",
    r"unasked": "(leave out)",
    r"brakes?": "safety check, hold",
    r"blows?": "fault",
    r"struck|strikes?": "inject a fault",
    r"ghosts?": "stale entry",
    r"twin": "baseline",
    r"poisoned": "invalid",
    r"the like": "(be specific)",
    r"stands? (in|at|for|beside|there|here)": "is in, is at",
    r"goes (away|as)": "is deleted",
    r"in the way of": "conflicts with",
    r"at work": "running",
    r"wish(es)?": "request",
}
_PHRASE = re.compile(r"\b(" + "|".join(FORBIDDEN_PHRASES) + r")\b", re.IGNORECASE)
_NOUN_CLAUSE = re.compile(r"^(What|Whoever|Whatever)\b(?!.*\?)")


def language_problems(path: Path) -> Iterator[str]:
    """Long sentences, forbidden words and noun clauses as a subject in one file's prose."""
    for line, text in paragraphs(path):
        for sentence in sentences(text):
            words = word_count(sentence)
            if words > MAX_WORDS:
                yield f"{path}:{line}: {words} words in a sentence (at most {MAX_WORDS}): {sentence[:90]}"
            for match in _PHRASE.finditer(sentence):
                yield f"{path}:{line}: forbidden: {match[0]!r}: {sentence[:90]}"
            if _NOUN_CLAUSE.match(sentence):
                yield f"{path}:{line}: begins with a noun clause: {sentence[:90]}"


def docstring_problems(path: Path) -> Iterator[str]:
    """Docstrings too short to say more than the name does."""
    for line, docstring in docstrings(path.read_text(encoding="utf-8")):
        if word_count(docstring) < MIN_DOCSTRING_WORDS:
            yield f"{path}:{line}: docstring of fewer than {MIN_DOCSTRING_WORDS} words: {docstring!r}"


def name_problems(path: Path) -> Iterator[str]:
    """Forbidden words in the names that one Python file defines, its own name included; fewer in tests."""
    forbidden = FORBIDDEN_IN_TEST_NAMES if "tests" in path.parts else FORBIDDEN_IN_NAMES
    for line, name in [(1, path.stem), *_defined_names(path)]:
        words = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", ALLOWED_NAMES.sub("", name))}
        for word in sorted(words & forbidden):
            yield f"{path}:{line}: forbidden word {word!r} in the name {name!r}"


def long_test_names(path: Path) -> Iterator[str]:
    """Test names that are too long to read in a report."""
    for line, name in _defined_names(path):
        if name.startswith("test_") and len(name) > MAX_TEST_NAME:
            yield f"{path}:{line}: test name of {len(name)} characters (at most {MAX_TEST_NAME}): {name}"


def classes(path: Path) -> Iterator[str]:
    """The names of the top-level classes and type aliases' classes of one file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node.name


def _defined_names(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str() as alias):
                yield node.lineno, alias
            case _:
                pass
