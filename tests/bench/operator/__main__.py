"""``python -m tests.bench.operator``: what ``make bench-operator`` runs."""

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
from tests.bench.operator.subjects import available_subjects
from tests.cluster import requirements
from tests.cluster.output import to_stderr


async def main(arguments: argparse.Namespace) -> None:
    """One run of everything."""
    print(machine())
    programs = available_subjects(arguments.contenders, to_stderr)
    measured: dict[int, dict[str, list[Measurement]]] = {}
    async with start_environment(to_stderr) as place:
        for size in arguments.sizes:
            runs: dict[str, list[Measurement]] = {program.name: [] for program in programs}
            measured[size] = runs
            for turn in range(arguments.repeats):
                # Each turn begins with another one: whatever drifts, drifts for all.
                for program in programs[turn % len(programs) :] + programs[: turn % len(programs)]:
                    one = await place.measure(program, size, arguments.singles)
                    runs[program.name].append(one)
                    to_stderr(f"{size} objects, turn {turn + 1}, {program.name}: {one.rate:.0f}/s {one.kinds}")
            print(table(size, runs), flush=True)
        if arguments.real:
            print(
                table(
                    arguments.real, {"operator": [await place.with_real_admins(arguments.real)]}, "real gateway-admin"
                )
            )
    if arguments.node:
        await _pods(arguments, [one for runs in measured.values() for one in runs.get("operator", ())])


async def _pods(arguments: argparse.Namespace, ours: Sequence[Measurement]) -> None:
    if reason := requirements.why_no_node():
        print(f"\nno pod per backup: {reason}")
        return
    alone, rate = await pod_per_backup(arguments.jobs, to_stderr)
    print(
        f"\na pod per backup: p50 {quantile(alone, 0.5):.2f} s alone ({len(alone)} Jobs), {rate:.2f} a second at once"
    )
    if ours:
        mine = statistics.median(quantile(one.single, 0.5) for one in ours)
        print(f"a pod per backup / operator, p50 alone: {quantile(alone, 0.5) / mine:.0f}")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--full", action="store_true", help="10,000 objects too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--singles", type=int, default=40, help="backups one by one, for what a single one takes")
    parser.add_argument("--node", action="store_true", help="a pod per backup too: needs root on Debian")
    parser.add_argument("--jobs", type=int, default=7, help="how many Jobs one by one; twice as many at once")
    parser.add_argument("--real", type=int, default=100, help="backups through five real gateway-admin; 0 for none")
    parser.add_argument("--contenders", nargs="+", default=["operator", "twin", "floor"])
    arguments = parser.parse_args(argv)
    if arguments.full:
        arguments.sizes.append(10_000)
    return arguments


if __name__ == "__main__":
    if reason := requirements.why_no_control_plane():
        sys.exit(f"skipped: {reason}")
    asyncio.run(main(_parse(sys.argv[1:])))
