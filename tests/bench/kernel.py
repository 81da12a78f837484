#!/usr/bin/env python3
"""The kernel as a front end feels it: start to first reply, and the latency of cells, beside evcxr and ipykernel in the same run.

usage: kernel.py [-n RUNS] [--only KERNEL]        needs jupyter_client; `tests/run bench` has it

A latency runs from sending the request until both the reply and the idle status are here. No two cells have the same text.
Between cells lies a pause, as between a person's cells: the kernel uses it to start the next cell's compiler. Cells that
follow at once, as in a headless run, are measured in a row of their own.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client.manager import KernelManager, start_new_kernel
from measure import COMMAND, FIXTURES, spread, table

LIMIT_S = 120
PAUSE_S = 0.4

# What each kernel is asked, by the name of the row; `{n}` is another number each time.
CELLS = {
    "chandlery": {
        "`1 + 1`": "1 + {n}",
        "toolkit call": 'project("llama")?.config("4M")?.construct().seed({n}).build()?',
        "polars query": (
            "{{ use chandlery::polars::prelude::*; "
            'let frame = df!("layer" => [1i32, 1, 2, 2], "count" => [10i64, 20, 30, {n}])?; '
            'frame.lazy().filter(col("count").gt(lit(15))).group_by([col("layer")]).agg([col("count").sum()]).collect()? }}'
        ),
        "frame of a checkpoint": f'inspect("{FIXTURES / "llama-gqa"}")?.frame()?.height() + {{n}}',
        "magic": f"%inspect {FIXTURES / 'llama-gqa'}",
    },
    "evcxr": {"`1 + 1`": "1 + {n}"},
    "python3": {"`1 + 1`": "1 + {n}"},
}
VARIABLE = {name: "let kept_{n} = vec![{n}u64; 3];" for name in ("chandlery", "evcxr")} | {"python3": "kept_{n} = [{n}] * 3"}
COUNTER = itertools.count(2)


def numbered(code):
    return code.format(n=next(COUNTER))


class Kernel:
    """A running kernel and a connected client."""

    def __init__(self, name):
        self.manager, self.client = start_new_kernel(kernel_name=name, startup_timeout=LIMIT_S)

    def run(self, code, pause=PAUSE_S):
        """Seconds from request to idle; ends the benchmark if the cell fails."""
        time.sleep(pause)
        began = time.perf_counter()
        request = self.client.execute(code)
        wait(self.client, request, code)
        return time.perf_counter() - began

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel()


def wait(client, request, code):
    reply = client.get_shell_msg(timeout=LIMIT_S)
    while reply["parent_header"].get("msg_id") != request:
        reply = client.get_shell_msg(timeout=LIMIT_S)
    if reply["content"]["status"] != "ok":
        sys.exit(f"cell failed: {code}\n" + "\n".join(reply["content"].get("traceback", [str(reply["content"])])))
    while True:
        message = client.get_iopub_msg(timeout=LIMIT_S)
        if message["parent_header"].get("msg_id") == request and message["content"].get("execution_state") == "idle":
            return


def start_to_first_reply(name):
    """Seconds from starting the process to the reply of a cell that was sent at once."""
    manager = KernelManager(kernel_name=name)
    began = time.perf_counter()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        request = client.execute(numbered(CELLS[name]["`1 + 1`"]))
        reply = client.get_shell_msg(timeout=LIMIT_S)
        while reply["parent_header"].get("msg_id") != request:
            reply = client.get_shell_msg(timeout=LIMIT_S)
        return time.perf_counter() - began
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def latencies(name, runs):
    """For each kind of cell: the first one ever, the warm ones in a fresh kernel, the warm ones after 50 cells with 30 variables."""
    found = {}
    for row, code in CELLS[name].items():
        kernel = Kernel(name)
        first = kernel.run(numbered(code))
        found[row] = [first, [kernel.run(numbered(code)) for _ in range(runs)]]
        kernel.stop()
    kernel = Kernel(name)
    for number in range(50):
        kernel.run(numbered(VARIABLE[name] if number < 30 else CELLS[name]["`1 + 1`"]), pause=0)
    for row, code in CELLS[name].items():
        kernel.run(numbered(code))
        found[row].append([kernel.run(numbered(code)) for _ in range(runs)])
    kernel.stop()
    kernel = Kernel(name)
    code = CELLS[name]["`1 + 1`"]
    first = kernel.run(numbered(code))
    rush = [kernel.run(numbered(code), pause=0) for _ in range(runs)]
    for number in range(50):
        kernel.run(numbered(VARIABLE[name] if number < 30 else code), pause=0)
    found["`1 + 1`, one after another"] = [first, rush, [kernel.run(numbered(code), pause=0) for _ in range(runs)]]
    kernel.stop()
    return found


def install(folder):
    os.environ["JUPYTER_PATH"] = os.path.join(folder, "share", "jupyter")
    os.environ["JUPYTER_RUNTIME_DIR"] = os.path.join(folder, "runtime")
    os.environ["IPYTHONDIR"] = os.path.join(folder, "ipython")
    subprocess.run([COMMAND, "kernel", "install", "--prefix", folder], check=True, stdout=subprocess.DEVNULL)
    evcxr = Path(folder, "share", "jupyter", "kernels", "evcxr")
    evcxr.mkdir(parents=True)
    argv = [str(Path(COMMAND).with_name("bench-evcxr")), "--control_file", "{connection_file}"]
    # Its executable shares the standard library, as all of this workspace do; ours finds it by itself.
    libraries = subprocess.run(["rustc", "--print", "target-libdir"], check=True, capture_output=True, text=True).stdout.strip()
    environment = {"LD_LIBRARY_PATH": libraries}
    spec = {"argv": argv, "display_name": "evcxr", "language": "rust", "interrupt_mode": "message", "env": environment}
    evcxr.joinpath("kernel.json").write_text(json.dumps(spec))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-n", type=int, default=9, help="runs of each measurement (default 9)")
    arguments.add_argument("--only", choices=CELLS, help="one kernel instead of all")
    options = arguments.parse_args()
    names = [options.only] if options.only else list(CELLS)
    with tempfile.TemporaryDirectory() as folder:
        install(folder)
        # In turns, so that a busy moment of the machine falls on all.
        starts = {name: [] for name in names}
        for _, name in itertools.product(range(options.n), names):
            starts[name].append(start_to_first_reply(name))
        table(["kernel", "start to first reply, median (range)"], [[name, spread(starts[name], "ms")] for name in names])
        print()
        rows = [
            [name, row, spread([first], "ms").split(" (")[0], spread(fresh, "ms"), spread(later, "ms")]
            for name in names
            for row, (first, fresh, later) in latencies(name, options.n).items()
        ]
        table(["kernel", "cell", "first", "warm, median (range)", "warm after 50 cells and 30 variables"], rows)


if __name__ == "__main__":
    main()
