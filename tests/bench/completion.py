#!/usr/bin/env python3
"""Completion and inspection as a front end sees them: what answers at once, how long rust-analyzer takes to start and what
memory it holds, how long its answers take, and whether cells feel it.

usage: completion.py [-n RUNS]        needs jupyter_client
"""

import argparse
import tempfile
import time
from pathlib import Path

from installed import LIMIT_S, Kernel, install, numbered
from measure import spread, table

# Questions by topic; `{n}` makes each one different, because answers are cached.
QUESTIONS = {
    "a method of the toolkit": ("complete", "let n = {n}; opened.conf", "config"),
    "a method of a candle tensor": ("complete", "let n = {n}; tensor.sum_", "sum_all"),
    "a method of std": ("complete", "let n = {n}; names.is_em", "is_empty"),
    "documentation": ("inspect", "let n = {n}; opened.config", "pub fn config"),
}
SETUP = 'let opened = project("llama")?;\nlet names = vec![String::new()];\nlet tensor = chandlery::candle::Tensor::new(1f32, &chandlery::candle::Device::Cpu)?;'


def ask(kernel, kind, code):
    """Seconds, and the reply's matches or documentation."""
    client = kernel.client
    began = time.perf_counter()
    request = getattr(client, kind)(code, len(code))
    reply = client.get_shell_msg(timeout=LIMIT_S)
    while reply["parent_header"].get("msg_id") != request:
        reply = client.get_shell_msg(timeout=LIMIT_S)
    content = reply["content"]
    return time.perf_counter() - began, content["matches"] if kind == "complete" else content["data"].get("text/plain", "")


def language_processes(kernel):
    """The folders in /proc of the kernel's language processes, in the order of their start."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = folder.joinpath("cmdline").read_text().split("\0")
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if Path(words[0]).name == "chandlery-evcxr" and int(parent) == kernel.manager.provisioner.pid:
            found.append(folder)
    return sorted(found, key=lambda folder: int(folder.name))


def memory(process):
    """Its peak so far."""
    lines = dict(line.split(":", 1) for line in process.joinpath("status").read_text().splitlines())
    return f"{int(lines['VmHWM'].split()[0]) * 1024 / 1e6:,.0f} MB"


def until_known(kernel, row):
    """Asks until the answer contains what is wanted."""
    kind, code, wanted = QUESTIONS[row]
    while wanted not in ask(kernel, kind, numbered(code))[1]:
        time.sleep(1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-n", type=int, default=9, help="runs of each measurement (default 9)")
    runs = arguments.parse_args().n
    with tempfile.TemporaryDirectory() as folder:
        install(folder)
        kernel = Kernel()
        kernel.run(SETUP)
        cells = {"before": [kernel.run(numbered("1 + {n}")) for _ in range(runs)]}
        began = time.perf_counter()
        first, found = ask(kernel, "complete", "open")
        assert "opened" in found, found
        names = [ask(kernel, "complete", numbered("let n = {n}; open"))[0] for _ in range(runs)]
        cells["while it starts"] = [kernel.run(numbered("1 + {n}")) for _ in range(runs)]
        until_known(kernel, "a method of the toolkit")
        ready = time.perf_counter() - began
        small = memory(language_processes(kernel)[0])
        until_known(kernel, "a method of a candle tensor")
        complete = time.perf_counter() - began
        answers = {row: [] for row in QUESTIONS}
        for _ in range(runs):
            for row, (kind, code, wanted) in QUESTIONS.items():
                took, found = ask(kernel, kind, numbered(code))
                # An answer that takes longer than a person waits is counted as that, even without what was wanted.
                answers[row].append((took, wanted in found))
        cells["when it runs"] = [kernel.run(numbered("1 + {n}")) for _ in range(runs)]
        (process,) = language_processes(kernel)
        large = memory(process)
        kernel.stop()
    table(
        ["what", "value"],
        [
            ["first answer, by name", spread([first], "ms").split(" (")[0]],
            ["answers by name until it is ready", spread(names, "ms")],
            ["the toolkit is known, after the first question", f"{ready:.1f} s"],
            ["memory of the process that knows it", small],
            ["candle and polars are known", f"{complete:.1f} s"],
            ["memory of the process that knows them, after the questions below", large],
        ],
    )
    print()
    rows = [[row, spread([took for took, _ in times], "ms"), str(sum(known for _, known in times))] for row, times in answers.items()]
    table(["question", "median (range)", f"in time, of {runs}"], rows)
    print()
    table(["`1 + 1`", "median (range)"], [[when, spread(times, "ms")] for when, times in cells.items()])


if __name__ == "__main__":
    main()
