"""An installed kernel, away from the user's Jupyter settings, and one running with a client."""

import itertools
import os
import subprocess
import sys
import time

from jupyter_client.manager import start_new_kernel
from measure import COMMAND

LIMIT_S = 120
PAUSE_S = 0.4  # as between a person's cells
COUNTER = itertools.count(2)


def install(folder):
    """Makes Jupyter find the kernel in this folder."""
    os.environ["JUPYTER_PATH"] = os.path.join(folder, "share", "jupyter")
    os.environ["JUPYTER_RUNTIME_DIR"] = os.path.join(folder, "runtime")
    subprocess.run([COMMAND, "kernel", "install", "--prefix", folder], check=True, stdout=subprocess.DEVNULL)


def numbered(code):
    """The code with another number each time for `{n}`: no two cells have the same text."""
    return code.replace("{n}", str(next(COUNTER)))


class Kernel:
    """A running kernel and a connected client."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(kernel_name="chandlery", startup_timeout=LIMIT_S)

    def run(self, code):
        """Seconds from request to idle; ends the benchmark if the cell fails."""
        time.sleep(PAUSE_S)
        began = time.perf_counter()
        request = self.client.execute(code)
        reply = self.client.get_shell_msg(timeout=LIMIT_S)
        while reply["parent_header"].get("msg_id") != request:
            reply = self.client.get_shell_msg(timeout=LIMIT_S)
        if reply["content"]["status"] != "ok":
            sys.exit(f"cell failed: {code}\n" + "\n".join(reply["content"].get("traceback", [str(reply["content"])])))
        while True:
            message = self.client.get_iopub_msg(timeout=LIMIT_S)
            if message["parent_header"].get("msg_id") == request and message["content"].get("execution_state") == "idle":
                return time.perf_counter() - began

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel()
