"""A JupyterLab server on a folder, and one of its pages in a browser."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

LOOK = (Path(__file__).parent / "look.js").read_text()
# Lab keeps off-screen cells out of the page unless told otherwise, and asks once whether to fetch news.
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


# Console errors that JupyterLab causes itself, about its server. An image that does not load
# is found otherwise.
OWN_MESSAGES = ("Failed to load resource", "WebSocket connection to")


class JupyterLab:
    """Serves `folder` on a free port of the loopback interface while the `with` block lasts."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{probe.getsockname()[1]}"

    def __enter__(self):
        for name, values in SETTINGS.items():
            path = Path(os.environ["JUPYTERLAB_SETTINGS_DIR"], name + ".jupyterlab-settings")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        self.log = open(self.folder / "jupyterlab.log", "w")
        self.process = subprocess.Popen(
            [
                *[sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"],
                *["--ip=127.0.0.1", f"--port={self.address.rpartition(':')[2]}", "--ServerApp.port_retries=0"],
                *["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"],
                f"--ServerApp.root_dir={self.folder}",
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("JupyterLab did not start:\n" + (self.folder / "jupyterlab.log").read_text())
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def _answers(self):
        try:
            return urllib.request.urlopen(self.address + "/api/status", timeout=5).status == 200
        except OSError:
            return False

    def open(self, browser, notebook):
        """Opens a notebook below the folder; returns when its kernel is idle."""
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))

        def say(message):
            if message.type == "error" and not any(own in message.text for own in OWN_MESSAGES):
                errors.append(f"{message.text} ({message.location.get('url', '')})")

        page.on("console", say)
        page.goto(f"{self.address}/lab/tree/{notebook.relative_to(self.folder)}?reset", wait_until="domcontentloaded")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        # Until the kernel is connected, Run All asks which kernel to use and never ends.
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel", timeout=60_000)
        page.evaluate(
            """async () => {
                const context = window.jupyterapp.shell.currentWidget.sessionContext;
                await context.ready;
                await context.session.kernel.info;
            }"""
        )
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=60_000)
        return NotebookPage(page, errors)


class NotebookPage:
    """An open notebook."""

    def __init__(self, page, errors):
        self.page = page
        # What scripts of the page threw, or wrote to the console as an error.
        self.errors = errors

    def run_all(self, timeout_s=600):
        """Runs all cells and waits until each has a number or one of them failed."""
        # Not awaited: the command's promise ends with the last cell.
        self.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            """() => {
                const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent);
                const failed = document.querySelector("[data-mime-type='application/vnd.jupyter.error']");
                return prompts.length && prompts.every(text => /\\[\\d+\\]/.test(text))
                    || failed && !prompts.some(text => text.includes('*'));
            }""",
            timeout=timeout_s * 1000,
        )
        self.page.wait_for_timeout(1000)

    def save(self):
        self._command("docmanager:save")

    def change_theme(self, name):
        self._command("apputils:change-theme", {"theme": name})
        self.page.wait_for_function(
            "name => document.body.dataset.jpThemeName === name", arg=name, timeout=30_000
        )
        self.page.wait_for_timeout(500)

    def resize(self, width):
        """Makes the window this wide."""
        self.page.set_viewport_size({"width": width, "height": 1000})
        self.page.wait_for_timeout(500)

    def look(self):
        """What the outputs look like; see look.js."""
        return self.page.evaluate(LOOK)

    def screenshot(self, stem):
        """One picture of each cell's outputs, `STEM-01.png` and on."""
        for number, area in enumerate(self.page.query_selector_all(".jp-CodeCell .jp-Cell-outputArea"), 1):
            if area.query_selector(".jp-OutputArea-child"):
                area.scroll_into_view_if_needed()
                area.screenshot(path=f"{stem}-{number:02}.png")

    def screenshot_of(self, source, path, height):
        """A picture of the code cell whose source ends with `source`, down to `height` pixels."""
        cells = self.page.locator(".jp-CodeCell")
        texts = cells.evaluate_all("all => all.map(cell => cell.querySelector('.cm-content').innerText.trim())")
        cell = cells.nth(next(number for number, text in enumerate(texts) if text.endswith(source)))
        cell.evaluate("cell => cell.scrollIntoView({ block: 'start' })")
        self.page.wait_for_timeout(300)
        box = cell.bounding_box()
        self.page.screenshot(path=path, clip={**box, "height": min(box["height"], height)})

    def _command(self, name, arguments=None):
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [name, arguments or {}]
        )
