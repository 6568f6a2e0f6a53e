"""Prints the results as Markdown tables: medians of several runs, and the operator's ratio to each baseline."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.operator.environment import Measurement
from tests.bench.operator.load import quantile

_COLUMNS: dict[str, Callable[[Measurement], float]] = {
    "single p50 ms": lambda one: quantile(one.single, 0.5) * 1000,
    "single p99 ms": lambda one: quantile(one.single, 0.99) * 1000,
    "concurrent p50 s": lambda one: quantile(one.concurrent, 0.5),
    "concurrent p99 s": lambda one: quantile(one.concurrent, 0.99),
    "backups/s": lambda one: one.rate,
    "writes": lambda one: one.writes,
    "reads": lambda one: one.reads,
    "peak MiB": lambda one: one.peak,
    "CPU ms": lambda one: one.cpu,
    "API server CPU ms": lambda one: one.server_cpu,
}


def machine() -> str:
    """Time, CPU, Python version and load average of the machine, as one line."""
    cpu = next(
        (line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?"
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{now}; {os.cpu_count()} cores, {cpu}; Python {platform.python_version()}; load before: {load}"


def table(size: int, runs: Mapping[str, Sequence[Measurement]], about: str = "20 ms of work") -> str:
    """A table of all subjects for one number of backups, followed by the operator's ratio to each other subject."""
    medians = {
        name: {column: statistics.median(value(one) for one in several) for column, value in _COLUMNS.items()}
        for name, several in runs.items()
        if several
    }
    count = max(len(several) for several in runs.values())
    lines = [f"\n{size} backups ({about}), {count} runs each, medians", "| | " + " | ".join(_COLUMNS) + " |"]
    lines.append("|---" * (len(_COLUMNS) + 1) + "|")
    for name, values in medians.items():
        lines.append(f"| {name} | " + " | ".join(_number(values[column]) for column in _COLUMNS) + " |")
    operator = medians.get("operator")
    for name, values in medians.items():
        if operator is not None and name != "operator":
            ratios = (f"{operator[column] / values[column]:.2f}" if values[column] else "-" for column in _COLUMNS)
            lines.append(f"| operator / {name} | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
