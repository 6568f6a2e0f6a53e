"""The conventions of this code base that a program can check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.conventions.rules import (
    MAX_FILE_LINES,
    MAX_FOLDER_FILES,
    classes,
    docstring_problems,
    language_problems,
    long_test_names,
    name_problems,
)

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = (ROOT / "api/src", ROOT / "operator/src")
PROSE = (*PRODUCT, *(ROOT / name for name in ("crds", "docs", "examples", "helm", "tests")))
PAGES = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md")]


def files(*roots: Path, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    paths = (path for root in roots for path in sorted(root.rglob("*")) if path.suffix in suffixes)
    return [path for path in paths if not {".venv", "templates", "documented_scripts"} & set(path.parts)]


def problems(check: Callable[[Path], Iterator[str]], paths: list[Path]) -> list[str]:
    return [problem.replace(f"{ROOT}/", "") for path in paths for problem in check(path)]


def test_prose_is_plain() -> None:
    assert problems(language_problems, [*files(*PROSE, suffixes=(".py", ".md", ".yaml")), *PAGES]) == []


def test_docstrings_say_more_than_the_name() -> None:
    assert problems(docstring_problems, files(*PRODUCT)) == []


@pytest.mark.parametrize("roots", [PRODUCT, (ROOT / "tests",)], ids=["product", "tests"])
def test_names_use_words_of_the_field(roots: tuple[Path, ...]) -> None:
    assert problems(name_problems, files(*roots)) == []


def test_test_names_fit_in_a_report() -> None:
    assert problems(long_test_names, files(ROOT / "tests")) == []


def test_no_class_name_is_defined_twice() -> None:
    names = Counter(name for path in files(*PRODUCT) for name in classes(path))
    assert [name for name, times in names.items() if times > 1] == []


def test_files_and_folders_are_small() -> None:
    long = [str(path) for path in files(*PRODUCT) if len(path.read_text().splitlines()) > MAX_FILE_LINES]
    folders = Counter(path.parent for path in files(*PRODUCT))
    assert long == []
    assert [str(folder) for folder, number in folders.items() if number > MAX_FOLDER_FILES] == []
