"""What a person in JupyterLab sees while a cell runs, and of errors.

Screenshots go to the folder that `CHANDLERY_SCREENSHOTS` names, if it is set.
"""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from labserver import JupyterLab
from playwright.sync_api import sync_playwright

THEMES = ["JupyterLab Light", "JupyterLab Dark"]
ENDLESS = "loop { chandlery::interrupt::check()?; std::thread::sleep(std::time::Duration::from_millis(1)); }"
WRONG = """\
let kept: u8 = 1;
{ let inner = 2; }
fn fails() -> Result<i32, String> { Ok(1) }
fails();
#[deprecated(note = "use fails")] fn old() {}
old();"""
# JupyterLab draws errors as it draws standard error.
MESSAGES = "[data-mime-type='application/vnd.jupyter.stderr']"
# The contrast of each piece of text with what lies behind it.
CONTRASTS = """(selector) => {
    const parse = (css) => { const p = css.match(/[\\d.]+/g).map(Number); return [p[0], p[1], p[2], p.length > 3 ? p[3] : 1]; };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
    const behind = (element) => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) {
            layers.push(parse(getComputedStyle(e).backgroundColor));
            if (layers[layers.length - 1][3] === 1) break;
        }
        return layers.reduceRight((below, top) => over(top, below), [255, 255, 255]);
    };
    const luminance = (c) => {
        const [r, g, b] = c.map((x) => (x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const output of document.querySelectorAll(selector)) {
        const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const text = walker.currentNode.textContent.trim();
            const element = walker.currentNode.parentElement;
            const ground = behind(element);
            const [a, b] = [luminance(over(parse(getComputedStyle(element).color), ground)), luminance(ground)].sort((x, y) => x - y);
            found.push([text, (b + 0.05) / (a + 0.05)]);
        }
    }
    return found;
}"""


@pytest.fixture(scope="module")
def page(kernel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("running")
    notebook = folder / "notebook.ipynb"
    cells = [WRONG, "kept.missing()", ENDLESS, ""]
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    content.metadata.kernelspec = {"name": kernel, "display_name": kernel}
    nbformat.write(content, notebook)
    with sync_playwright() as playwright, JupyterLab(folder) as lab:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHANDLERY_CHROMIUM", shutil.which("chromium")),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield lab.open(browser, notebook), lab, browser, notebook
        browser.close()


def run(page, index, prompt):
    page.locator(".jp-CodeCell .cm-content").nth(index).click()
    page.keyboard.press("Shift+Enter")
    page.wait_for_function(
        "([index, prompt]) => document.querySelectorAll('.jp-InputPrompt')[index].textContent.includes(prompt)",
        arg=[index, prompt],
        timeout=60_000,
    )


def status(page):
    return page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status")


def test_warnings_and_errors_are_readable_in_both_themes(page):
    opened, *_ = page
    run(opened.page, 0, "[1]")
    run(opened.page, 1, "[2]")
    opened.page.wait_for_selector(f"{MESSAGES}:has-text('E0599')")
    for theme in THEMES:
        opened.change_theme(theme)
        if folder := os.environ.get("CHANDLERY_SCREENSHOTS"):
            opened.page.screenshot(path=Path(folder) / f"messages-{theme.split()[1].lower()}.png")
        found = opened.page.evaluate(CONTRASTS, MESSAGES)
        said = " ".join(text for text, _ in found)
        assert "unused variable" in said and "error[E0599]" in said, said
        # Line numbers and bars are drawing; what is to be read stands out as WCAG asks.
        faint = [(text, contrast) for text, contrast in found if text.strip("0123456789 |->=:.") and contrast < 4.5]
        assert not faint, (theme, faint)


def test_completion_works_and_status_is_busy_while_a_cell_runs(page):
    opened, lab, browser, notebook = page
    run(opened.page, 2, "[*]")
    opened.page.wait_for_function("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'")
    opened.page.locator(".jp-CodeCell .cm-content").nth(3).click()
    opened.page.keyboard.insert_text("kep")
    opened.page.keyboard.press("Tab")
    opened.page.wait_for_function(
        "() => [...document.querySelectorAll('.cm-content')].some(cell => cell.innerText.trim() === 'kept')"
        " || document.querySelector('.jp-Completer-item')",
        timeout=60_000,
    )
    opened.page.wait_for_timeout(500)
    assert status(opened.page) == "busy"
    assert opened.page.locator(".jp-Notebook-ExecutionIndicator[data-status='busy']").count() == 1
    opened.page.keyboard.press("Escape")

    # A tab that is reloaded meanwhile.
    opened.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
    again = browser.new_page()
    again.goto(f"{lab.address}/lab/tree/{notebook.name}?reset", wait_until="domcontentloaded")
    again.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel", timeout=60_000)
    info = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.info.then(() => 'answered')"
    late = "new Promise(resolve => setTimeout(() => resolve('not answered'), 60_000))"
    assert again.evaluate(f"() => Promise.race([{info}, {late}])") == "answered"
    again.wait_for_timeout(500)
    assert status(again) == "busy"
    again.close()
    opened.page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel').then(() => null)")
    opened.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'", timeout=60_000
    )
