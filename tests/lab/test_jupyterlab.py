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
from labserver import JupyterLab
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
            # no sandbox: it refuses to run as root; nothing foreign is opened here.
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


def test_nbconvert_makes_a_page_with_every_table_and_picture(finished, browser, tmp_path):
    _, notebook, _ = finished
    words = ["-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(notebook)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=120)
    page = browser.new_page(viewport={"width": 1000, "height": 1000})
    page.goto((tmp_path / notebook.name).with_suffix(".html").as_uri(), wait_until="domcontentloaded")
    pictures = page.locator(".jp-OutputArea-output img")
    assert pictures.count() == check_outputs(notebook)
    assert pictures.evaluate_all("all => all.every(image => image.complete && image.naturalWidth > 100)")
    assert page.locator(".jp-OutputArea-output table").count() > 0
    page.close()


def check_page(page, plots):
    seen = page.look()
    assert "application/vnd.jupyter.error" not in seen["types"]
    assert "application/vnd.jupyter.stderr" not in seen["types"], json.dumps(seen["types"])
    assert seen["tables"] > 0
    assert seen["pictures"] > 0 or plots == 0, "a plot, as an image that loaded or as inline svg"
    assert not seen["broken"], "images that did not load"
    assert seen["charts"] == plots, "a chart that zooms, wherever there is a plot"
    assert not seen["undrawn"] and not seen["empty"], json.dumps(seen, indent=1)
    assert seen["overflow"] <= 0, "the page scrolls sideways"
    # What WCAG asks of text; a colour that ignores the theme falls far below.
    assert not seen["faint"], json.dumps(seen["faint"], indent=1)
    assert not page.errors, page.errors
