"""A real browser for the tests: a headless Chromium driven over its debugging protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

__all__ = ["CHROMIUM", "Browser", "browsing"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip


@contextmanager
def browsing(folder: Path, *, width: int = 1440, height: int = 1800) -> Iterator[Browser]:
    """One page of one Chromium. ``folder`` will hold its profile and its downloads."""
    assert CHROMIUM is not None
    profile, downloads = folder / "profile", folder / "downloads"
    downloads.mkdir(parents=True)
    flags = [*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
    process = subprocess.Popen([CHROMIUM, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(process, profile / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None) as line:
            yield Browser(line, downloads)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _port(process: subprocess.Popen[bytes], file: Path) -> int:
    end = time.monotonic() + 30
    while not (file.is_file() and file.read_text().strip()):
        assert process.poll() is None, "chromium ended at once"
        assert time.monotonic() < end, "chromium did not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])


def _complaint(event: dict[str, Any]) -> str:
    """What an event of the protocol says went wrong on the page; "" of all others."""
    said = event.get("params", {})
    kind = event.get("method", "")
    if kind == "Network.requestWillBeSent" and said["request"]["url"].startswith("http"):
        url = str(said["request"]["url"])
        return "" if "://127.0.0.1:" in url else f"asked of another site: {url}"
    if kind == "Network.responseReceived" and said["response"]["status"] >= 400:
        return f"{said['response']['status']}: {said['response']['url']}"
    if kind == "Network.loadingFailed" and not said.get("canceled"):
        return f"{said['errorText']} ({said['type']})"
    if kind == "Log.entryAdded" and said["entry"]["level"] == "error":
        return f"{said['entry']['text']} {said['entry'].get('url', '')}"
    if kind == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert"):
        return " ".join(str(part.get("value", part.get("description", ""))) for part in said["args"])
    if kind == "Runtime.exceptionThrown":
        return str(said["exceptionDetails"].get("exception", {}).get("description", said["exceptionDetails"]["text"]))
    return ""


class Navigated(Exception):
    """The page was left while a command was under way on it."""


class Browser:
    """The page that :func:`browsing` opened; ``downloads`` is where its files land."""

    def __init__(self, line: ClientConnection, downloads: Path) -> None:
        self.downloads = downloads
        self._line = line
        self._numbers = itertools.count(1)
        self._complaints: list[str] = []
        self.do("Page.enable")
        self.do("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the debugging protocol and its result."""
        number = next(self._numbers)
        self._line.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._line.recv(timeout=30))
            if complaint := _complaint(answer):
                self._complaints.append(complaint)
            if answer.get("id") == number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise Navigated(method)
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, address: str) -> None:
        self.do("Page.navigate", url=address)

    def listen(self) -> None:
        """From now on keep what goes wrong on pages, for :meth:`complaints`."""
        for part in ("Network", "Log", "Runtime"):
            self.do(f"{part}.enable")

    def complaints(self) -> list[str]:
        """What went wrong since the last call: failed or refused requests, and the console's errors."""
        self.value("0")  # what was said until now has arrived before the answer to this
        told, self._complaints = self._complaints, []
        return told

    def value(self, script: str) -> Any:
        """What the JavaScript expression is worth on the page."""
        return self.do("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    @property
    def text(self) -> str:
        """The visible text of the page."""
        return str(self.value("document.body ? document.body.innerText : ''"))

    def wait_for(self, script: str, *, seconds: float = 30) -> None:
        """Until the expression is true. Fails with the page's text after ``seconds``."""
        end = time.monotonic() + seconds
        while not self._holds(script):
            assert time.monotonic() < end, f"still not true: {script}\n{self.text}"
            time.sleep(0.1)

    def _holds(self, script: str) -> bool:
        try:
            return bool(self.value(script))
        except Navigated:  # the next page answers
            return False

    def wait_for_text(self, text: str, *, seconds: float = 30) -> None:
        self.wait_for(f"document.body && document.body.innerText.includes({json.dumps(text)})", seconds=seconds)

    def click(self, text: str) -> None:
        """Click the button or tab that shows this text."""
        button = (
            f"[...document.querySelectorAll('button, [role=tab]')].find(b => b.innerText.includes({json.dumps(text)}))"
        )
        self.wait_for(f"!!{button}")
        self.value(f"{button}.click()")

    def fill(self, label: str, text: str) -> None:
        """Type into the field with this label, in place of what is there, and leave it."""
        field = (
            f"[...document.querySelectorAll('input, textarea')].find(i => i.getAttribute('aria-label') === "
            f"{json.dumps(label)} || [...(i.labels || [])].some(l => l.innerText.trim() === {json.dumps(label)}))"
        )
        self.wait_for(f"!!{field}")
        self.value(f"{field}.focus(); {field}.select()")
        self.do("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")

    def choose(self, label: str, option: str) -> None:
        """Take this option of the select box with this label."""
        boxes = "[...document.querySelectorAll('[data-testid=stSelectbox]')]"
        box = f"{boxes}.find(b => b.innerText.startsWith({json.dumps(label)}))"
        self._press_on(f"{box}.querySelector('input')")
        self._press_on(
            f"[...document.querySelectorAll('[role=option]')].find(o => o.innerText === {json.dumps(option)})"
        )

    def _press_on(self, element: str) -> None:
        """The mouse pressed in the middle of the element, once it is there."""
        middle = f"(r => [r.x + r.width / 2, r.y + r.height / 2])(({element}).getBoundingClientRect())"
        self.wait_for(f"!!({element})")
        x, y = self.value(middle)
        for kind in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press_row(self, alt: str, row: int, *, height: int = 35, column: int = 200) -> None:
        """The mouse pressed on a row of the list with this name, counted from 0, so far from the list's left edge."""
        named = json.dumps(f"[aria-label={json.dumps(alt)}] canvas")
        grid = f"document.querySelector({named})"
        self.wait_for(f"!!{grid}")
        self.value(f"{grid}.scrollIntoView({{block: 'center'}})")
        left, top = self.value(f"(r => [r.x, r.y])({grid}.getBoundingClientRect())")
        at = {"x": left + column, "y": top + 36 + (row + 0.5) * height}
        self.do("Input.dispatchMouseEvent", type="mouseMoved", **at)  # a list hears nobody who is not over it
        for kind in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def press(self, key: str) -> None:
        """One key, such as Escape."""
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def key(self, key: str, *, shift: bool = False) -> None:
        """One letter or digit as a person types it, with Shift or alone."""
        code = f"Digit{key}" if key.isdigit() else f"Key{key.upper()}"
        said = {"code": code, "windowsVirtualKeyCode": ord(key.upper()), "modifiers": 8 if shift else 0}
        self.do("Input.dispatchKeyEvent", type="keyDown", key=key, text=key.upper() if shift else key, **said)
        self.do("Input.dispatchKeyEvent", type="keyUp", key=key, **said)

    def settled(self, *, seconds: float = 30) -> None:
        """Until the page has something on it and nothing on it is being drawn."""
        self.wait_for(
            "document.readyState === 'complete' && document.body.innerText.length > 100 && "
            "!document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner]') && "
            "!document.querySelector('[data-stale=true]')",
            seconds=seconds,
        )

    def answered(self) -> None:
        """Until the page's script has run for what was just clicked, where that makes it run."""
        time.sleep(0.3)
        self.wait_for("!document.querySelector('[data-test-script-state=running]')")
        self.settled()

    def rest(self) -> None:
        """Until nothing has moved for a moment: fonts, charts and transitions are done."""
        self.value("document.fonts.ready.then(() => { window.fontsReady = true }); void 0")
        self.wait_for("window.fontsReady === true")
        last = ""
        for _ in range(8):  # a page that is live may never rest
            now = str(self.do("Page.captureScreenshot", format="jpeg", quality=20)["data"])
            if now == last:
                return
            last = now
            time.sleep(0.7)

    def tall(self, height: int) -> None:
        """Make the window this high."""
        width = int(self.value("window.innerWidth"))
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    @contextmanager
    def as_a_phone(self, width: int = 390, height: int = 844) -> Iterator[None]:
        """The page as a phone of this size shows it."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)
        try:
            yield
        finally:
            self.do("Emulation.clearDeviceMetricsOverride")

    def theme(self, name: str) -> None:
        """Ask for the light or the dark theme, as the machine's own settings would."""
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, target: Path) -> None:
        target.write_bytes(base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"]))
