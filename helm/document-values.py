#!/usr/bin/env python3
"""Writes the tables of chart values in docs/charts.md from the comments in each chart's values.yaml.

The comment right above a key becomes its description. The page marks each table with HTML comments; only the text
between them is replaced. `--check` writes nothing and exits 1 if the page is out of date; a unit test runs it.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "charts.md"
CHARTS = ("operator", "gateway")
_KEY = re.compile(r"^( *)([\w-]+):")
# Mappings that the table shows as one value.
_SINGLE_VALUES = {"resources"}


def comments(text: str) -> dict[tuple[str, ...], str]:
    """The comment right above each key of a values.yaml, by the key's path."""
    by_path: dict[tuple[str, ...], str] = {}
    path: list[tuple[int, str]] = []
    pending: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            pending.append(line.lstrip(" #"))
        elif match := _KEY.match(line):
            indent = len(match[1])
            path = [part for part in path if part[0] < indent] + [(indent, match[2])]
            if pending:
                by_path[tuple(name for _, name in path)] = " ".join(pending)
            pending = []
        else:
            pending = []
    return by_path


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and default of each value that a user can set."""
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in _SINGLE_VALUES:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def table(chart: str) -> str:
    """The values of one chart as a Markdown table."""
    text = (ROOT / "helm" / chart / "values.yaml").read_text(encoding="utf-8")
    described = comments(text)
    rows = ["| value | default | description |", "|---|---|---|"]
    for path, default in leaves(yaml.safe_load(text)):
        default_text = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        description = described.get(path, "").replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | `{default_text}` | {description} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """The text of the page with new tables."""
    for chart in CHARTS:
        begin, end = f"<!-- values of helm/{chart} -->\n", "<!-- end of values -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{table(chart)}\n{end}{after}"
    return text


def main() -> int:
    """Write the page, or with `--check` only compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    present = PAGE.read_text(encoding="utf-8")
    expected = page(present)
    if parser.parse_args().check:
        if present != expected:
            sys.stderr.write("docs/charts.md: the tables are out of date; run helm/document-values.py\n")
        return int(present != expected)
    PAGE.write_text(expected, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
