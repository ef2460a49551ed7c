"""A real browser for the page's test: Chromium without a screen, spoken to by its own DevTools protocol.

with open_browser() as browser:
    browser.open(url)
    browser.run("document.title")
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WAIT_S = 60.0
LARGEST_MESSAGE = 64 * 1024 * 1024


class Browser:
    """One tab. notes holds what the page wrote to its console or threw."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._numbers, self._session = connection, itertools.count(1), None
        self.notes: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self._ask(f"{domain}.enable")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._connection.send(json.dumps(message))
        while True:
            came = json.loads(self._connection.recv(timeout=WAIT_S))
            if came.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.notes.append(json.dumps(came["params"]))
            if came.get("id") == number:
                assert "error" not in came, came
                answer: dict[str, Any] = came["result"]
                return answer

    def open(self, url: str) -> None:
        self._ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        came = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in came, came
        return came["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until the expression is true."""
        ends_s = time.monotonic() + WAIT_S
        while not self.run(expression):
            assert time.monotonic() < ends_s, f"never true: {expression}; {self.notes}"
            time.sleep(0.05)

    def choose_file(self, selector: str, path: Path) -> None:
        root = self._ask("DOM.getDocument")["root"]["nodeId"]
        node = self._ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self) -> bytes:
        """The tab as a PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def open_browser(size_wh: tuple[int, int] = (1200, 900)) -> Iterator[Browser]:
    """Starts Chromium, with a profile that goes away."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    assert program is not None, f"needs a browser: one of {', '.join(PROGRAMS)} (apt-get install chromium)"
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}",
            "--window-size={},{}".format(*size_wh), "about:blank",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            with connect(_address(process), max_size=LARGEST_MESSAGE, open_timeout=WAIT_S) as connection:
                yield Browser(connection)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        found = re.search(r"DevTools listening on (ws://\S+)", line)
        if found is not None:
            return found.group(1)
    raise AssertionError(f"the browser did not start: {''.join(said)[-2000:]}")
