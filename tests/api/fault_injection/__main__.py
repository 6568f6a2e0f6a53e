"""Runs a fault injection campaign and prints a table of the results: `make fault-injection`.

The exit status is 1 if a fault broke a promise.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.api.fault_injection.campaign import ALL, KINDS, Plan, format_table, run


def main() -> int:
    """Runs the campaign that the command line selects."""
    parser = argparse.ArgumentParser(prog="python -m tests.api.fault_injection", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="number of parallel processes")
    parser.add_argument("--one-in", type=int, default=1, metavar="N", help="inject one fault in N")
    parser.add_argument("--seed", type=int, default=0, help="selects which faults --one-in picks")
    parser.add_argument("--operations", default=",".join(ALL), help="comma-separated subset of the default")
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated subset of the default")
    parser.add_argument("--only", help="a single fault as printed in a report: restore:server/writer_0:fsync:7:EIO")
    options = parser.parse_args()
    operations = (options.only.partition(":")[0],) if options.only else tuple(options.operations.split(","))
    plan = Plan(operations, tuple(options.kinds.split(",")), options.one_in, options.seed, options.only)
    began = time.monotonic()
    results = run(plan, options.jobs)
    print(format_table(results))
    print(f"{results.injected.total()} faults in {time.monotonic() - began:.0f} s")
    return 1 if results.broken else 0


if __name__ == "__main__":
    sys.exit(main())
