#!/usr/bin/env python3
"""Runs the cells of `cells.py` in a worker that was built with AddressSanitizer.

usage: address.py CHANDLERY        the command, as `tests/run sanitize` builds it

Cells are compiled with AddressSanitizer, too. Exits 1 if a cell ends in another way than it should, or if anything is reported;
and if a cell that reads freed memory is not.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cells import CELLS, FAULT

# Cells stay loaded and define what others do, and what they allocate may live as long as the process.
OPTIONS = "detect_leaks=0:detect_odr_violation=0:handle_segv=0:allocator_may_return_null=1:abort_on_error=1"


def compiler(folder):
    """A folder with a `bin/rustc` that compiles cells with AddressSanitizer."""
    sysroot = Path(subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip())
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").symlink_to(sysroot / "lib")
    rustc = folder / "bin" / "rustc"
    rustc.write_text(
        f"""#!/bin/sh
case " $* " in
    *" --crate-name=cell "*) RUSTC_BOOTSTRAP=1 exec {sysroot}/bin/rustc "$@" -Zsanitizer=address ;;
    *) exec {sysroot}/bin/rustc "$@" ;;
esac
"""
    )
    rustc.chmod(0o755)
    return rustc


def run(chandlery, rustc, cells, folder):
    """What each cell shows or fails with, and what AddressSanitizer reports."""
    folder.mkdir()
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
            for n, source in enumerate(cells)
        ],
    }
    (folder / "cells.ipynb").write_text(json.dumps(notebook))
    environment = os.environ | {"RUSTC": str(rustc), "ASAN_OPTIONS": f"{OPTIONS}:log_path={folder}/report"}
    command = [chandlery, "run", "cells.ipynb", "-o", "done.ipynb", "--allow-errors"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3600)
    reports = [path.read_text(errors="replace") for path in sorted(folder.glob("report*"))]
    if not (folder / "done.ipynb").is_file():
        return [], reports or [done.stderr]
    return json.loads((folder / "done.ipynb").read_text())["cells"], reports


def ending(cell):
    """The text of a cell's value, its error, or neither."""
    for output in cell["outputs"]:
        if output["output_type"] == "error":
            return None, output["ename"] + ": " + output["evalue"]
        if output["output_type"] == "execute_result":
            return "".join(output["data"]["text/plain"]), None
    return None, None


def is_right(expected, value, error):
    if isinstance(expected, tuple):
        return any(is_right(one, value, error) for one in expected)
    if error and error.startswith("WorkerDied"):
        return False
    if expected == "any":
        return error is None
    if expected == "error":
        return error is not None
    return value == expected and error is None if error is None else expected is not None and error.startswith(expected)


def main():
    chandlery = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        rustc = compiler(Path(scratch) / "sysroot")
        wrong = 0
        cells, reports = run(chandlery, rustc, [source for source, _ in CELLS], Path(scratch) / "cells")
        for (source, expected), cell in zip(CELLS, cells):
            value, error = ending(cell)
            if not is_right(expected, value, error):
                wrong += 1
                print(f"`{source}`\n  gives {error or value}\n  not {expected}")
        for report in reports:
            print(report.partition("Shadow bytes")[0])
        _, caught = run(chandlery, rustc, [FAULT], Path(scratch) / "fault")
        if not any("heap-use-after-free" in report for report in caught):
            print("a cell that reads freed memory was not reported: the worker or its cells are not watched", *caught)
            wrong += 1
    print(f"{len(cells)} of {len(CELLS)} cells ran, {wrong} wrong, {len(reports)} reports")
    sys.exit(1 if wrong or reports or len(cells) < len(CELLS) else 0)


if __name__ == "__main__":
    main()
