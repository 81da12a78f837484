"""Completion and inspection of code in JupyterLab: rust-analyzer's answers as a person sees them.

Screenshots go to the folder that `CHANDLERY_SCREENSHOTS` names, if it is set.
"""

import os
import shutil
import time
from pathlib import Path

import nbformat
import pytest
from labserver import JupyterLab
from playwright.sync_api import TimeoutError, sync_playwright


@pytest.fixture(scope="module")
def page(kernel, tmp_path_factory):
    """A notebook whose first cell ran."""
    folder = tmp_path_factory.mktemp("completion")
    notebook = folder / "notebook.ipynb"
    cells = ['let opened = project("llama")?;', ""]
    (folder / "numbers.csv").write_text("a,b\n1,2\n")
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    content.metadata.kernelspec = {"name": kernel, "display_name": kernel}
    nbformat.write(content, notebook)
    with sync_playwright() as playwright, JupyterLab(folder) as lab:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHANDLERY_CHROMIUM", shutil.which("chromium")),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        page = lab.open(browser, notebook).page
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_function("() => document.querySelector('.jp-InputPrompt').textContent.includes('[1]')", timeout=60_000)
        yield page
        browser.close()


def ask(page, code, back, key, shown):
    """Types code into the second cell, goes `back` some places and presses a key until something is shown. rust-analyzer takes
    a while to start; a person repeats a question until it is answered."""
    editor = page.locator(".jp-CodeCell .cm-content").nth(1)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        editor.click()
        page.keyboard.press("Control+A")
        page.keyboard.press("Delete")
        page.keyboard.insert_text(code)
        for _ in range(back):
            page.keyboard.press("ArrowLeft")
        page.keyboard.press(key)
        try:
            page.wait_for_selector(shown, timeout=1_500)
            return page.locator(shown)
        except TimeoutError:
            page.keyboard.press("Escape")
    raise AssertionError(f"{code}: {key} shows no {shown}")


def picture(page, name):
    if folder := os.environ.get("CHANDLERY_SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_tab_lists_the_methods_of_a_value_with_their_kinds(page):
    shown = ask(page, '"😀"; opened.conf', 0, "Tab", ".jp-Completer:has-text('config') .jp-Completer-item")
    picture(page, "completion")
    names = shown.locator(".jp-Completer-match").all_inner_texts()
    assert set(names) == {"config", "configs"}, names
    kinds = shown.locator(".jp-Completer-typeExtended").all_inner_texts()
    assert set(kinds) == {"function"}, kinds
    page.keyboard.press("Enter")
    page.wait_for_function("() => [...document.querySelectorAll('.cm-content')].some(cell => /^\"😀\"; opened\\.configs?$/.test(cell.innerText.trim()))")


def test_shift_tab_shows_rendered_documentation(page):
    tooltip = ask(page, 'project("llama")', 3, "Shift+Tab", ".jp-Tooltip .jp-RenderedMarkdown")
    picture(page, "inspection")
    assert "pub fn project(name: &str)" in tooltip.inner_text()
    assert tooltip.locator("pre code").count() >= 1 and tooltip.locator("h1").count() >= 1
    # Code is highlighted, and the address of a link is not text.
    assert tooltip.locator("pre span").count() > 0
    assert not [mark for mark in ("](", "```", "# Ok") if mark in tooltip.inner_text()], tooltip.inner_text()


def test_tab_works_through_question_marks_and_the_standard_library(page):
    code = 'std::fs::read_to_string("numbers.csv")?.lines().map(|line| line.len()).max().unwrap_o'
    shown = ask(page, code, 0, "Tab", ".jp-Completer:has-text('unwrap_or_default') .jp-Completer-item")
    picture(page, "completion-chain")
    names = shown.locator(".jp-Completer-match").all_inner_texts()
    assert set(names) == {"unwrap_or", "unwrap_or_else", "unwrap_or_default"}, names


def test_tab_completes_a_path_in_a_string(page):
    shown = ask(page, 'std::fs::read("num")', 2, "Tab", ".jp-Completer:has-text('numbers.csv') .jp-Completer-item")
    assert shown.locator(".jp-Completer-match").all_inner_texts() == ["numbers.csv"]
    picture(page, "completion-path")
    page.keyboard.press("Enter")
    page.wait_for_function("() => [...document.querySelectorAll('.cm-content')].some(cell => cell.innerText.includes('read(\"numbers.csv\")'))")


def test_shift_tab_explains_directives_verbs_and_flags(page):
    tooltip = ask(page, "%convert a b --dtype f16", 6, "Shift+Tab", ".jp-Tooltip:has-text('--dtype') .jp-RenderedMarkdown")
    picture(page, "inspection-flag")
    assert tooltip.inner_text().strip().startswith("--dtype <"), tooltip.inner_text()
    page.keyboard.press("Escape")
    tooltip = ask(page, ':dep itoa = "1"', 12, "Shift+Tab", ".jp-Tooltip:has-text('Build and load') .jp-RenderedMarkdown")
    assert "NAME" in tooltip.inner_text()
    page.keyboard.press("Escape")
    tooltip = ask(page, "%convert a b", 6, "Shift+Tab", ".jp-Tooltip:has-text('Usage') .jp-RenderedMarkdown")
    picture(page, "inspection-verb")
    assert "Usage: %convert" in tooltip.inner_text()
