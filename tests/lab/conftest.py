"""An installed kernel, away from the user's own Jupyter settings.

`CHANDLERY` names the command under test; `CHANDLERY_TEST_KERNEL` another kernel for working on these tests themselves.
"""

import os
import subprocess

import pytest
from workbench import COMMAND


@pytest.fixture(scope="session")
def chandlery():
    """Runs the command; returns the finished process."""

    def run(*words, **options):
        return subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, **options)

    return run


@pytest.fixture(scope="session", autouse=True)
def kernel(tmp_path_factory, chandlery):
    """Installs the kernel into an empty prefix, points Jupyter at it, and gives its name."""
    home = tmp_path_factory.mktemp("jupyter")
    os.environ |= {
        "JUPYTER_PATH": str(home / "prefix" / "share" / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "lab-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "lab-workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    other = os.environ.get("CHANDLERY_TEST_KERNEL")
    if other:
        return other
    installed = chandlery("kernel", "install", "--prefix", home / "prefix")
    assert installed.returncode == 0, installed.stderr
    return "chandlery"
