"""A view of the page in pictures: loaded once, then taken at each width in each theme, as tall as what is on it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.ui.chromium import Browser

__all__ = ["THEMES", "View", "photographs", "smaller"]

THEMES = ("light", "dark")
_HEIGHT, _TALLEST = 1000, 12_000
_COLOURS = 128
_LOOKS = 5
_A_MOMENT = 0.4
_MAIN = "document.querySelector('[data-testid=stMain]')"
_TALL = f"{_MAIN}?.scrollHeight"
_WIDE = f"{_MAIN} ? {_MAIN}.scrollWidth - {_MAIN}.clientWidth : 0"
_DRAWN = (  # fonts are there, and two frames have been drawn since
    "window.drawnAnew = false; document.fonts.ready.then(() => requestAnimationFrame(() => "
    "requestAnimationFrame(() => { window.drawnAnew = true }))); void 0"
)
_CUT = (
    "[...document.querySelectorAll('[data-testid=stMetricValue], [data-testid=stMetricValue] *, "
    "[data-testid=stMetricLabel] *, [data-testid=stBadge], button p, [role=tab] p, .text-table td, .text-table th')]"
    ".filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== 'visible')"
    ".map(e => e.innerText.trim().slice(0, 60))"
)


@dataclass(frozen=True)
class View:
    """One view: where it is, a text that it shows once it is there, and what is done on it first.

    A step is a button or tab to click, or ``("text", ...)`` to wait for; ``state`` names the sample's state.
    """

    name: str
    place: str
    until: str = ""
    steps: tuple[str | tuple[str, ...], ...] = ()
    state: str = ""


def photographs(
    browser: Browser, address: str, view: View, target: Path, *, widths: Sequence[int] = (1280, 1440)
) -> Iterator[str]:
    """Take the view's pictures; gives a line for each, with what is cut off or wider than the window."""
    browser.theme(THEMES[0])
    _window(browser, widths[0], _HEIGHT)
    browser.open(f"{address}/{view.place}")
    if view.until:
        browser.wait_for_text(view.until, seconds=90)
    _quiet(browser)
    for step in view.steps:
        _do(browser, step)
    for width in widths:
        for theme in THEMES:
            browser.theme(theme)
            _window(browser, width, _HEIGHT)
            _whole(browser, width)
            browser.value(_DRAWN)
            browser.wait_for("window.drawnAnew === true")
            file = target / f"{view.name}-{width}-{theme}.png"
            browser.screenshot(file)
            cut, wide = browser.value(_CUT) or [], int(browser.value(_WIDE) or 0)
            yield f"{file.name}{f'  wider by {wide} px' if wide > 0 else ''}{f'  cut: {cut}' if cut else ''}"


def _do(browser: Browser, step: str | tuple[str, ...]) -> None:
    if isinstance(step, str):
        browser.click(step)
        _quiet(browser)
    elif step[0] == "text":
        browser.wait_for_text(step[1], seconds=60)
    elif step[0] == "choose":
        browser.choose(step[1], step[2])
        _quiet(browser)
    elif step[0] == "fill":
        browser.fill(step[1], step[2])
        _quiet(browser)
    elif step[0] == "open":  # every part that is folded away
        browser.value(f"[...{_MAIN}.querySelectorAll('details:not([open]) > summary')].forEach(s => s.click())")
        _quiet(browser)
    else:
        raise ValueError(f"no such step: {step}")


def _quiet(browser: Browser) -> None:
    """Until the page's script has run, however slow the machine is."""
    time.sleep(0.3)
    browser.wait_for("!document.querySelector('[data-test-script-state=running]')", seconds=90)
    browser.settled(seconds=90)


def _whole(browser: Browser, width: int) -> None:
    """As tall as the page is, which grows while it is drawn."""
    height = _HEIGHT
    for _ in range(_LOOKS):
        time.sleep(_A_MOMENT)
        _quiet(browser)
        tall = min(_TALLEST, int(browser.value(_TALL) or 0))
        if tall <= height:
            break
        height = tall
        _window(browser, width, height)


def _window(browser: Browser, width: int, height: int) -> None:
    browser.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)


def smaller(picture: Path) -> None:
    """The picture with a palette, a third of its size: every colour of an area exactly, the rest by the nearest."""
    with Image.open(picture) as file:
        drawn = file.convert("RGB")
    codes = np.asarray(drawn, dtype=np.int32).reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1])
    colours, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    found = np.stack([colours >> 16, (colours >> 8) & 255, colours & 255], axis=1)
    areas = found[np.argsort(-counts)[:_COLOURS]]
    others = drawn.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = np.concatenate([areas, np.array(others, dtype=np.int64).reshape(-1, 3)])
    nearest = ((found[:, None, :] - palette[None]) ** 2).sum(-1).argmin(1).astype(np.uint8)
    small = Image.fromarray(nearest[places].reshape(drawn.height, drawn.width), "P")
    small.putpalette(palette.astype(np.uint8).tobytes())
    small.save(picture, optimize=True)
