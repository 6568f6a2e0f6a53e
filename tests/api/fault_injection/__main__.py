"""`make torture`: thousands of blows, and a table. Exit status 1 if a promise was broken."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.api.fault_injection.campaign import ALL, KINDS, Plan, run, table


def main() -> int:
    """Runs what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.api.fault_injection", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--share", type=int, default=1, help="one blow in so many")
    parser.add_argument("--seed", type=int, default=0, help="which ones those are")
    parser.add_argument("--mutations", default=",".join(ALL), help="some of the default, with commas")
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of the default, with commas")
    parser.add_argument("--only", help="one blow, as it was printed: restore:server/writer_0:fsync:7:EIO")
    words = parser.parse_args()
    mutations = (words.only.partition(":")[0],) if words.only else tuple(words.mutations.split(","))
    plan = Plan(mutations, tuple(words.kinds.split(",")), words.share, words.seed, words.only)
    began = time.monotonic()
    tally = run(plan, words.jobs)
    print(table(tally))
    print(f"{tally.fell.total()} blows in {time.monotonic() - began:.0f} s")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
