"""Measuring: whole processes, and tables of the results."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests" / "fixtures"
COMMAND = os.environ.get("CHANDLERY") or str(
    Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"), "release", "chandlery")
)


class Run(NamedTuple):
    """A process from start to end: seconds of wall time and of processor time, peak resident bytes, and what it wrote."""

    wall: float
    cpu: float
    peak: int
    text: str


def process(words):
    """Runs a command to its end.

    The peak cannot read below this Python's own (about 15 MB): the kernel counts the moment before exec.
    """
    began = time.perf_counter()
    child = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit {child.returncode}\n{text}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)


def spread(values, unit):
    """Median and range: `52 ms (48-60)`."""
    factor, digits = {"s": (1, 2), "ms": (1e3, 1), "MB": (1e-6, 0)}[unit]
    low, middle, high = (f"{v * factor:.{digits}f}" for v in (min(values), statistics.median(values), max(values)))
    return f"{middle} {unit} ({low}-{high})"


def table(header, rows):
    """A markdown table on stdout."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
