#!/usr/bin/env python3
"""Whole commands, start to exit: wall time and peak memory.

usage: commands.py [-n RUNS] [--scratch FOLDER]

The scratch folder needs 8 GB; a 2.47 GB checkpoint is made there once (make_llama_1b.py) and kept.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from measure import COMMAND, FIXTURES, process, spread, table


def quick(runs, scratch):
    """Commands that end in milliseconds."""
    output = scratch / "llama-70b"
    commands = {
        "`--version`": ["--version"],
        "`inspect`, a 1 MB model": ["inspect", FIXTURES / "llama-gqa"],
        "70B construct on meta, with its table": [
            *["-p", "llama", "-t", "llama3.1_70b", "model", "construct", "--output-dir", output],
        ],
    }
    for name, words in commands.items():
        measured = []
        for _ in range(runs + 1):
            shutil.rmtree(output, ignore_errors=True)
            measured.append(process([COMMAND, *words]))
        del measured[0]  # reads the files from disk
        shutil.rmtree(output, ignore_errors=True)
        yield [name, spread([m[0] for m in measured], "ms"), spread([m[1] for m in measured], "MB"), ""]


def conversions(runs, scratch):
    """`convert` there and back beside `cp` of the same bytes, in turns, each after the disk has settled."""
    source, native = scratch / "llama-1b", scratch / "native"
    if not source.exists():
        making = scratch / "llama-1b.making"
        shutil.rmtree(making, ignore_errors=True)
        subprocess.run([sys.executable, Path(__file__).parent / "make_llama_1b.py", making], check=True)
        making.rename(source)
    shutil.rmtree(native, ignore_errors=True)
    process([COMMAND, "convert", source, native, "--no-validate"])

    destination = scratch / "destination"
    commands = {
        "`cp -r`, 2.47 GB": ["cp", "-r", source, destination],
        "`convert` to native": [COMMAND, "convert", source, destination, "--no-validate"],
        "`convert` back": [COMMAND, "convert", native, destination, "--no-validate"],
    }
    measured = {name: [] for name in commands}
    for _ in range(runs):
        for name, words in commands.items():
            shutil.rmtree(destination, ignore_errors=True)
            os.sync()
            measured[name].append(process(words))
    shutil.rmtree(destination)
    shutil.rmtree(native)
    copies = [m[0] for m in measured["`cp -r`, 2.47 GB"]]
    for name, runs_of in measured.items():
        ratios = [m[0] / copy for m, copy in zip(runs_of, copies)]
        ratio = f"{sorted(ratios)[len(ratios) // 2]:.2f} x cp ({min(ratios):.2f}-{max(ratios):.2f})"
        yield [name, spread([m[0] for m in runs_of], "s"), spread([m[1] for m in runs_of], "MB"), ratio]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-n", type=int, default=5, help="runs of each command (default 5)")
    arguments.add_argument("--scratch", type=Path, default=Path("target/bench"), help="where gigabytes may be written")
    options = arguments.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    rows = [*quick(max(options.n, 9), options.scratch), *conversions(options.n, options.scratch)]
    table(["command", "wall, median (range)", "peak memory", "ratio, pairwise"], rows)


if __name__ == "__main__":
    main()
