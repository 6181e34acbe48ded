"""The pages in a real Chromium, served by Streamlit over a sample client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.chromium import CHROMIUM, Browser, browsing
from tests.ui.sample import ABORTED, HOSTILE, RUNNING, SETTLED, factor
from ui.bundle import check_archive

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package chromium"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where Streamlit serves the sample's site."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("sample_site.py")
    log = tmp_path_factory.mktemp("streamlit") / "log"
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    options += ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *options]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=dict(os.environ), cwd=log.parent)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                    break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def test_the_way_from_the_list_to_a_run(address: str, browser: Browser) -> None:
    browser.open(f"{address}/runs")
    browser.wait_for_text("All runs")
    assert HOSTILE in browser.text  # shown as it is ...
    assert not browser.value("!!document.querySelector('img[src=x]')")  # ... and not obeyed
    browser.click("Open")
    browser.wait_for_text("rows/s")
    assert browser.value("location.pathname + location.search") == f"/run?run={RUNNING}"
    assert HOSTILE in browser.text
    assert not browser.value("!!document.querySelector('img[src=x], a[href=\"http://x\"]')")


def test_a_click_anywhere_on_a_row_opens_or_shows_what_it_is_of(address: str, browser: Browser) -> None:
    browser.open(f"{address}/runs")
    browser.wait_for_text("1 to 4 of 4 runs")
    browser.answered()
    browser.press_row("Runs", 2, column=400)
    browser.wait_for(f"location.pathname + location.search === '/run?run={SETTLED}'")
    browser.open(f"{address}/runs")
    browser.wait_for_text("1 to 4 of 4 runs")
    browser.answered()
    browser.press_row("Runs", 0, column=100)  # where Tab comes in, too
    browser.wait_for_text("Open row 1")
    browser.answered()
    browser.click("Open row 1")
    browser.wait_for("location.pathname === '/run'")
    browser.open(f"{address}/settlement")
    browser.wait_for_text("1 to 4 of 4 runs")
    browser.answered()
    for row, run in ((1, "e5e5e5e5e5e5"), (2, "f6f6f6f6f6f6"), (0, "a1a1a1a1a1a1")):
        browser.press_row("Where each run's reward stands", row, height=66)
        browser.wait_for_text(f"Run {run} ·")


def test_a_settled_run_draws_its_charts_and_hands_over_its_factor(address: str, browser: Browser) -> None:
    browser.open(f"{address}/run?run={SETTLED}")
    browser.wait_for("document.querySelectorAll('[data-testid=stVegaLiteChart] :is(canvas, svg)').length >= 2")
    browser.click("Fetch and check the files")
    browser.wait_for_text("All 3 files have the fingerprints in SHA256SUMS.")
    browser.click("Download the factor")
    target = browser.downloads / f"factor-{SETTLED[:12]}.zip"
    end = time.monotonic() + 30
    while not target.is_file():
        assert time.monotonic() < end, list(browser.downloads.iterdir())
        time.sleep(0.1)
    assert check_archive(target.read_bytes(), factor()).sound


def test_the_ledger_says_that_it_balances(address: str, browser: Browser) -> None:
    browser.open(f"{address}/ledger")
    browser.wait_for_text("1 180 transactions".replace(" ", "\N{NARROW NO-BREAK SPACE}", 1))
    assert "balanced" in browser.text
    assert "Not balanced" not in browser.text


_PLACES = (
    "overview", f"run?run={SETTLED}", f"run?run={RUNNING}", f"run?run={ABORTED}", "new_run", f"factor?run={SETTLED}",
    "contributions", "ledger", "settlement", "trust", "members", "settings",
)  # fmt: skip
_MAIN = "document.querySelector('[data-testid=stMain]')"
_CLOSED = "[...document.querySelectorAll('[data-testid=stMain] details:not([open]) > summary')]"
_TABS = "[...document.querySelectorAll('[data-testid=stMain] [role=tab]')]"
_ASKING = "[...document.querySelectorAll('[data-testid=stPopover] button')]"
_FAULTS = "document.querySelectorAll('[data-testid=stException], .st-key-incident').length"


def _open_all(browser: Browser, where: str) -> None:
    """Open what is folded, in each tab, one after the other; the page must not end in a fault."""
    for tab in range(max(1, int(browser.value(f"{_TABS}.length")))):
        browser.value(f"{_TABS}[{tab}]?.click()")
        browser.answered()
        for _ in range(12):  # what opens may hold more
            if not browser.value(f"{_CLOSED}.map(summary => summary.click()).length"):
                break
            browser.answered()
        for ask in range(int(browser.value(f"{_ASKING}.length"))):
            browser.value(f"{_ASKING}[{ask}].click()")
            browser.answered()
            browser.press("Escape")
        assert browser.value(_FAULTS) == 0, f"{where}, tab {tab}\n{browser.text}"


@pytest.mark.parametrize("where", _PLACES)
def test_whatever_a_page_folds_away_opens(address: str, browser: Browser, where: str) -> None:
    """Opening where the time went ended the page of every run; so might any part that is made when it is opened.

    Nothing is asked for that is not there, or elsewhere than of this site, and the browser's console has no error.
    On a phone nothing of it, opened, is wider than the page.
    """
    browser.listen()
    browser.open("about:blank")
    browser.complaints()
    browser.open(f"{address}/{where}")
    browser.settled()
    _open_all(browser, where)
    assert browser.complaints() == [], where
    with browser.as_a_phone():
        browser.wait_for(f"{_MAIN}.clientWidth < 400 && {_MAIN}.scrollWidth === {_MAIN}.clientWidth")


def test_a_question_opens(address: str, browser: Browser) -> None:
    browser.open(f"{address}/run?run={RUNNING}")
    browser.settled()
    browser.click("Cancel")
    browser.wait_for("!!document.querySelector('[role=dialog]')")
    assert browser.value(_FAULTS) == 0


def test_a_chosen_theme_is_every_pages_and_is_taken_back_in_other_browsers_too(address: str, browser: Browser) -> None:
    ground = "getComputedStyle(document.querySelector('[data-testid=stApp]') || document.body).backgroundColor"
    light, dark = f"{ground} === 'rgb(255, 255, 255)'", f"{ground} === 'rgb(23, 22, 20)'"
    browser.theme("light")
    browser.open(f"{address}/settings")
    browser.wait_for_text("Take the tour again")
    browser.wait_for(light)
    browser.choose("Theme", "Dark")
    browser.wait_for(dark)
    browser.open(f"{address}/members")
    browser.wait_for_text("Invite a party")
    browser.wait_for(dark)
    chosen = browser.value("JSON.stringify({...localStorage})")
    browser.open(f"{address}/settings")
    browser.wait_for_text("Take the tour again")
    browser.choose("Theme", "The browser's")
    browser.wait_for(light)
    browser.value(f"Object.assign(localStorage, {chosen})")  # as in a browser that was elsewhere at the time
    browser.open(f"{address}/members")
    browser.wait_for_text("Invite a party")
    browser.wait_for(light)


_SHOWN = "document.querySelector('[role=dialog]')"
_LOOSE = "document.activeElement?.blur()"


def test_keys_lead_to_pages_lists_and_the_search_and_are_only_text_in_a_field(address: str, browser: Browser) -> None:
    browser.open(f"{address}/members")
    browser.wait_for_text("Invite a party")
    browser.answered()
    browser.key("2", shift=True)
    browser.wait_for("location.pathname === '/runs'")
    browser.wait_for_text("All runs")
    browser.answered()
    browser.key("s")
    browser.wait_for("document.activeElement.getAttribute('aria-label') === 'Search everything'")
    for letter in "skn4":
        browser.key(letter)
    browser.key("G", shift=True)
    browser.answered()
    assert browser.value("document.activeElement.value") == "skn4G"
    assert browser.value("location.pathname") == "/runs"
    assert not browser.value(f"!!{_SHOWN}")
    browser.open(f"{address}/settings")
    browser.click("Action log")
    browser.wait_for_text("1 to 50 of 120 actions")
    browser.answered()
    browser.key("n")
    browser.wait_for_text("51 to 100 of 120 actions")
    browser.answered()
    browser.key("p")
    browser.wait_for_text("1 to 50 of 120 actions")
    browser.answered()
    browser.key("k")
    browser.wait_for(f"{_SHOWN}?.innerText.includes('Next page of a list')")
    browser.press("Escape")
    browser.wait_for(f"!{_SHOWN}")
    assert not browser.value("[...document.querySelectorAll('[class*=st-key-unseen]')].some(e => e.checkVisibility())")


def test_keys_go_through_a_new_run_and_propose_nothing_unasked(address: str, browser: Browser) -> None:
    tab = "document.querySelector('[data-testid=stMain] [role=tab][aria-selected=true]').innerText"
    browser.open(f"{address}/new_run")
    browser.wait_for_text("Purpose is missing")
    browser.fill("Purpose", "Next week's return")
    browser.wait_for_text("These terms hold together")
    browser.value(_LOOSE)
    for key, where in (("n", "2 "), ("n", "3 "), ("p", "2 ")):
        browser.answered()
        browser.key(key)
        browser.wait_for(f"{tab}.startsWith('{where}')")
    browser.answered()
    browser.key("P", shift=True)
    browser.wait_for(f"{_SHOWN}?.innerText.includes('This is what each')")
    browser.key("P", shift=True)  # asks again, and no more
    browser.answered()
    assert browser.value("location.pathname") == "/new_run"
    assert browser.value(f"!!{_SHOWN}")


def test_keys_can_be_turned_off(address: str, browser: Browser) -> None:
    toggle = "document.querySelector('[role=switch][aria-label=\"Keyboard shortcuts\"]')"
    hints = "document.querySelectorAll('[aria-label^=Shortcut]').length"
    browser.open(f"{address}/settings")
    browser.wait_for(f"!!{toggle} && {hints} > 10")
    browser.answered()
    browser.value(f"{toggle}.click()")
    browser.wait_for(f"{hints} === 0")
    browser.value(_LOOSE)
    browser.key("2", shift=True)
    browser.answered()
    assert browser.value("location.pathname") == "/settings"
    browser.value(f"{toggle}.click()")
    browser.wait_for(f"{hints} > 10")
