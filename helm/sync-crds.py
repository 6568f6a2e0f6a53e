#!/usr/bin/env python3
"""Copy the CRDs into the operator's chart, or check that the copies are what they should be.

Helm reads nothing outside its chart, so the chart carries copies of `crds/`. Run without arguments to copy; with
`--check` nothing is written and the exit status says whether the copies are byte for byte the same.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "crds"
COPIES = ROOT / "helm" / "operator" / "files" / "crds"


def drift(source: Path, copies: Path) -> list[str]:
    """What differs, one sentence a file."""
    wanted = {path.name: path.read_bytes() for path in source.glob("*.yaml")}
    present = {path.name: path.read_bytes() for path in copies.glob("*")}
    return [
        *(f"{name} is not in the chart" for name in sorted(wanted.keys() - present.keys())),
        *(f"{name} is in the chart alone" for name in sorted(present.keys() - wanted.keys())),
        *(f"{name} differs" for name in sorted(wanted.keys() & present.keys()) if wanted[name] != present[name]),
    ]


def copy(source: Path, copies: Path) -> None:
    """Make the chart's copies equal, files that are gone included."""
    copies.mkdir(parents=True, exist_ok=True)
    wanted = {path.name for path in source.glob("*.yaml")}
    for stale in copies.glob("*"):
        if stale.name not in wanted:
            stale.unlink()
    for path in source.glob("*.yaml"):
        (copies / path.name).write_bytes(path.read_bytes())


def main() -> int:
    """Copy, or check."""
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
