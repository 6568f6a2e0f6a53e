"""`make bench-admission`: a table of all attacks, with memory and latencies beside those of an idle server."""

from __future__ import annotations

import argparse

from tests.bench.admission.attacks import ATTACKS
from tests.bench.admission.measure import MEMORY_LIMIT_MIB, Measurement, measure, running_target

HEAD = "| attack | /health p50 | p99 | max | failed | with key p50 | max | failed | memory |"


def _row(one: Measurement) -> str:
    health, keyed = one.health, one.keyed
    milliseconds = [f"{health.percentile(percent):.1f} ms" for percent in (50, 99, 100)]
    with_key = [f"{keyed.percentile(percent):.0f} ms" for percent in (50, 100)]
    cells = [one.name, *milliseconds, str(health.failed), *with_key, str(keyed.failed), f"{one.memory_mib:.0f} MiB"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Prints one row for an idle server and one for each attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="duration of each attack (15)")
    parser.add_argument("--only", choices=tuple(ATTACKS), action="append", help="run only this attack")
    arguments = parser.parse_args()
    print(HEAD)
    print("|" + "---|" * 9)
    with running_target() as target:
        print(_row(measure(target, None, arguments.seconds)), flush=True)
        for name in arguments.only or ATTACKS:
            print(_row(measure(target, name, arguments.seconds)), flush=True)
    print(f"The chart's memory limit is {MEMORY_LIMIT_MIB} MiB. Numbers from a loaded machine are unreliable.")


if __name__ == "__main__":
    main()
