"""The programs of others that run notebooks: each keeps what was shown, and each fails when a cell fails."""

import subprocess
import sys

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
    [("let number: u32 = true;", "E0308"), ('panic!("on purpose")', "Panic"), ('"x".parse::<u32>()?;', "ParseIntError")],
    ids=["compile-error", "panic", "question-mark"],
)
def test_a_failing_cell_fails_it(runner, code, name, tmp_path, kernel):
    status, said, _ = run(runner, tmp_path, kernel, "let before = 1;", code, 'println!("{}", 6 * 111);')
    assert status != 0
    assert name in said
    assert "666" not in said
