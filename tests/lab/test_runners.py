"""Other programs that run notebooks: each saves the outputs, and each fails when a cell fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

# Of every program: its words, and which of them is the notebook it saves.
RUNNERS = {
    "nbclient": ["-m", "jupyter", "execute", "--output", "{out}", "{notebook}"],
    "nbconvert": ["-m", "nbconvert", "--execute", "--to", "notebook", "--output", "{out}", "{notebook}"],
    "papermill": ["-m", "papermill", "--no-progress-bar", "{notebook}", "{out}"],
    "nbmake": ["-m", "pytest", "-p", "no:cacheprovider", "--rootdir", "{folder}", "--nbmake", "--overwrite", "{notebook}"],
}


def run(runner, folder, kernel, *cells):
    """Runs a notebook of these cells; its exit status, what was said, and the notebook that was saved."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "rust"}
    source, out = folder / "source.ipynb", folder / "out.ipynb"
    nbformat.write(notebook, source)
    words = [word.format(notebook=source, out=out, folder=folder) for word in RUNNERS[runner]]
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=180)
    saved = source if runner == "nbmake" else out
    return done.returncode, done.stdout + done.stderr, nbformat.read(saved, as_version=4) if saved.exists() else None


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_good_notebook_passes(runner, tmp_path, kernel):
    status, said, saved = run(runner, tmp_path, kernel, "let wicks = vec![1, 2, 3];", 'println!("{}", wicks.len()); wicks.len() * 14')
    assert status == 0, said
    shown = {output.output_type: output for output in saved.cells[-1].outputs}
    assert shown["stream"].text == "3\n"
    assert shown["execute_result"].data["text/plain"] == "42"


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("let number: u32 = true;", "E0308"),
        ("std::process::abort();", "WorkerDied"),
        ('panic!("on purpose")', "Panic"),
        ('"x".parse::<u32>()?;', "ParseIntError"),
    ],
    ids=["compile-error", "process-death", "panic", "question-mark"],
)
def test_a_failing_cell_fails_it(runner, code, name, tmp_path, kernel):
    status, said, _ = run(runner, tmp_path, kernel, "let before = 1;", code, 'println!("{}", 6 * 111);')
    assert status != 0
    assert name in said
    assert "666" not in said


TIMEOUTS = {
    "nbclient": ["-m", "jupyter", "execute", "--timeout", "3", "--output", "{out}", "{notebook}"],
    "nbconvert": RUNNERS["nbconvert"] + ["--ExecutePreprocessor.timeout=3"],
    "papermill": RUNNERS["papermill"] + ["--execution-timeout", "3"],
    "nbmake": RUNNERS["nbmake"] + ["--nbmake-timeout", "3"],
}


@pytest.mark.parametrize("runner", TIMEOUTS)
def test_a_cell_that_takes_too_long_fails_it(runner, tmp_path, kernel, monkeypatch):
    monkeypatch.setitem(RUNNERS, runner, TIMEOUTS[runner])
    status, said, _ = run(runner, tmp_path, kernel, "std::thread::sleep(std::time::Duration::from_secs(600));")
    assert status != 0
    assert "timeout" in said.lower() or "timed out" in said.lower()


PARAMETERS = """let steps: usize = 1; // how many
let mut rate = 1e-3;
let name = "a";
let note = "b".to_string();
let some: Option<u8> = None;
let list: Vec<f32> = vec![
    1.0,
];
let table: std::collections::BTreeMap<String, Vec<Option<f64>>> = Default::default();
let pair = (1, "x");"""

USE = """fn takes(
    steps: usize, rate: f64, name: &str, note: String, some: Option<u8>, list: Vec<f32>,
    table: std::collections::BTreeMap<String, Vec<Option<f64>>>, pair: (i32, &str),
) -> String {
    format!("{steps} {rate:?} {name:?} {note:?} {some:?} {list:?} {table:?} {pair:?}")
}
rate += 1.0;
println!("{}", takes(steps, rate, name, note.clone(), some, list.clone(), table.clone(), pair))"""

# Two notebooks in one process: the second declares nothing.
SECOND = """import papermill
papermill.execute_notebook("in.ipynb", "out.ipynb", {"steps": 7}, progress_bar=False)
papermill.execute_notebook("bare.ipynb", "bare-out.ipynb", {"steps": -7}, progress_bar=False)"""


def test_papermill_sets_typed_parameters(tmp_path, kernel):
    """With the package beside the kernel installed, in a separate environment."""
    source, package = tmp_path / "source", tmp_path / "package"
    # It is built where its sources are.
    shutil.copytree(Path(__file__).parents[2] / "kernel" / "papermill", source)
    # Without pip, which would fetch what it builds packages with.
    setup = [sys.executable, "-W", "ignore", "-c", "import setuptools; setuptools.setup()", "-q", "install"]
    places = ["--install-lib", package, "--single-version-externally-managed", "--record", source / "record"]
    subprocess.run([*setup, *places], cwd=source, check=True)
    shutil.rmtree(source)

    def write(name, *sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        notebook.cells[0].metadata.tags = ["parameters"] if len(sources) > 1 else []
        notebook.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "rust"}
        nbformat.write(notebook, tmp_path / name)

    def python(*words):
        environment = os.environ | {"PYTHONPATH": str(package)}
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)

    def papermill(*words):
        return python("-m", "papermill", "--no-progress-bar", "in.ipynb", "out.ipynb", *words)

    def shown(name):
        return nbformat.read(tmp_path / name, as_version=4).cells[-1].outputs[0].text.strip()

    write("in.ipynb", PARAMETERS, USE)
    write("bare.ipynb", 'println!("{}", -1 * steps)')
    given = "{steps: 7, rate: .inf, name: 'q\"\\', note: é, some: 3, list: [1, 2.5], table: {a: [1, null], b: []}, pair: [2, y]}"
    done = papermill("-y", given)
    assert done.returncode == 0, done.stderr
    expected = r'''7 inf "q\"\\" "é" Some(3) [1.0, 2.5] {"a": [Some(1.0), None], "b": []} (2, "y")'''
    assert shown("out.ipynb") == expected

    done = python("-c", SECOND)
    assert done.returncode == 0, done.stderr
    assert shown("bare-out.ipynb") == "7", "no type of the first notebook's"

    for words in (["-p", "steps", "many"], ["-p", "steps", "-1"], ["-y", "{table: {a: [x]}}"]):
        refused = papermill(*words)
        assert refused.returncode != 0
        assert "the notebook declares `" in refused.stderr
