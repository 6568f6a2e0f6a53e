"""The command ``python -m tests.bench.operator``, which ``make bench-operator`` runs.

It measures each subject several times for each number of backups, and prints one table of medians per number.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections.abc import Sequence

from tests.bench.operator.environment import Measurement, start_environment
from tests.bench.operator.load import quantile
from tests.bench.operator.pods import pod_per_backup
from tests.bench.operator.report import machine, table
from tests.bench.operator.subjects import NAMES, available_subjects
from tests.cluster import requirements
from tests.cluster.output import to_stderr


async def main(arguments: argparse.Namespace) -> None:
    """Run all measurements and print the tables."""
    print(machine())
    programs = available_subjects(arguments.subjects, to_stderr)
    measured: dict[int, dict[str, list[Measurement]]] = {}
    async with start_environment(to_stderr) as environment:
        for size in arguments.sizes:
            runs: dict[str, list[Measurement]] = {program.name: [] for program in programs}
            measured[size] = runs
            for repeat in range(arguments.repeats):
                # Each repetition begins with another subject, so that a drift of the machine affects all equally.
                for program in programs[repeat % len(programs) :] + programs[: repeat % len(programs)]:
                    one = await environment.measure(program, size, arguments.singles)
                    runs[program.name].append(one)
                    to_stderr(f"{size} objects, repetition {repeat + 1}, {program.name}: {one.rate:.0f}/s {one.kinds}")
            print(table(size, runs), flush=True)
        if arguments.real:
            print(
                table(
                    arguments.real,
                    {"operator": [await environment.with_real_admins(arguments.real)]},
                    "real gateway-admin",
                )
            )
    if arguments.node:
        await _pods(arguments, [one for runs in measured.values() for one in runs.get("operator", ())])


async def _pods(arguments: argparse.Namespace, operator_runs: Sequence[Measurement]) -> None:
    if reason := requirements.why_no_node():
        print(f"\nskipped a pod per backup: {reason}")
        return
    alone, rate = await pod_per_backup(arguments.jobs, to_stderr)
    print(f"\na pod per backup: p50 {quantile(alone, 0.5):.2f} s single ({len(alone)} Jobs), {rate:.2f}/s concurrent")
    if operator_runs:
        operator = statistics.median(quantile(one.single, 0.5) for one in operator_runs)
        print(f"a pod per backup / operator, single p50: {quantile(alone, 0.5) / operator:.0f}")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--full", action="store_true", help="also measure 10,000 objects")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--singles", type=int, default=40, help="number of backups to run one after the other")
    parser.add_argument("--node", action="store_true", help="also measure a pod per backup (root on Debian)")
    parser.add_argument("--jobs", type=int, default=7, help="number of Jobs one after the other; twice as many at once")
    parser.add_argument("--real", type=int, default=100, help="number of backups with five real gateway-admin; 0: none")
    parser.add_argument("--subjects", nargs="+", choices=NAMES, default=list(NAMES))
    arguments = parser.parse_args(argv)
    if arguments.full:
        arguments.sizes.append(10_000)
    return arguments


if __name__ == "__main__":
    if reason := requirements.why_no_control_plane():
        sys.exit(f"skipped: {reason}")
    asyncio.run(main(_parse(sys.argv[1:])))
