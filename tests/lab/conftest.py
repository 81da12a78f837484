"""An installed kernel, away from the user's own Jupyter settings.

`CHANDLERY_TEST_KERNEL` names another one, for working on these tests themselves.
"""

import os
import sys

import pytest
from workbench import REPOSITORY

sys.path.append(str(REPOSITORY / "tests" / "bench"))


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
        "CHANDLERY_HISTORY": "off",
    }
    other = os.environ.get("CHANDLERY_TEST_KERNEL")
    if other:
        return other
    chandlery("kernel", "install", "--prefix", home / "prefix")
    return "chandlery"
