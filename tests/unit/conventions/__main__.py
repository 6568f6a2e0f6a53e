"""Prints the problems of files or folders: `python -m tests.unit.conventions PATH ...`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.conventions.rules import docstring_problems, language_problems, long_test_names, name_problems


def main(arguments: list[str]) -> int:
    """Checks each path, prints one line a problem, and returns 1 if there is any."""
    problems: list[str] = []
    for argument in arguments:
        root = Path(argument)
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.suffix not in {".py", ".md", ".yaml"} and path.name != "Makefile":
                continue
            problems += language_problems(path)
            if path.suffix == ".py":
                problems += [*docstring_problems(path), *name_problems(path), *long_test_names(path)]
    print("\n".join(problems))
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
