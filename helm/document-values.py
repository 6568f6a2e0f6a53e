#!/usr/bin/env python3
"""Write the tables of values in docs/charts.md from the comments in the charts' values.yaml.

`--check` writes nothing and exits 1 if the page is not what it would be; a unit test runs that.
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
# What is shown as one value although it is a mapping.
_WHOLE = {"resources"}


def comments(text: str) -> dict[tuple[str, ...], str]:
    """The comment right above each key of a values.yaml."""
    found: dict[tuple[str, ...], str] = {}
    path: list[tuple[int, str]] = []
    pending: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            pending.append(line.lstrip(" #"))
        elif match := _KEY.match(line):
            indent = len(match[1])
            path = [part for part in path if part[0] < indent] + [(indent, match[2])]
            if pending:
                found[tuple(name for _, name in path)] = " ".join(pending)
            pending = []
        else:
            pending = []
    return found


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value that a person sets, with its default."""
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in _WHOLE:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def table(chart: str) -> str:
    """A chart's values as a Markdown table."""
    text = (ROOT / "helm" / chart / "values.yaml").read_text(encoding="utf-8")
    described = comments(text)
    rows = ["| value | default | what it is |", "|---|---|---|"]
    for path, default in leaves(yaml.safe_load(text)):
        shown = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        description = described.get(path, "").replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | `{shown}` | {description} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """The page with its tables made anew."""
    for chart in CHARTS:
        begin, end = f"<!-- values of helm/{chart} -->\n", "<!-- end of values -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{table(chart)}\n{end}{after}"
    return text


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is stale")
    present = PAGE.read_text(encoding="utf-8")
    wanted = page(present)
    if parser.parse_args().check:
        if present != wanted:
            sys.stderr.write("docs/charts.md: the tables are stale; run helm/document-values.py\n")
        return int(present != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
