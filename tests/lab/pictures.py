"""Makes the pictures in notebooks/pictures: cells of the notebooks as JupyterLab shows them, light and dark.

Run by hand, after a build: `python -m pytest tests/lab/pictures.py`, in the environment that `tests/run lab` made, with
`CHANDLERY` and `CHANDLERY_CHROMIUM` as there. Look at what came out before it is committed.
"""

import pytest
from labserver import JupyterLab
from test_jupyterlab import THEMES, browser  # noqa: F401 (a fixture)
from workbench import REPOSITORY, copy_for_running

FOLDER = REPOSITORY / "notebooks" / "pictures"
# By notebook: what a cell's source ends with, the picture's name, how much of the cell it shows, and how wide the window is.
CELLS = {
    "01_tour": [
        ("conversion.remapping()", "remapping", 420, 1460),
        ("repeat_batch(true).run()?", "loss", 760, 1100),
    ],
    "03_test": [("schedule", "curve", 560, 1100)],
    "04_convert": [("diff.heat_map())", "heat-map", 300, 1140)],
}
LIMIT = 200_000


@pytest.mark.parametrize("stem", CELLS)
def test_pictures_are_made(stem, tmp_path, kernel, browser):  # noqa: F811
    notebook = copy_for_running(REPOSITORY / "notebooks" / f"{stem}.ipynb", tmp_path, kernel)
    with JupyterLab(tmp_path) as lab:
        page = lab.open(browser, notebook)
        page.run_all()
        for theme, name in THEMES.items():
            page.change_theme(name)
            for source, picture, height, width in CELLS[stem]:
                page.resize(width)
                path = FOLDER / f"{picture}-{theme}.png"
                page.screenshot_of(source, path, height)
                assert path.stat().st_size < LIMIT, path
