"""Every view of the page, in each state and both themes, at two widths: ``make views`` writes pictures to build/views.

They are made to be looked at, one by one: of the sample, whose states a consortium would take hours to be in. What is
cut off or wider than its window is printed beside each name. ``make screenshots`` takes those of a real consortium.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.parties.coordinator_rig import free_port
from tests.ui.chromium import Browser, browsing
from tests.ui.photographs import View, photographs
from tests.ui.sample import ABORTED, PAUSED, RUNNING, SETTLED
from tests.ui.sample_factors import AWAY
from tests.ui.sample_screen import SCREEN, SESSION
from tests.ui.sample_states import FEDERATED, GROUP, PROPOSED, ROUNDS, SEALED, STATIC, TREES

__all__ = ["VIEWS", "main"]

_APP = Path(__file__).with_name("every_view_site.py")
_UI = Path(__file__).resolve().parents[2] / "ui"


def _run(name: str, run_id: str, *parts: str, until: str = "") -> Iterator[View]:
    """The run's page, and its other tabs."""
    yield View(f"run-{name}", f"run?run={run_id}", until)
    for part in parts:
        yield View(f"run-{name}-{part.lower()}", f"run?run={run_id}&part={part}", until)


def _factor() -> Iterator[View]:
    for name in ("Skill", "Portfolio", "What could fool you", "Live and versions", "Files"):
        short = name.lower().replace(" ", "-")
        yield View(f"factor-{short}", f"factor?run={SETTLED}&section={name.replace(' ', '+')}", "Versus", ())


def _new_run() -> Iterator[View]:
    for number in ("1", "2", "3", "4", "5"):
        yield View(f"new-run-{number}", "new_run", "Purpose is missing", (f"{number} ",) if number != "1" else ())
    for kind in ("Sealed trees", "Network and trees", "Split network", "Joint ridge", "Screen of formulas"):
        name = kind.lower().replace(" ", "-")
        yield View(f"new-run-{name}", "new_run", "Begin with", (kind, ("text", "3 "), "3 "))
    yield View("new-run-like", f"new_run?like={SETTLED}", "Same as a run")
    said = (("fill", "Purpose", "Next week's return"), ("text", "These terms hold together"))
    yield View("new-run-propose", "new_run", "Purpose is missing", (*said, "Propose", ("text", "This is what each")))


VIEWS: tuple[View, ...] = (
    View("overview", ""),
    View("overview-auditor", "", state="auditor"),
    View("overview-operator", "", state="operator"),
    View("overview-reader", "", state="reader"),
    View("overview-empty", "", state="empty"),
    View("overview-favourites", "", "Favourites", state="favourites"),
    View("keys", "settings", steps=("Keyboard shortcuts", ("text", "Next page of a list"))),
    View("tour", "settings", steps=("Take the tour again", ("text", "Everything at a glance"))),
    View("runs", "runs", "All runs"),
    View("runs-favourites", "runs?favourites=true", "All runs", state="favourites"),
    View("runs-reader", "runs", "All runs", state="reader"),
    View("runs-empty", "runs", state="empty"),
    *_new_run(),
    View("new-run-group", "new_run", "Name of the group", state="lenders"),
    View("new-run-empty", "new_run", state="empty"),
    *_run("settled", SETTLED, "Contributions", "Privacy", "Terms", "Log"),
    View("run-favourite", f"run?run={SETTLED}", "Favourite run", state="favourites"),
    View("run-settled-opened", f"run?run={SETTLED}", steps=(("open",),)),
    *_run("under-way", RUNNING, "Contributions", "Privacy", "Terms"),
    View("run-cancel", f"run?run={RUNNING}", steps=("Cancel", ("text", "Cancel this run?"))),
    *_run("paused", PAUSED),
    *_run("failed", ABORTED, "Contributions", "Privacy"),
    *_run("sealed", SEALED, "Privacy"),
    *_run("trees", TREES, "Privacy"),
    *_run("proposed", PROPOSED),
    *_run("group", GROUP),
    *_run("static", STATIC),
    *_run("federated", FEDERATED, "Contributions", "Privacy"),
    *_run("rounds", ROUNDS, "Privacy"),
    *_run("screen", SCREEN, "Contributions", "Privacy"),
    *_run("session", SESSION),
    View("run-unknown", f"run?run={'9' * 64}"),
    View("run-empty", "run", state="empty"),
    View("factors", "factors"),
    View("factors-list", "factors", steps=("List",)),
    View("factors-empty", "factors", state="empty"),
    *(View(view.name, view.place) for view in _factor()),
    View("factor-favourite", f"factor?run={SETTLED}", "Favourite factor", state="favourites"),
    View("factor-away", f"factor?run={AWAY}"),
    View("factor-unknown", f"factor?run={'9' * 64}"),
    View("factor-empty", "factor", state="empty"),
    View("compare", f"compare?runs={SETTLED},{SEALED}", "Terms that differ"),
    View("compare-three", f"compare?runs={SETTLED},{SEALED},{TREES}", "Terms that differ"),
    View("compare-empty", "compare", "Choose two runs"),
    View("contributions", "contributions"),
    View("contributions-empty", "contributions", state="empty"),
    View("ledger", "ledger"),
    View("ledger-journal", "ledger", steps=("Journal",)),
    View("ledger-statements", "ledger", steps=("Statements",)),
    View("ledger-reader", "ledger", state="reader"),
    View("ledger-empty", "ledger", state="empty"),
    View("settlement", "settlement"),
    View("settlement-operator", "settlement", state="operator"),
    View("settlement-disputed", f"settlement?run={AWAY}"),
    View("settlement-empty", "settlement", state="empty"),
    View("trust", "trust", steps=("Verify now", ("text", "The log is sound"))),
    View("trust-heads", "trust?section=heads", "Exchanges"),
    View("trust-revealed", f"trust?section=revealed&run={SETTLED}", "Message by message"),
    View("trust-agreements", f"trust?section=agreements&run={SETTLED}", "Signed by"),
    View("trust-empty", "trust", state="empty"),
    View("trust-reader", "trust", state="reader"),
    View("members", "members", "Invite a party"),
    View("members-opened", "members", "Invite a party", steps=(("open",),)),
    View("members-reader", "members", state="reader"),
    View("members-empty", "members", state="empty"),
    View("search", "search?q=weekly", "Everything with"),
    View("search-orbit", "search?q=orbit", "Everything with"),
    View("search-none", "search?q=zzzz", "Nothing fits"),
    View("search-blank", "search", "What are you looking for?"),
    View("guides", "guides"),
    View("settings", "settings", "Take the tour again"),
    View("settings-coordinator", "settings", steps=("Coordinator",)),
    View("settings-actions", "settings", steps=("Action log",)),
    View("settings-sign-ins", "settings", steps=("Sign-ins",)),
    View("settings-reader", "settings", state="reader"),
    View("not-for-the-role", "new_run", state="reader"),
    View("not-found", "no-such-page", "There is no page"),
    View("coordinator-away", "", state="away"),
    View("coordinator-lost", f"run?run={RUNNING}", "No answer since", state="lost"),
)


def main(target: Path, wanted: tuple[str, ...] = ()) -> int:
    """All views, or those named, one by one or by a beginning that ends in a hyphen; gives how many were not taken."""
    target.mkdir(parents=True, exist_ok=True)
    failed = 0
    begun = tuple(name for name in wanted if name.endswith("-"))
    views = [view for view in VIEWS if not wanted or view.name in wanted or view.name.startswith(begun)]
    with (
        tempfile.TemporaryDirectory() as made,
        _served(target / f"page-{os.getpid()}.log") as address,
        browsing(Path(made), width=1280, height=1000) as browser,
    ):
        browser.open(address)  # the parts of a first page come one by one
        browser.wait_for_text("Sign out", seconds=240)
        for view in views:
            try:
                _in_state(browser, address, view.state)
                for line in photographs(browser, address, view, target):
                    print(f"{time.strftime('%T')} {line}", flush=True)
            except (AssertionError, TimeoutError) as fault:
                failed += 1
                print(f"{view.name} could not be taken: {str(fault)[:400]}", flush=True)
    return failed


def _in_state(browser: Browser, address: str, state: str) -> None:
    browser.do("Network.setCookie", name="sample", value=state, url=address)


@contextmanager
def _served(log: Path) -> Iterator[str]:
    """Where Streamlit serves the sample."""
    port = free_port()
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    options += ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    with log.open("wb") as output:
        page = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(_APP), *options],
            stdout=output, stderr=output, cwd=_UI, env=dict(os.environ),
        )  # fmt: skip
    try:
        end = time.monotonic() + 90
        while True:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                break
            assert page.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        page.terminate()
        page.wait(timeout=20)


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]), tuple(sys.argv[2:]))))
