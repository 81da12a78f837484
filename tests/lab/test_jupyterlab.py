"""The notebooks in JupyterLab in Chromium: run as a user runs them, and looked at in both themes, trusted and not.

Screenshots go to the folder that `CHANDLERY_SCREENSHOTS` names, if it is set.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from labserver import LOOK, JupyterLab
from playwright.sync_api import sync_playwright
from workbench import NOTEBOOKS, check_outputs, copy_for_running

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    folder = Path(os.environ.get("CHANDLERY_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHANDLERY_CHROMIUM", shutil.which("chromium")),
            # no sandbox: it refuses to run as root; only our own pages are opened here.
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--disable-component-update"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def finished(request, tmp_path_factory, kernel, browser):
    """A notebook after "Run All Cells": the open page, and the notebook as Lab saved it."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = copy_for_running(request.param, folder, kernel)
    with JupyterLab(folder) as lab:
        page = lab.open(browser, notebook)
        page.run_all()
        page.save()
        yield page, notebook, lab


@pytest.fixture(scope="module")
def runner_page(finished, tmp_path_factory, kernel, chandlery):
    """The same notebook as `chandlery run --html` shows it."""
    _, notebook, _ = finished
    folder = tmp_path_factory.mktemp("page")
    copy = copy_for_running(notebook, folder, kernel)
    chandlery("run", copy, "-o", folder / "executed.ipynb", "--html", folder / "page.html")
    return folder / "page.html"


def test_every_cell_ran(finished):
    _, notebook, _ = finished
    check_outputs(notebook)


@pytest.mark.parametrize("theme", THEMES)
def test_outputs_are_drawn(finished, theme, screenshots):
    page, notebook, _ = finished
    page.change_theme(THEMES[theme])
    check_page(page, check_outputs(notebook))
    page.screenshot(screenshots / f"{notebook.stem}-{theme}")


def test_outputs_are_drawn_without_trust(finished, browser, screenshots):
    """A notebook that was pulled, not run here: Lab strips style sheets and scripts from its outputs."""
    _, notebook, lab = finished
    content = nbformat.read(notebook, as_version=4)
    # The signature that makes a notebook trusted covers its content.
    content.cells.append(nbformat.v4.new_markdown_cell("changed elsewhere"))
    pulled = notebook.with_name("pulled.ipynb")
    nbformat.write(content, pulled)
    page = lab.open(browser, pulled)
    for theme in THEMES:
        page.change_theme(THEMES[theme])
        check_page(page, check_outputs(notebook))
        page.screenshot(screenshots / f"{notebook.stem}-untrusted-{theme}")


def test_a_narrow_window_scrolls_outputs_and_not_the_page(finished, screenshots):
    page, notebook, _ = finished
    page.resize(400)
    try:
        check_page(page, check_outputs(notebook))
        page.screenshot(screenshots / f"{notebook.stem}-narrow")
    finally:
        page.resize(1440)


@pytest.mark.parametrize("theme", THEMES)
def test_nbconvert_makes_a_page_with_every_table_and_picture(finished, browser, theme, tmp_path, screenshots):
    _, notebook, _ = finished
    words = ["-m", "nbconvert", "--to", "html", "--theme", theme, "--output-dir", str(tmp_path), str(notebook)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=120)
    page = (tmp_path / notebook.name).with_suffix(".html")
    check_file(browser, page, ".jp-OutputArea-output", check_outputs(notebook), screenshots / f"{notebook.stem}-nbconvert-{theme}.png")


@pytest.mark.parametrize("theme", THEMES)
def test_the_runner_makes_such_a_page(finished, runner_page, browser, theme, screenshots):
    _, notebook, _ = finished
    check_file(browser, runner_page, ".output", check_outputs(notebook), screenshots / f"{notebook.stem}-page-{theme}.png", theme)


def check_file(browser, file, selector, plots, screenshot, theme="light"):
    """A page in a file has pictures instead of charts, and otherwise the same as JupyterLab shows."""
    page = browser.new_page(viewport={"width": 1000, "height": 1000}, color_scheme=theme)
    thrown = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.goto(file.as_uri(), wait_until="domcontentloaded")
    page.screenshot(path=screenshot, full_page=True)
    seen = page.evaluate(LOOK, selector)
    page.close()
    assert seen["pictures"] == plots and not seen["charts"], json.dumps(seen, indent=1)
    check_seen(seen)
    assert not thrown


def check_page(page, plots):
    seen = page.look()
    assert "application/vnd.jupyter.error" not in seen["types"]
    assert "application/vnd.jupyter.stderr" not in seen["types"], json.dumps(seen["types"])
    assert seen["pictures"] > 0 or plots == 0, "a plot, as an image that loaded or as inline svg"
    assert seen["charts"] == plots, "a chart that zooms, wherever there is a plot"
    assert not seen["undrawn"]
    check_seen(seen)
    assert not page.errors, page.errors


def check_seen(seen):
    assert seen["tables"] > 0
    assert not seen["broken"], "images that did not load"
    assert not seen["empty"], json.dumps(seen, indent=1)
    assert seen["overflow"] <= 0, "the page scrolls sideways"
    # The contrast that WCAG requires for text; a color that ignores the theme is far below.
    assert not seen["faint"], json.dumps(seen["faint"], indent=1)
