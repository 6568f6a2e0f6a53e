#!/usr/bin/env python3
"""Copies the CRDs from `crds/` into the operator's chart.

Helm reads no files outside a chart, so the chart contains copies. `--check` writes nothing and exits 1 if a copy is not
identical, byte for byte; a unit test runs it.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "crds"
COPIES = ROOT / "helm" / "operator" / "files" / "crds"


def drift(source: Path, copies: Path) -> list[str]:
    """One sentence for each file that is missing, superfluous or different in the chart; empty if none is."""
    expected = {path.name: path.read_bytes() for path in source.glob("*.yaml")}
    present = {path.name: path.read_bytes() for path in copies.glob("*")}
    return [
        *(f"{name} is not in the chart" for name in sorted(expected.keys() - present.keys())),
        *(f"{name} is only in the chart" for name in sorted(present.keys() - expected.keys())),
        *(f"{name} differs" for name in sorted(expected.keys() & present.keys()) if expected[name] != present[name]),
    ]


def copy(source: Path, copies: Path) -> None:
    """Copy all CRDs and delete copies without a source."""
    copies.mkdir(parents=True, exist_ok=True)
    expected = {path.name for path in source.glob("*.yaml")}
    for stale in copies.glob("*"):
        if stale.name not in expected:
            stale.unlink()
    for path in source.glob("*.yaml"):
        (copies / path.name).write_bytes(path.read_bytes())


def main() -> int:
    """Copy the CRDs, or with `--check` only compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a copy differs")
    if not parser.parse_args().check:
        copy(SOURCE, COPIES)
        return 0
    differences = drift(SOURCE, COPIES)
    for difference in differences:
        sys.stderr.write(f"crds: {difference}; run helm/sync-crds.py\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
