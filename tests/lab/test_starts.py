"""The ways in which front ends, servers and launchers start kernels: each gets values, interrupts, and no leftover process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager

import pytest
import websocket
from jupyter_client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.session import Session
from soak import MARK, marked

LIMIT_S = 60
ENDLESS = "loop { chandlery::interrupt::check()?; std::thread::sleep(std::time::Duration::from_millis(1)); }"


def wait_until(condition, what):
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.05)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def started(kernel, file, environment, transport="tcp", key="a key", ip="127.0.0.1", extra=None, cwd=None, session=False):
    """A kernel started by the argv and env of its kernelspec, as front ends of their own do: with a connection file, no more."""
    names = ["shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"]
    ports = free_ports(5) if transport == "tcp" else range(1, 6)
    address = ip if transport == "tcp" else str(file.parent / "k")
    connection = {"transport": transport, "ip": address, "key": key, "signature_scheme": "hmac-sha256"}
    file.write_text(json.dumps(connection | dict(zip(names, ports)) | (extra or {})))
    spec = KernelSpecManager().get_kernel_spec(kernel)
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [word.replace("{connection_file}", str(file)) for word in spec.argv],
        env=environment | spec.env | {MARK: mark},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=session,
    )
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    if transport == "tcp":
        client.ip = "127.0.0.1"
    client.start_channels()
    try:
        client.wait_for_ready(timeout=LIMIT_S)
        yield process, client
        client.stop_channels()
        process.wait(timeout=LIMIT_S)
        wait_until(lambda: not marked(mark), f"left behind: {marked(mark)}")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def value(client, code):
    shown = []

    def hook(message):
        if message["msg_type"] == "execute_result":
            shown.append(message["content"]["data"]["text/plain"])

    reply = client.execute_interactive(code, output_hook=hook, timeout=LIMIT_S)
    assert reply["content"]["status"] == "ok", reply["content"]
    return shown[0]


def shut_down(client):
    client.shutdown()
    assert client.get_control_msg(timeout=LIMIT_S)["content"]["status"] == "ok"


CASES = {
    "vscode": {"extra": {"kernel_name": "chandlery", "jupyter_session": "/home/chandler/a b.ipynb"}},
    "zed": {"extra": {"kernel_name": "zed-chandlery"}},
    "ipc": {"transport": "ipc"},
    "unsigned": {"key": ""},
}


@pytest.mark.parametrize("case", CASES)
def test_a_connection_file_is_enough(case, kernel, tmp_path):
    folder = tmp_path / "run time ü"
    folder.mkdir()
    with started(kernel, folder / "kernel-v2-1.json", dict(os.environ), cwd=tmp_path, **CASES[case]) as (process, client):
        assert value(client, "let wicks = 6; wicks * 7") == "42"
        assert value(client, "std::env::current_dir()?.display().to_string()").strip('"') == str(tmp_path)
        shut_down(client)


def test_a_front_end_that_kills_its_kernel_leaves_no_worker(kernel, tmp_path):
    with started(kernel, tmp_path / "k.json", dict(os.environ)) as (process, client):
        assert value(client, "1 + 1") == "2"
        client.execute("loop { std::hint::spin_loop(); }")
        time.sleep(0.5)
        process.kill()


def test_a_gateway_launches_it_in_its_own_session_and_uses_signals(kernel, tmp_path):
    """As launchers of gateways do: no Jupyter around, KERNEL_* in a bare environment, all interfaces, signals."""
    bare = {"PATH": os.environ["PATH"], "KERNEL_ID": str(uuid.uuid4()), "KERNEL_USERNAME": "chandler", "KERNEL_LANGUAGE": "rust"}
    with started(kernel, tmp_path / "k.json", bare, ip="0.0.0.0", session=True) as (process, client):
        assert value(client, "let kept = 5; kept + 1") == "6"
        request = client.execute(ENDLESS)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        reply = client.get_shell_msg(timeout=LIMIT_S)
        assert (reply["parent_header"]["msg_id"], reply["content"]["status"]) == (request, "error")
        assert value(client, "kept") == "5"
        process.send_signal(signal.SIGTERM)


def test_it_runs_under_a_hub_whose_home_cannot_be_written(kernel, tmp_path):
    """As JupyterHub's single-user servers pass it on; root could write to any folder, so home is where no folder can be."""
    hub = {
        "HOME": "/proc/no-home",
        "JUPYTERHUB_USER": "chandler",
        "JUPYTERHUB_API_TOKEN": "secret",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/chandler/",
        "JUPYTERHUB_API_URL": "http://127.0.0.1:1/hub/api",
        "JPY_PARENT_PID": str(os.getpid()),
    }
    with started(kernel, tmp_path / "k.json", os.environ | hub, cwd=tmp_path) as (process, client):
        assert value(client, 'std::fs::write("here.txt", "wax")?; std::fs::read_to_string("here.txt")?.len()') == "3"
        assert value(client, 'project("llama")?.config("4M")?.construct().build().is_ok()') == "true"
        shut_down(client)


def test_it_ends_when_its_server_dies(kernel, tmp_path):
    parent = subprocess.Popen(["sleep", "1000"])
    with started(kernel, tmp_path / "k.json", os.environ | {"JPY_PARENT_PID": str(parent.pid)}) as (process, client):
        assert value(client, "1 + 1") == "2"
        parent.kill()
        parent.wait()


def test_a_running_kernel_outlives_an_upgrade(chandlery, tmp_path, monkeypatch):
    """Also when it needs a new worker, which starts from the files of its own installation."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    chandlery("kernel", "install", "--prefix", tmp_path)
    with started("chandlery", tmp_path / "k.json", dict(os.environ)) as (process, client):
        assert value(client, "1 + 1") == "2"
        chandlery("kernel", "install", "--prefix", tmp_path)
        assert len(list((tmp_path / "lib").iterdir())) == 2
        client.execute_interactive("std::process::abort();", output_hook=lambda message: None, timeout=LIMIT_S)
        assert value(client, "2 + 2") == "4"
        with started("chandlery", tmp_path / "new.json", dict(os.environ)) as (_, upgraded):
            assert value(upgraded, "3 + 3") == "6"
            shut_down(upgraded)
        shut_down(client)
    chandlery("kernel", "uninstall", "--prefix", tmp_path)
    assert list((tmp_path / "lib").iterdir()) == []


class Server:
    """A Jupyter Server, asked over REST and websockets only."""

    def __init__(self, folder, *options):
        self.folder, self.options, self.mark = folder, options, uuid.uuid4().hex
        self.port = free_ports(1)[0]

    def __enter__(self):
        self.log = open(self.folder / "server.log", "w")
        words = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0"]
        words += ["--IdentityProvider.token=secret", f"--ServerApp.root_dir={self.folder}", *self.options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *words],
            env=os.environ | {MARK: self.mark},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        wait_until(self._answers, "the server does not start")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=LIMIT_S)
        self.log.close()

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            return self.ask("GET", "/api/status")
        except OSError:
            return False

    def ask(self, method, path, content=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Authorization", "token secret")
        data = None if content is None else json.dumps(content).encode()
        answer = urllib.request.urlopen(request, data, timeout=LIMIT_S).read()
        return json.loads(answer) if answer else True

    def channels(self, kernel):
        address = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels"
        return websocket.create_connection(address, header=["Authorization: token secret"], timeout=LIMIT_S)


def execute(connection, code, meanwhile=None):
    """Runs a cell over a websocket: its reply, and all text it showed."""
    request = Session().msg("execute_request", {"code": code, "silent": False})
    connection.send(json.dumps(request | {"channel": "shell"}, default=str))
    reply, shown, idle = None, [], False
    while not (reply and idle):
        message = json.loads(connection.recv())
        if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
            continue
        content = message["content"]
        match message["msg_type"]:
            case "execute_reply":
                reply = content
            case "execute_input" if meanwhile:
                meanwhile()
            case "execute_result":
                shown.append(content["data"]["text/plain"])
            case "status":
                idle = content["execution_state"] == "idle"
    return reply, shown


def test_jupyter_server_starts_interrupts_restarts_and_ends_it(kernel, tmp_path):
    with Server(tmp_path) as server:
        assert server.ask("GET", "/api/kernelspecs")["kernelspecs"][kernel]["spec"]["interrupt_mode"] == "message"
        logo = f"http://127.0.0.1:{server.port}/kernelspecs/{kernel}/logo-svg.svg?token=secret"
        assert b"<svg" in urllib.request.urlopen(logo, timeout=LIMIT_S).read()

        identity = server.ask("POST", "/api/kernels", {"name": kernel})["id"]
        connection = server.channels(identity)
        assert execute(connection, "let kept = 41; kept + 1")[1] == ["42"]
        interrupt = lambda: (time.sleep(0.5), server.ask("POST", f"/api/kernels/{identity}/interrupt", {}))  # noqa: E731
        assert execute(connection, ENDLESS, meanwhile=interrupt)[0]["status"] == "error"
        assert execute(connection, "kept")[1] == ["41"]

        server.ask("POST", f"/api/kernels/{identity}/restart", {})
        assert execute(connection, "kept")[0]["status"] == "error"
        assert execute(connection, "2 + 2")[1] == ["4"]
        connection.close()
        server.ask("DELETE", f"/api/kernels/{identity}")
        wait_until(lambda: len(marked(server.mark)) == 1, f"beside the server: {marked(server.mark)}")
