"""The command under test, for all Python tests: `CHANDLERY` names it, or it is the release build in the target folder."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = os.environ.get("CHANDLERY") or str(
    Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"), "release", "chandlery")
)
# Where transformers keeps the sources of models that it imports: one place for the whole run, for it imports the package once.
MODULES = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = MODULES.name


@pytest.fixture(scope="session")
def command():
    """The command's path."""
    return COMMAND


@pytest.fixture(scope="session")
def chandlery():
    """Runs the command with the given words, insists on its exit status, and returns the finished process."""

    def run(*words, status=0, **options):
        done = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, **options)
        said = f"chandlery {' '.join(map(str, words))}\n{done.stdout}{done.stderr}"
        assert done.returncode == status, said
        return done

    return run
