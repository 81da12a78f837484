"""Questions to transformers 4.57 and 5, each in a process of its own: the two cannot share one.

`CHANDLERY_TRANSFORMERS_4` names a folder that holds the older version, as tests/run makes it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

VERSIONS = ["4.57", "5"]


def ask(version, **question):
    """What describe_tokenizer.py says under one version."""
    environment = os.environ.copy()
    if version == "4.57":
        older = os.environ.get("CHANDLERY_TRANSFORMERS_4")
        if not older:
            pytest.skip("CHANDLERY_TRANSFORMERS_4 names no folder; tests/run makes one")
        environment["PYTHONPATH"] = older
    command = [sys.executable, Path(__file__).with_name("describe_tokenizer.py")]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
