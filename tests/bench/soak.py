#!/usr/bin/env python3
"""Many cells of all kinds against the real kernel, drawn at random from a seed, with restarts in between; then what is left behind.

usage: soak.py [--cells N] [--restarts N] [--steady N] [--seed S]        needs jupyter_client; the environment of tests/lab has it

Cells print, show, update, panic, do not compile, abort, exit, are interrupted at a random moment, ask for input or come in
bursts behind a failing one; they redefine what earlier values are made of, fail half-way, or panic while a value is dropped;
requests of other kinds are sent while they run; restarts are polite, or kill the kernel, also in the middle of a cell. Exit 1
unless

- every request is answered within a bound, once, busy first and idle last, with nothing after it;
- every cell ends as its kind says, and the next one runs;
- every variable has the value that the driver knows, and one whose type changed is refused (`redefinitions.py`);
- nothing is left of a kernel: no process, no file in its temporary folder.

Then `--steady` cells in one kernel without restarts measure what a cell costs in memory, descriptors and threads.
"""

import argparse
import collections
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

import zmq
from installed import install
from jupyter_client.manager import KernelManager
from measure import FIXTURES, table
from redefinitions import Values

LIMIT_S = 60
# A second interrupt ends what does not listen to the first; so does a third, if the second came too early.
INSISTS_AFTER_S = 1.5
MODEL = FIXTURES / "llama-gqa"
# The variable that tells a soak's processes from others: children inherit it.
MARK = "CHANDLERY_SOAK"
CHANNELS = ("shell", "control", "iopub", "stdin")


class Broken(Exception):
    """The kernel did something that it must not do."""


class Request:
    """A request and everything that was received for it."""

    def __init__(self, kind):
        self.kind = kind
        self.began = time.monotonic()
        self.replies = []
        self.published = []
        # The stream of a thread may outlive its cell.
        self.lingers = False

    @property
    def done(self):
        return bool(self.replies) and self.idle

    @property
    def idle(self):
        return any(is_status(message, "idle") for message in self.published)

    @property
    def status(self):
        return self.replies[0]["content"]["status"]

    @property
    def error(self):
        return self.replies[0]["content"].get("ename", "")

    def text(self):
        return "".join(m["content"]["text"] for m in self.published if m["msg_type"] == "stream")

    def of_type(self, name):
        return [message["content"] for message in self.published if message["msg_type"] == name]

    def check(self):
        """One reply; busy, outputs, idle."""
        types = [message["msg_type"] for message in self.published]
        if len(self.replies) != 1:
            raise Broken(f"{self.kind}: {len(self.replies)} replies")
        if not is_status(self.published[0], "busy"):
            raise Broken(f"{self.kind}: does not begin with busy: {types}")
        after = types[[is_status(message, "idle") for message in self.published].index(True) + 1 :]
        if [name for name in after if not (self.lingers and name == "stream")]:
            raise Broken(f"{self.kind}: {after} after idle")


def is_status(message, state):
    return message["msg_type"] == "status" and message["content"]["execution_state"] == state


class Life:
    """A kernel process and one client, read by hand: nothing is skipped."""

    def __init__(self, kernel, environment):
        self.manager = KernelManager(kernel_name=kernel)
        self.environment = environment
        self.manager.start_kernel(env=environment)
        self._connect()

    def _connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.requests = {}
        self.answer = None
        self.poller = zmq.Poller()
        self.channels = {}
        for name in CHANNELS:
            channel = getattr(self.client, f"{name}_channel")
            self.poller.register(channel.socket, zmq.POLLIN)
            self.channels[channel.socket] = (name, channel)
        self._wait_until_it_listens()

    def _wait_until_it_listens(self):
        """A new subscription may miss the first messages, so one request is repeated until its idle arrives."""
        limit = time.monotonic() + LIMIT_S
        while True:
            probe = self.send("kernel_info_request", {})
            try:
                self.until(lambda: self.requests[probe].done, 1)
                self.settle(0.1)
                self.requests.clear()
                return
            except TimeoutError:
                if time.monotonic() > limit or not self.manager.is_alive():
                    raise Broken("the kernel does not start") from None

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def send(self, kind, content, channel="shell", label=None):
        message = self.client.session.msg(kind, content)
        getattr(self.client, f"{channel}_channel").send(message)
        self.requests[message["header"]["msg_id"]] = Request(label or kind)
        return message["header"]["msg_id"]

    def execute(self, code, label, **options):
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
        }
        return self.send("execute_request", content | options, label=label)

    def read(self, seconds):
        """Takes whatever arrives within this many seconds, and at least what has already arrived."""
        for socket, _ in self.poller.poll(max(0, int(seconds * 1000))):
            name, channel = self.channels[socket]
            while socket.poll(0):
                self._take(name, channel.get_msg(timeout=1))

    def _take(self, channel, message):
        parent = message["parent_header"].get("msg_id")
        if parent not in self.requests:
            if message["msg_type"] not in ("iopub_welcome", "status", "shutdown_reply"):
                raise Broken(f"{message['msg_type']} on {channel} belongs to no request: {message['content']}")
            return
        request = self.requests[parent]
        if channel == "iopub":
            request.published.append(message)
        elif channel == "stdin":
            self.client.input(self.answer(message["content"]["prompt"]) if self.answer else "")
        else:
            request.replies.append(message)

    def until(self, condition, seconds=LIMIT_S, every=None):
        limit = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > limit:
                raise TimeoutError
            if every:
                every()
            self.read(0.05)

    def finish(self, request, every=None):
        """Waits for one request and checks it."""
        waited = self.requests[request]
        try:
            self.until(lambda: waited.done, every=every)
        except TimeoutError:
            state = f"{len(waited.replies)} replies, {[m['msg_type'] for m in waited.published]}"
            raise Broken(f"{waited.kind}: not done after {LIMIT_S} s ({state}); alive: {self.manager.is_alive()}") from None
        waited.check()
        return waited

    def settle(self, seconds):
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self.read(limit - time.monotonic())

    def interrupt(self, by_signal):
        """Returns the request, if it is one."""
        if by_signal:
            os.kill(self.pid, signal.SIGINT)
            return None
        return self.send("interrupt_request", {}, channel="control")

    def check_all(self):
        """Checks every request once more for late messages."""
        for request in self.requests.values():
            if not request.done:
                raise Broken(f"{request.kind}: {len(request.replies)} replies, idle: {request.idle}")
            request.check()

    def restart(self, now):
        self.client.stop_channels()
        self.manager.restart_kernel(now=now, env=self.environment)
        self._connect()

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel()


class Soak:
    """The driver: kinds of cells by weight, drawn from one random generator."""

    def __init__(self, seed, kernel="chandlery", say=lambda line: None, values=True):
        self.random = random.Random(seed)
        self.kinds = {kind: weight for kind, weight in self.KINDS.items() if values or kind not in self.OF_VALUES}
        self.say = say
        self.kernel = kernel
        self.counts = collections.Counter()
        self.seconds = collections.defaultdict(list)
        self.folder = tempfile.TemporaryDirectory(prefix="soak-")
        self.mark = uuid.uuid4().hex
        self.environment = os.environ | {"TMPDIR": self.folder.name, MARK: self.mark}
        self.life = Life(kernel, self.environment)
        self.number = 0
        self.defined = []
        self.values = Values(self, Broken)

    KINDS = {
        "expression": 12,
        "variable": 12,
        "item": 5,
        "print": 6,
        "thread prints": 5,
        "display": 5,
        "update": 5,
        "frame": 2,
        "magic": 6,
        "toolkit": 3,
        "input": 3,
        "silent": 2,
        "compile error": 8,
        "syntax error": 4,
        "panic": 7,
        "panic in a thread": 3,
        "question mark": 4,
        "abort": 2,
        "invalid access": 2,
        "stack overflow": 1,
        "exit": 2,
        "interrupted sleep": 4,
        "interrupted loop": 2,
        "interrupted training": 2,
        "asked while busy": 6,
        "burst": 3,
        "redefinition": 30,
        "failed half-way": 6,
        "panicking drop": 3,
        "moved and assigned": 4,
        "shadowed": 2,
        "changed": 4,
        "all values": 6,
    }

    # Those of redefinitions.py.
    OF_VALUES = {"redefinition", "failed half-way", "panicking drop", "moved and assigned", "shadowed", "changed", "all values"}

    def run(self, cells, restarts):
        """Runs this many cells, with this many restarts at random places among them."""
        places = sorted(self.random.sample(range(1, cells), restarts))
        while self.number < cells:
            while places and places[0] <= self.number:
                places.pop(0)
                self.restart()
            kind = self.random.choices(list(self.kinds), self.kinds.values())[0]
            self.cell(kind)
            if self.number % 50 == 0:
                self.say(f"{self.number} cells, {self.counts['restart']} restarts")

    def cell(self, kind):
        self.number += 1
        self.counts[kind] += 1
        began = time.monotonic()
        try:
            getattr(self, kind.replace(" ", "_").replace("-", "_"))()
            self.life.read(0)
        except Broken as broken:
            raise Broken(f"cell {self.number} ({kind}): {broken}") from None
        self.seconds[kind].append(time.monotonic() - began)

    # Kinds of cells. Each sends, waits, and checks what must be received.

    def ok(self, code, **options):
        request = self.life.finish(self.life.execute(code, code[:60], **options))
        if request.status != "ok":
            raise Broken(f"`{code}` failed: {request.replies[0]['content']}")
        return request

    def fails(self, code, name=""):
        request = self.life.finish(self.life.execute(code, code[:60]))
        if request.status != "error" or name not in request.error:
            raise Broken(f"`{code}` should fail with {name}: {request.replies[0]['content']}")
        if not request.of_type("error"):
            raise Broken(f"`{code}` failed without an error on iopub")

    def value(self, code, expected):
        results = self.ok(code).of_type("execute_result")
        shown = [result["data"].get("text/plain") for result in results]
        if shown != [expected]:
            raise Broken(f"`{code}` gave {shown}, not {expected}")

    def expression(self):
        n = self.random.randrange(10**6)
        self.value(f"{n} + 1", str(n + 1))

    def variable(self):
        if self.defined and self.random.random() < 0.5:
            name, value = self.random.choice(self.defined)
            self.value(f"{name}.iter().sum::<u64>()", str(3 * value))
        else:
            name, value = f"kept_{self.random.randrange(30)}", self.random.randrange(1000)
            self.ok(f"let {name} = vec![{value}u64; 3];")
            self.defined = [known for known in self.defined if known[0] != name] + [(name, value)]

    def item(self):
        n = self.random.randrange(20)
        self.value(f"struct Wick{n}(u32);\nimpl Wick{n} {{ fn burn(&self) -> u32 {{ self.0 * 2 }} }}\nWick{n}(21).burn()", "42")

    def print(self):
        lines = self.random.randrange(1, 200)
        text = self.ok(f'for n in 0..{lines} {{ println!("line {{n}}"); }} eprint!("end");').text()
        if text.count("line ") != lines or "end" not in text:
            raise Broken(f"{text.count('line ')} of {lines} lines")

    def thread_prints(self):
        joined = self.random.random() < 0.5
        rest = "thread.join().unwrap();" if joined else "drop(thread);"
        # Lines of an earlier thread may end up here.
        name = f"thread {self.number}:"
        code = (
            f"let thread = std::thread::spawn(|| for n in 0..5 {{ println!(\"{name}{{n}}\"); "
            f"std::thread::sleep(std::time::Duration::from_millis(5)); }}); {rest}"
        )
        request = self.life.execute(code, "thread")
        self.life.requests[request].lingers = not joined
        done = self.life.finish(request)
        if done.status != "ok" or joined and done.text().count(name) != 5:
            raise Broken(f"{done.replies[0]['content']}: {done.text()!r}")

    def display(self):
        n = self.random.randrange(1, 20)
        code = f'for n in 0..{n} {{ emit(&chandlery::display::MimeBundle::text(format!("shown {{n}}"))); }}'
        shown = self.ok(code).of_type("display_data")
        if [content["data"]["text/plain"] for content in shown] != [f"shown {k}" for k in range(n)]:
            raise Broken(f"{len(shown)} displays of {n}")

    def update(self):
        code = (
            "use chandlery::display::{MimeBundle, Updating}; let mut bar = Updating::new();\n"
            'for n in 0..4 { bar.update(|| MimeBundle::text(format!("at {n}"))); '
            "std::thread::sleep(std::time::Duration::from_millis(60)); }\n"
            'bar.finish(&MimeBundle::text("all"));'
        )
        done = self.ok(code)
        shown = [c["transient"]["display_id"] for c in done.of_type("display_data") + done.of_type("update_display_data")]
        if len(set(shown)) != 1 or done.of_type("update_display_data")[-1]["data"]["text/plain"] != "all":
            raise Broken(f"updates of {shown}")

    def frame(self):
        n = self.random.randrange(100)
        self.value(f'{{ use chandlery::polars::prelude::*; df!("x" => [1i64, 2, {n}])?.height() }}', "3")

    def magic(self):
        done = self.ok(f"%inspect {MODEL}")
        if not done.of_type("display_data") + done.of_type("execute_result"):
            raise Broken("nothing shown")

    def toolkit(self):
        self.ok(f'project("llama")?.config("4M")?.construct().seed({self.number}).build()?')

    def input(self):
        word = f"wax{self.random.randrange(1000)}"
        self.life.answer = lambda prompt: word
        self.value('chandlery::cell::input("name: ").unwrap().len()', str(len(word)))

    def silent(self):
        done = self.ok("1 + 1", silent=True, store_history=False)
        if done.of_type("execute_result") or done.of_type("execute_input"):
            raise Broken("a silent cell was heard")

    def compile_error(self):
        code, name = self.random.choice(
            [("let n: u32 = true;", "E0308"), ("no_such_name + 1", "E0425"), ("String::new().fly()", "E0599")]
        )
        self.fails(code, name)

    def syntax_error(self):
        self.fails(self.random.choice(["let x = );", "fn 1() {}", "struct { }"]))

    def panic(self):
        code = self.random.choice(
            ['panic!("on purpose")', "let empty: Vec<u8> = vec![]; empty[0]", "None::<u8>.unwrap()"]
        )
        self.fails(code, "Panic")

    def panic_in_a_thread(self):
        self.value('std::thread::spawn(|| panic!("in a thread")).join().is_err()', "true")

    def question_mark(self):
        self.fails('"x".parse::<u32>()?;', "ParseIntError")

    def abort(self):
        self.dies("std::process::abort();")

    def invalid_access(self):
        self.dies("unsafe { std::ptr::write_volatile(8 as *mut u8, 1); }")

    def stack_overflow(self):
        self.dies("fn deep(n: u64) -> u64 { if n == u64::MAX { 0 } else { std::hint::black_box(deep(n + 1)) + 1 } }\ndeep(0)")

    def exit(self):
        self.dies(f"std::process::exit({self.random.randrange(4)});")

    def dies(self, code):
        """The cell ends its process: the variables are gone, the kernel is not."""
        self.fails(code)
        self.defined.clear()
        self.values.forget()
        self.value("40 + 2", "42")

    def interrupted_sleep(self):
        self.interrupted("loop { chandlery::interrupt::check()?; std::thread::sleep(std::time::Duration::from_millis(1)); }")

    def interrupted_loop(self):
        self.interrupted("let mut n = 0u64; loop { n = std::hint::black_box(n + 1); }", forced=True)

    def interrupted_training(self):
        self.interrupted(
            'project("llama")?.config("4M")?.construct().device("cpu")?.build()?'
            ".test().steps(100000).sequence_length(16).repeat_batch(true).run()?"
        )

    def interrupted(self, code, forced=False):
        """Asks a cell to stop after a random time, in its compile or its run, and again until it does."""
        cell = self.life.execute(code, code[:60])
        self.life.settle(self.random.uniform(0, 0.8))
        by_signal = self.random.random() < 0.3
        asked = [self.life.interrupt(by_signal)]
        last = time.monotonic()

        def again():
            nonlocal last
            if time.monotonic() - last > INSISTS_AFTER_S:
                asked.append(self.life.interrupt(by_signal))
                last = time.monotonic()

        done = self.life.finish(cell, every=again)
        if done.status != "error":
            raise Broken(f"an endless cell ended with {done.status}")
        for request in filter(None, asked):
            self.life.finish(request)
        if forced or len(asked) > 1:
            self.forget_lost()

    def forget_lost(self):
        """After a forced stop the variables may be gone; what is gone must be reported."""
        alive = []
        for name, value in self.defined:
            done = self.life.finish(self.life.execute(f"{name}.len()", name))
            if done.status == "ok":
                alive.append((name, value))
            elif "E0425" not in done.error:
                raise Broken(f"a lost variable gives {done.replies[0]['content']}")
            elif alive:
                raise Broken(f"{name} is lost, {alive[0][0]} is not")
            else:
                break
        self.defined = alive
        self.values.after_force()

    def asked_while_busy(self):
        """Other requests while a cell runs: each has one reply."""
        cell = self.life.execute("std::thread::sleep(std::time::Duration::from_millis(300));", "sleep")
        others = {
            "complete_request": {"code": "let x = proj", "cursor_pos": 12},
            "inspect_request": {"code": "project", "cursor_pos": 3, "detail_level": 0},
            "is_complete_request": {"code": "fn f() {"},
            "history_request": {"hist_access_type": "tail", "n": 5, "output": False, "raw": True},
            "comm_info_request": {},
            "kernel_info_request": {},
        }
        sent = []
        for kind in self.random.choices(list(others), k=4):
            channel = "control" if kind == "kernel_info_request" and self.random.random() < 0.5 else "shell"
            sent.append(self.life.send(kind, others[kind], channel=channel))
            self.life.settle(self.random.uniform(0, 0.1))
        for request in [cell, *sent]:
            done = self.life.finish(request)
            # Of a request whether code is complete, the status is the answer.
            if done.status != ("incomplete" if done.kind == "is_complete_request" else "ok"):
                raise Broken(f"{done.kind}: {done.replies[0]['content']}")

    def burst(self):
        """Cells sent at once behind one that fails: they are not run, and all are answered."""
        first = self.life.execute('panic!("first")', "first")
        behind = [self.life.execute(f'println!("never {n}")', "behind") for n in range(self.random.randrange(1, 6))]
        if self.life.finish(first).status != "error":
            raise Broken("the first cell of a burst did not fail")
        for request in behind:
            done = self.life.finish(request)
            if done.status != "aborted" or "never" in done.text():
                raise Broken(f"a cell behind a failure ended with {done.status}")

    def redefinition(self):
        self.values.redefine()

    def failed_half_way(self):
        self.values.fail_half_way()

    def panicking_drop(self):
        self.values.drop_with_panic()

    def moved_and_assigned(self):
        self.values.move_and_assign()

    def shadowed(self):
        self.values.shadow()

    def changed(self):
        self.values.change()

    def all_values(self):
        self.values.read_all()

    def restart(self):
        """Restarts politely or by force, between cells or during one; nothing of the old kernel may stay."""
        self.counts["restart"] += 1
        began = time.monotonic()
        now, busy = self.random.random() < 0.3, self.random.random() < 0.3
        if busy:
            self.life.execute(
                self.random.choice(["loop { std::hint::spin_loop(); }", 'println!("short");', "let a = [1u8; 4]; a.len()"]), "cut"
            )
            self.life.settle(self.random.uniform(0, 0.6))
        else:
            self.life.settle(0.02)
            self.life.check_all()
        old = self.processes()
        self.life.restart(now)
        self.defined.clear()
        self.values.forget(definitions=True)
        self.gone(old)
        self.seconds[f"restart{' by force' if now else ''}{' in a cell' if busy else ''}"].append(time.monotonic() - began)

    # Leftovers.

    def processes(self):
        return marked(self.mark)

    def gone(self, old, seconds=10):
        limit = time.monotonic() + seconds
        while left := {pid: name for pid, name in self.processes().items() if pid in old}:
            if time.monotonic() > limit:
                raise Broken(f"processes of the old kernel stay: {left}")
            time.sleep(0.02)

    def finish(self):
        """Ends the kernel and looks for remains."""
        self.life.settle(0.1)
        self.life.check_all()
        old = self.processes()
        self.life.stop()
        self.gone(old)
        left = [str(path) for path in Path(self.folder.name).rglob("*")]
        if left:
            raise Broken(f"files stay in the temporary folder: {left[:10]}")
        self.folder.cleanup()

    def close(self):
        """After a failure: leaves no kernel running."""
        self.life.manager.shutdown_kernel(now=True)

    # Memory.

    def steady(self, cells):
        """Cells without restarts; server and worker sampled after each: rows of a table."""
        self.life.restart(False)
        self.defined.clear()
        self.values.forget(definitions=True)
        kinds = ["expression", "variable", "item", "print", "thread prints", "display", "update", "compile error", "panic", "magic"]
        samples = []
        for n in range(cells):
            self.cell(kinds[n % len(kinds)])
            samples.append(self.sample())
        rows = []
        for who, index in (("server", 0), ("worker", 1)):
            # The first tenth fills caches.
            series = [sample[index] for sample in samples[len(samples) // 10 :]]
            resident = [entry["VmRSS"] for entry in series]
            row = [who, f"{resident[0] / 1024:.1f} MB", f"{resident[-1] / 1024:.1f} MB", f"{slope(resident):.1f} KB"]
            for key in ("descriptors", "Threads"):
                row.append(f"{series[0][key]} to {series[-1][key]}")
                if series[-1][key] > series[0][key] + 8:
                    raise Broken(f"{key} of the {who} grow: {series[0][key]} to {series[-1][key]} in {len(series)} cells")
            rows.append(row)
        return rows

    def sample(self):
        server = self.life.pid
        # Of the server's children the worker is the one of the same program.
        workers = [pid for (pid, _), name in self.processes().items() if pid != server and name == "chandlery"]
        if len(workers) != 1:
            raise Broken(f"{len(workers)} workers")
        return [usage(server), usage(workers[0])]

    def report(self):
        rows = []
        for kind, seconds in sorted(self.seconds.items()):
            rows.append([kind, str(len(seconds)), f"{statistics.median(seconds):.2f} s", f"{max(seconds):.2f} s"])
        return rows


def marked(mark):
    """All processes whose environment has this mark: pid and start time, with their names."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                # After the name, which may hold spaces: state is field 3, start time field 22.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found[int(entry.name), fields[19]] = (entry / "comm").read_text().strip()
        except (OSError, IndexError):
            continue
    return found


def usage(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    found = {key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1]) for key in ("VmRSS", "Threads")}
    return found | {"descriptors": len(os.listdir(f"/proc/{pid}/fd"))}


def slope(values):
    """Growth per step, by least squares."""
    return statistics.linear_regression(range(len(values)), values).slope if len(values) > 1 else 0.0


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cells", type=int, default=3000)
    arguments.add_argument("--restarts", type=int, default=300)
    arguments.add_argument("--steady", type=int, default=300, help="cells of the memory measurement (default 300)")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(folder)
        soak = Soak(options.seed, say=lambda line: print(line, file=sys.stderr, flush=True))
        began = time.monotonic()
        try:
            soak.run(options.cells, options.restarts)
            memory = soak.steady(options.steady) if options.steady else []
            soak.finish()
        except BaseException as problem:
            soak.close()
            if isinstance(problem, Broken):
                sys.exit(f"seed {options.seed}: {problem}")
            raise
    print(f"seed {options.seed}: {soak.number} cells, {soak.counts['restart']} restarts, {time.monotonic() - began:.0f} s\n")
    table(["what", "times", "median", "longest"], soak.report())
    print(f"\nvalues whose type changed: {soak.values.refused} refused, {soak.values.reread} read as they were made")
    if memory:
        print()
        table(["process", "memory at first", "at last", "growth per cell", "descriptors", "threads"], memory)


if __name__ == "__main__":
    main()
