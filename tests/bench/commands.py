#!/usr/bin/env python3
"""Whole commands, start to exit: wall time and peak memory.

usage: commands.py [-n RUNS] [--scratch FOLDER] [--transformers PYTHON] [--large]

The scratch folder needs 10 GB; a 2.47 GB checkpoint is made there once (make_llama.py) and kept. --large adds one of
20 GB, mostly a hole, whose copies need 20 GB and are removed. --transformers names the Python of an environment that has it.
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
        yield row(name, measured, "ms", "")


def made(scratch, *shape):
    """A checkpoint of make_llama.py in the scratch folder, made once."""
    name = "-".join(["llama", *(word.strip("-") for word in shape)])
    folder = scratch / name
    if not folder.exists():
        making = scratch / f"{name}.making"
        shutil.rmtree(making, ignore_errors=True)
        subprocess.run([sys.executable, Path(__file__).parent / "make_llama.py", making, *shape], check=True)
        making.rename(folder)
    return folder


def streams(runs, scratch, transformers):
    """Commands that move a whole checkpoint, next to `cp` of the same bytes: alternating, each after the disk has settled."""
    source, native = made(scratch), scratch / "native"
    shutil.rmtree(native, ignore_errors=True)
    process([COMMAND, "convert", source, native, "--no-validate"])

    destination = scratch / "destination"
    copy = "`cp -r`, 2.47 GB"
    convert = [COMMAND, "convert", source, destination, "--no-validate"]
    commands = {
        copy: ["cp", "-r", source, destination],
        "`convert` to native": convert,
        "`convert` to native, with logits compared": [COMMAND, "convert", source, destination],
        "`convert` back": [COMMAND, "convert", native, destination, "--no-validate"],
        "`convert --dtype float32` (writes 4.94 GB)": [*convert, "--dtype", "float32"],
        "`convert --dtype float16`": [*convert, "--dtype", "float16"],
        "`finalize`": [COMMAND, "finalize", native, destination],
    }
    if transformers:
        script = (
            "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
            "a, b = sys.argv[1:]; M.from_pretrained(a, dtype='auto').save_pretrained(b); "
            "T.from_pretrained(a).save_pretrained(b)"
        )
        commands["transformers, from_pretrained + save_pretrained"] = [transformers, "-c", script, source, destination]
    measured = {name: [] for name in commands}
    for _ in range(runs):
        for name, words in commands.items():
            shutil.rmtree(destination, ignore_errors=True)
            os.sync()
            measured[name].append(process(words))
    shutil.rmtree(destination)
    shutil.rmtree(native)
    for name, runs_of in measured.items():
        ratios = [run.wall / beside.wall for run, beside in zip(runs_of, measured[copy])]
        ratio = f"{sorted(ratios)[len(ratios) // 2]:.2f} x cp ({min(ratios):.2f}-{max(ratios):.2f})"
        yield row(name, runs_of, "s", ratio)


def flatness(scratch):
    """Peak memory for a model eight times as large, which streaming keeps constant."""
    large, destination = made(scratch, "--large"), scratch / "destination"
    size = sum(path.stat().st_size for path in large.iterdir())
    commands = {
        f"`cp -r`, {size / 1e9:.1f} GB": ["cp", "-r", "--sparse=never", large, destination],
        "`convert` to native": [COMMAND, "convert", large, destination, "--no-validate"],
        "`convert --dtype float16`": [COMMAND, "convert", large, destination, "--no-validate", "--dtype", "float16"],
        "`finalize`": [COMMAND, "finalize", large, destination],
    }
    for name, words in commands.items():
        shutil.rmtree(destination, ignore_errors=True)
        os.sync()
        yield row(f"{name} of the large model", [process(words)], "s", "")
    shutil.rmtree(destination)
    shutil.rmtree(large)


def row(name, runs, unit, ratio):
    peaks = spread([run.peak for run in runs], "MB")
    return [name, spread([run.wall for run in runs], unit), spread([run.cpu for run in runs], unit), peaks, ratio]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-n", type=int, default=5, help="runs of each command (default 5)")
    arguments.add_argument("--scratch", type=Path, default=Path("target/bench"), help="where gigabytes may be written")
    arguments.add_argument("--transformers", metavar="PYTHON", help="measure from_pretrained and save_pretrained, too")
    arguments.add_argument("--large", action="store_true", help="also measure a 20 GB model, once each")
    options = arguments.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    rows = [*quick(max(options.n, 9), options.scratch), *streams(options.n, options.scratch, options.transformers)]
    if options.large:
        rows += flatness(options.scratch)
    table(["command", "wall, median (range)", "processor", "peak memory", "wall, pairwise"], rows)


if __name__ == "__main__":
    main()
