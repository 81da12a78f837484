"""Killed runs: the new folder is complete or absent, and a folder to be replaced is unchanged or replaced.

`CHANDLERY_KILLS` sets the number of kills (30 if it is not set). Their moments are drawn from a fixed seed, but what a run has
done by then depends on the machine.
"""

import hashlib
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

KILLS = int(os.environ.get("CHANDLERY_KILLS", "30"))
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
# Records carry a date, and two runs must be equal byte by byte.
ENVIRONMENT = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}


def tree(folder):
    """Every path below a folder, with a digest of its file or its link's target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def trained(chandlery, tmp_path_factory):
    """A native model of 57 MB in a checkpoint, with an optimizer's state beside it."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    words = ["--device", "cpu", "--dtype", "bfloat16", "--output-dir", folder, "--save-checkpoint"]
    chandlery("-p", "llama", "-t", "small", "model", *words, "--max-shard-size", "10MB", "construct")
    latest = folder / "checkpoints" / "checkpoint-30"
    latest.mkdir(parents=True)
    for weights in folder.glob("model*.safetensors*"):
        weights.rename(latest / weights.name)
    (latest / "optimizer_state.pt").write_bytes(random.Random(1).randbytes(20_000_000))
    return folder


def jobs(trained):
    shards = ["--max-shard-size", "7MB"]
    return {
        "convert": ["convert", FIXTURES / "llama-sharded"],
        "convert without validation": ["convert", trained, "--no-validate", *shards],
        "finalize": ["finalize", trained, "--keep-optimizer", *shards],
        "finalize and cast": ["finalize", trained, "--dtype", "float32", "--root-copy", "--format", "pytorch", *shards],
        "update": ["update", trained, *shards],
    }


def start(command, words, destination):
    words = [*words[:2], destination, *words[2:]]
    return subprocess.Popen(
        [command, *map(str, words)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_a_killed_run_leaves_its_destination_whole_or_absent(command, trained, tmp_path):
    rng = random.Random(20)
    work = jobs(trained)
    expected, duration = {}, {}
    for name, words in work.items():
        folder = tmp_path / f"{name}-whole"
        begin = time.monotonic()
        assert start(command, words, folder).wait() == 0, name
        duration[name] = time.monotonic() - begin
        expected[name] = tree(folder)
        assert len(expected[name]) > 5, name

    whole = partial = absent = 0
    for kill in range(KILLS):
        name = list(work)[kill % len(work)]
        # A parent folder of its own, so that leftovers can be counted.
        room = tmp_path / f"kill-{kill}"
        room.mkdir()
        process = start(command, work[name], room / "made")
        time.sleep(rng.uniform(0, 1.1 * duration[name]))
        process.kill()
        process.wait()
        left = sorted(entry.name for entry in room.iterdir())
        if "made" in left:
            assert tree(room / "made") == expected[name], f"kill {kill} of {name}"
            assert left == ["made"], left
            whole += 1
        else:
            assert all(entry.startswith(".made.partial-") for entry in left), left
            partial += bool(left)
            absent += not left
        # The next run succeeds, and cleans up.
        if "made" not in left and kill < 2 * len(work):
            assert start(command, work[name], room / "made").wait() == 0
            assert [entry.name for entry in room.iterdir()] == ["made"]
            assert tree(room / "made") == expected[name]
        subprocess.run(["rm", "-rf", room], check=True)
    print(f"{KILLS} kills: {whole} whole, {partial} under way, {absent} before anything was written")
    # Otherwise the moments were not the ones that matter.
    assert partial >= KILLS / 10, (whole, partial, absent)


def test_a_killed_replacement_leaves_the_old_or_the_new(command, trained, tmp_path):
    rng = random.Random(21)
    native = tmp_path / "native"
    construct = ["-p", "llama", "-t", "4M", "model", "--device", "cpu", "--save-checkpoint", "--output-dir"]
    assert subprocess.run([command, *construct, native, "construct"], stdout=subprocess.DEVNULL).returncode == 0
    (native / "notes.md").write_text("the user's")
    (native / "runs").mkdir()
    (native / "runs" / "events").write_text("the user's")
    work = {
        "construct": [*construct, "MADE", "-r", "--force", "--seed", "7", "--max-shard-size", "4MB", "construct"],
        "convert": ["convert", FIXTURES / "llama-sharded", "MADE", "--force", "--no-validate"],
        "finalize": ["finalize", trained, "MADE", "--force", "--max-shard-size", "7MB"],
    }

    def begin(name, folder):
        words = [folder if word == "MADE" else word for word in work[name]]
        return subprocess.Popen(
            [command, *map(str, words)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def visible(folder):
        return {name: what for name, what in tree(folder).items() if not name.startswith(".chandlery")}

    expected, duration = {}, {}
    for name in work:
        folder = tmp_path / f"{name}-whole"
        subprocess.run(["cp", "-a", native, folder], check=True)
        started = time.monotonic()
        assert begin(name, folder).wait() == 0, name
        duration[name] = time.monotonic() - started
        expected[name] = tree(folder)
        assert (folder / "notes.md").read_text() == (folder / "runs" / "events").read_text() == "the user's"
    before = tree(native)

    old = new = 0
    for kill in range(KILLS):
        name = list(work)[kill % len(work)]
        folder = tmp_path / "made"
        subprocess.run(["rm", "-rf", folder], check=True)
        subprocess.run(["cp", "-a", native, folder], check=True)
        process = begin(name, folder)
        # Half of them near the end, where files take their places.
        time.sleep(duration[name] * (rng.uniform(0, 1.1) if kill % 2 else rng.uniform(0.8, 1.05)))
        process.kill()
        process.wait()
        # The folder is the complete old one or the complete new one.
        assert subprocess.run([command, "inspect", folder], stdout=subprocess.DEVNULL).returncode == 0
        found = visible(folder)
        assert found in (before, expected[name]), f"kill {kill} of {name}"
        old += found == before
        new += found == expected[name]
        assert begin(name, folder).wait() == 0
        assert tree(folder) == expected[name], f"after kill {kill} of {name}"
    print(f"{KILLS} kills: {old} left the old content, {new} the new")
    assert old >= KILLS / 10 and new, (old, new)
