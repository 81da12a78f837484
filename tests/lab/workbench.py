"""A folder in which a notebook runs as it would in the repository, without writing into it."""

import json
import shutil
from pathlib import Path

import nbformat

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def copy_for_running(notebook, folder, kernel):
    """Copies a notebook to `folder`/notebooks without its outputs; `../tests/fixtures` and `converters` lead to the repository's."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "tests" / "fixtures").symlink_to(REPOSITORY / "tests" / "fixtures")
    (folder / "notebooks" / "converters").symlink_to(REPOSITORY / "notebooks" / "converters")
    copy = folder / "notebooks" / notebook.name
    shutil.copy(notebook, copy)
    content = nbformat.read(copy, as_version=4)
    content.metadata.kernelspec = {"name": kernel, "display_name": kernel}
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(content, copy)
    return copy


def outputs(notebook):
    """All outputs of a saved notebook."""
    content = nbformat.read(notebook, as_version=4)
    return [output for cell in content.cells if cell.cell_type == "code" for output in cell.outputs]


def check_outputs(notebook):
    """What a finished notebook must hold: every code cell ran, no errors, each rich output also as plain text, tables, and for
    each plot a picture that every front end shows. Returns the number of plots."""
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    code = [cell for cell in content.cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    errors = [output for output in outputs(notebook) if output.output_type == "error"]
    assert not errors, json.dumps(errors, indent=1)
    rich = [output.data for output in outputs(notebook) if "data" in output]
    assert all("text/plain" in data for data in rich)
    assert any("<table" in data.get("text/html", "") for data in rich)
    assert all("image/png" in data for data in rich if "image/svg+xml" in data)
    return sum("image/png" in data for data in rich)
