"""The examples of docs/pipelines.md for build servers: they are valid YAML, and their commands work."""

import re
import subprocess

import nbformat
import pytest
import yaml
from workbench import REPOSITORY

PAGE = (REPOSITORY / "docs" / "pipelines.md").read_text()
PIPELINES = {name: yaml.safe_load(text) for name, text in re.findall(r"^(GitHub Actions|GitLab):\n\n```yaml\n(.*?)```", PAGE, re.M | re.S)}


def commands(pipeline):
    """The lines for the shell, in order."""
    (job,) = pipeline["jobs"].values() if "jobs" in pipeline else pipeline.values()
    return job["script"] if "script" in job else [step["run"] for step in job["steps"] if "run" in step]


def ours(pipeline):
    return [command for command in commands(PIPELINES[pipeline]) if command.startswith(".target/release/chandlery ")]


@pytest.fixture
def checkout(tmp_path, command):
    """A repository as the examples suppose it: the command where they build it, notebooks, and a golden one."""
    (tmp_path / ".target" / "release").mkdir(parents=True)
    (tmp_path / ".target" / "release" / "chandlery").symlink_to(command)
    cells = ["let steps = 3;", "let losses: Vec<f64> = (1..=steps).map(|n| 1.0 / n as f64).collect();\nlosses"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    for place in ("notebooks/first.ipynb", "notebooks/second.ipynb", "reports/loss.ipynb"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        nbformat.write(notebook, tmp_path / place)
    (tmp_path / "golden").mkdir()
    accept = [command, "run", "reports/loss.ipynb", "--compare", "golden/loss.ipynb", "--accept"]
    subprocess.run(accept, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def shell(command, folder):
    return subprocess.run(["bash", "-ec", command], cwd=folder, capture_output=True, text=True, timeout=180)


def test_both_pipelines_build_before_they_run():
    assert set(PIPELINES) == {"GitHub Actions", "GitLab"}
    for pipeline in PIPELINES.values():
        lines = commands(pipeline)
        build = lines.index("cargo build --release --workspace --locked")
        assert all(line.startswith(".target/release/chandlery run ") for line in lines[build + 1 :])
        assert len(lines) > build + 3


def test_the_toolchain_is_the_requested_one():
    asked = re.search(r'channel = "([\d.]+)"', (REPOSITORY / "rust-toolchain.toml").read_text())[1]
    assert asked.startswith(re.search(r'rust-version = "([\d.]+)"', (REPOSITORY / "Cargo.toml").read_text())[1])
    assert f"rustup toolchain install {asked} " in " ".join(commands(PIPELINES["GitHub Actions"]))
    assert PIPELINES["GitLab"]["notebooks"]["image"] == f"rust:{asked}"


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_command_passes_for_good_notebooks(pipeline, checkout):
    for command in ours(pipeline):
        done = shell(command, checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "<testcase" in (checkout / "notebooks.xml").read_text()


def test_each_command_fails_for_its_reason(checkout):
    check, run, compare = ours("GitHub Actions")
    bad = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('"x".parse::<u8>()?')])
    nbformat.write(bad, checkout / "notebooks" / "bad.ipynb")
    assert shell(check, checkout).returncode == 0, "it compiles"
    assert shell(run, checkout).returncode == 1
    bad.cells[0].source = "let number: u8 = true;"
    nbformat.write(bad, checkout / "notebooks" / "bad.ipynb")
    assert shell(check, checkout).returncode == 1
    golden = checkout / "golden" / "loss.ipynb"
    golden.write_text(golden.read_text().replace("0.5", "0.75"))
    differs = shell(compare, checkout)
    assert differs.returncode == 1 and "0.75" in differs.stdout + differs.stderr, differs.stderr
