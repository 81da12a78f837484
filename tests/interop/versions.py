"""Runs scripts under transformers 4.57 and 5, each in a process of its own, because the two cannot share one.

`CHANDLERY_TRANSFORMERS_4` names a folder that holds the older version, as tests/run makes it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

VERSIONS = ["4.57", "5"]


def ask(version, script="describe_tokenizer.py", **question):
    """Returns the output of a script next to this one under one version."""
    # Code of model folders is copied before it is imported: not into the user's cache.
    modules = tempfile.TemporaryDirectory()
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": modules.name}
    if version == "4.57":
        older = os.environ.get("CHANDLERY_TRANSFORMERS_4")
        if not older:
            pytest.skip("CHANDLERY_TRANSFORMERS_4 names no folder; tests/run makes one")
        environment["PYTHONPATH"] = older
    command = [sys.executable, Path(__file__).with_name(script)]
    with modules:
        done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
