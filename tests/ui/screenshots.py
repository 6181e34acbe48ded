"""Pictures of every view, light and dark, of a real consortium: ``make screenshots`` writes them to docs/img.

A finished run, a failed one and one under way are made first, by real nodes on simulated data. All states of all pages,
at two widths, are the pictures of :mod:`tests.ui.every_view`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.ui.chromium import Browser, browsing
from tests.ui.photographs import THEMES, smaller
from tests.ui.site_rig import House, house, served

__all__ = ["main"]

_WIDTH, _HEIGHT, _TALLEST = 1440, 1000, 2600
_CONTENT = "document.querySelector('[data-testid=stMain]')?.scrollHeight"
_A_MOMENT = 1.5


def main(target: Path) -> None:
    """Make the consortium, then the pictures."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with (
            house(folder / "demo", entities=120, periods=52, parties=3, model="sealed") as consortium,
            served(consortium.homes.desk) as address,
            browsing(folder / "browser", width=_WIDTH, height=_HEIGHT) as browser,
        ):
            _shoot(consortium, address, browser, target)


def _shoot(consortium: House, address: str, browser: Browser, target: Path) -> None:
    def picture(name: str, page: str, until: str, *, live: bool = False) -> None:
        for theme in THEMES:
            browser.theme(theme)
            browser.tall(_HEIGHT)
            browser.open(f"{address}/{page}")
            browser.wait_for_text(until, seconds=90)
            browser.settled(seconds=60)
            time.sleep(_A_MOMENT)
            browser.tall(min(_TALLEST, max(_HEIGHT, int(browser.value(_CONTENT) or 0))))
            if live:
                time.sleep(_A_MOMENT)
            else:
                browser.rest()
            browser.screenshot(target / f"{name}-{theme}.png")
            smaller(target / f"{name}-{theme}.png")
            print(f"{name}-{theme}.png", flush=True)

    strict = {**consortium.settings.alignment.model_dump(mode="json"), "minimum_common": 100_000}
    failed = consortium.propose("Next week's return, all caps", alignment=strict)
    assert consortium.ended(failed).status == "aborted"
    picture("sign-in", "", "One-time token")
    browser.open(f"{address}/sign-in?token={consortium.token('admin', 'Ada')}")
    browser.wait_for_text("New here?", seconds=60)
    run = consortium.propose("Next week's return, small caps")
    picture("run-under-way", f"run?run={run}", "small caps", live=True)
    picture("overview", "", "small caps", live=True)
    assert consortium.ended(run).status == "settled"
    browser.open(address)
    browser.click("Not now")
    picture("runs", "runs", "All runs")
    picture("run-failed", f"run?run={failed}", "data cannot be used")
    picture("factors", "factors", "Sign out")
    picture("contributions", "contributions", "Sign out")
    picture("ledger", "ledger", "Sign out")
    picture("settlement", "settlement", "Sign out")
    picture("members", "members", "Sign out")
    picture("trust", "trust", "Is the log what it was?")
    picture("settings", "settings", "Time zone")
    picture("new-run", f"new_run?like={run}", "These terms hold together")
    picture("run", f"run?run={run}", "period by period")
    picture("factor", f"factor?run={run}", "Verified")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
