"""Every notebook runs headless through `chandlery run`."""

import re

import nbformat
import pytest
from workbench import NOTEBOOKS, check_outputs, copy_for_running


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_headless(notebook, tmp_path, chandlery, kernel):
    copy = copy_for_running(notebook, tmp_path, kernel)
    executed, page = tmp_path / "executed.ipynb", tmp_path / "page.html"
    chandlery("run", copy, "-o", executed, "--html", page)
    plots = check_outputs(executed)
    html = page.read_text()
    assert "<table" in html
    assert plots == len(re.findall(r"<img |<svg ", html)), "every plot is on the page, once"


def test_a_failing_cell_fails_the_run(tmp_path, chandlery, kernel):
    cells = ["let kept = 41;", 'let number: u32 = "not a number";', "kept + 1"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    source, executed = tmp_path / "failing.ipynb", tmp_path / "executed.ipynb"
    nbformat.write(notebook, source)
    done = chandlery("run", source, "-o", executed, status=1)
    assert "cell 2" in done.stdout + done.stderr
    counts = [cell.execution_count for cell in nbformat.read(executed, as_version=4).cells]
    assert counts == [1, 2, None], "what ran is kept, and nothing runs after the failure"
