"""A Jupyter server that culls idle kernels keeps one whose cell runs, whatever it is asked meanwhile."""

import json
import time
import urllib.error
import uuid

import pytest
import websocket
from jupyter_client.manager import start_new_kernel
from jupyter_client.session import Session
from test_starts import ENDLESS, Server, wait_until

IDLE_S = 2
QUESTIONS = {
    "complete_request": {"code": "std::ve", "cursor_pos": 7},
    "inspect_request": {"code": "std::vec", "cursor_pos": 8, "detail_level": 0},
    "is_complete_request": {"code": "fn f() {"},
    "history_request": {"hist_access_type": "tail", "n": 3, "output": False, "raw": True},
    "kernel_info_request": {},
    "comm_info_request": {},
}


def ask(connection, msg_type, content, front_end):
    """Sends a request as jupyter_client or as JupyterLab writes it; its id."""
    header = Session().msg_header(msg_type)
    if front_end == "JupyterLab":
        header |= {"username": "", "version": "5.2", "subshell_id": None, "msg_id": str(uuid.uuid4())}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}
    connection.send(json.dumps(message, default=str))
    return header["msg_id"]


def heard(connection, seconds=0.0):
    """The messages within some seconds: their request, type and content."""
    messages, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            message = json.loads(connection.recv())
        except websocket.WebSocketTimeoutException:
            break
        messages.append((message["parent_header"].get("msg_id"), message["msg_type"], message["content"]))
    return messages


@pytest.mark.parametrize("front_end", ["jupyter_client", "JupyterLab"])
def test_a_kernel_whose_cell_runs_is_busy_and_is_not_culled(front_end, kernel, tmp_path):
    culls = [f"--MappingKernelManager.cull_idle_timeout={IDLE_S}", "--MappingKernelManager.cull_interval=1"]
    with Server(tmp_path, *culls, "--MappingKernelManager.cull_connected=True") as server:
        identity = server.ask("POST", "/api/kernels", {"name": kernel})["id"]
        state = lambda: server.ask("GET", f"/api/kernels/{identity}")["execution_state"]  # noqa: E731
        connection = server.channels(identity)
        cell = ask(connection, "execute_request", {"code": ENDLESS, "silent": False}, front_end)
        # What the server asks of a new kernel comes before.
        wait_until(lambda: (cell, "execute_input") in [message[:2] for message in heard(connection, 0.1)], "no cell")
        asked, messages = {}, []
        for msg_type, content in QUESTIONS.items():
            asked[ask(connection, msg_type, content, front_end)] = msg_type
            messages += heard(connection, 0.3)
            assert state() == "busy", msg_type
        # The tab is closed, and opened again.
        connection.close()
        connection = server.channels(identity)
        reloaded = ask(connection, "kernel_info_request", {}, front_end)
        after = []
        told = lambda: [kind for parent, kind, content in after if parent == cell and kind == "status"]  # noqa: E731
        wait_until(lambda: after.extend(heard(connection, 0.5)) or told(), "a reloaded tab is not told that a cell runs")
        after += heard(connection, 0.5)
        assert (reloaded, "kernel_info_reply") in [message[:2] for message in after]
        states = [(parent, content["execution_state"]) for parent, kind, content in after if kind == "status"]
        assert states[-1] == (cell, "busy"), states
        assert state() == "busy"
        # It is silent for longer than an idle kernel lives.
        after += heard(connection, IDLE_S + 1)
        assert state() == "busy"

        replies = {parent for parent, kind, _ in messages if kind.endswith("_reply")}
        assert replies == set(asked), [asked[one] for one in set(asked) - replies]
        states = [(parent, content["execution_state"]) for parent, kind, content in messages + after if kind == "status"]
        if front_end == "JupyterLab":
            # It considers a request answered only with its idle. The status after that is the actual one.
            ended = [at for at, (parent, status) in enumerate(states) if parent in asked and status == "idle"]
            assert len(ended) == len(asked), states
            assert all(states[at + 1] == (cell, "busy") for at in ended), states
        else:
            assert {parent for parent, _ in states} == {cell}, states
            assert {status for _, status in states} == {"busy"}, states

        server.ask("POST", f"/api/kernels/{identity}/interrupt", {})
        wait_until(lambda: (cell, "idle") in [(p, c.get("execution_state")) for p, _, c in heard(connection, 1)], "no idle")
        wait_until(lambda: is_gone(server, identity), "an idle kernel is not culled")
        connection.close()


def test_a_question_before_its_subscription_ends_while_a_cell_runs(kernel):
    manager, client = start_new_kernel(kernel_name=kernel)
    try:
        cell = client.execute(ENDLESS)
        wait_until(lambda: of(client.get_iopub_msg(timeout=10)) == (cell, "execute_input", None), "no cell")
        # A tab whose subscription arrives within a moment of its question; on a busy machine, not every one does.
        wait_until(lambda: is_told(manager, client, cell), "not told")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def is_told(manager, client, cell):
    """Whether a client that asks first and then subscribes hears that the question is answered and that the cell runs."""
    asked = client.session.msg("kernel_info_request", {})
    asked["header"] |= {"version": "5.2", "subshell_id": None}
    client.session.send(client.shell_channel.socket, asked)
    while of(client.get_shell_msg(timeout=10))[0] != asked["header"]["msg_id"]:
        pass
    late = manager.client()
    late.start_channels(shell=False, stdin=False, hb=False, control=False)
    heard = []
    while (cell, "status", "busy") not in heard:
        heard.append(of(late.get_iopub_msg(timeout=10)))
    late.stop_channels()
    return (asked["header"]["msg_id"], "status", "idle") in heard


def of(message):
    """The request of a message, its type, and the state in it."""
    return message["parent_header"].get("msg_id"), message["msg_type"], message["content"].get("execution_state")


def is_gone(server, identity):
    try:
        server.ask("GET", f"/api/kernels/{identity}")
    except urllib.error.HTTPError as error:
        return error.code == 404
    return False
