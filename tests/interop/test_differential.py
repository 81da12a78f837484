"""Random valid configurations of every type against transformers: native logits computed from the same files.

CHANDLERY_DIFFERENTIAL=10000 compares as many instead of fifty, and CHANDLERY_DIFFERENTIAL_SEED=N begins at another one.
"""

import json
import os
import shutil
import subprocess

import pytest
from safetensors.torch import load_file

from test_types import KINDS, off
from tiny_models import make, settings

COUNT = int(os.environ.get("CHANDLERY_DIFFERENTIAL", "50"))
FIRST = int(os.environ.get("CHANDLERY_DIFFERENTIAL_SEED", "100"))
TOLERANCE = 1e-3


def fault(command, kind, seed, folder):
    """Why native logits are not those of transformers, if they are not."""
    _, ids, logits = make(kind, folder, seed)
    (folder / "ids.json").write_text(json.dumps(ids.tolist()))
    out = folder / "ours.safetensors"
    done = subprocess.run([command, "logits", folder, "--input-ids", folder / "ids.json", "-o", out], capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr
    difference = off(load_file(out)["logits"], logits)
    return None if difference <= TOLERANCE else f"{difference} of the spread"


@pytest.mark.timeout(86400)
def test_random_configurations_compute_what_transformers_computes(command, tmp_path):
    faults = []
    for number in range(COUNT):
        kind, seed = KINDS[number % len(KINDS)], FIRST + number
        found = fault(command, kind, seed, tmp_path / kind)
        if found:
            faults.append(f"{kind}, seed {seed}: {found}\n{settings(kind, seed)}")
        shutil.rmtree(tmp_path / kind, ignore_errors=True)
    assert not faults, f"{len(faults)} of {COUNT}\n" + "\n".join(faults[:20])
