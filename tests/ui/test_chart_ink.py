"""Text in charts is drawn on a canvas, which no checker reads: its colours are counted here."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import ui
from parties.client import AccountView
from tests.ui.sample import settled_run
from ui import list_rows
from ui.charts import runs
from ui.charts.compared import compared_chart
from ui.charts.drawn_once import INK, ON_DARK, ON_LIGHT, specification
from ui.charts.money import balances_chart

_THEME = tomllib.loads((Path(next(iter(ui.__path__))) / ".streamlit" / "config.toml").read_text())["theme"]
_GROUNDS = [_THEME[name]["backgroundColor"] for name in ("light", "dark")]
_TURN = float(re.findall(r"luminance\(background\) > ([\d.]+) \?", INK["expr"])[0])


def luminance(colour: str) -> float:
    """Of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def on(ground: str) -> str:
    """The ink that the browser takes on this ground."""
    return ON_LIGHT if luminance(ground) > _TURN else ON_DARK


def test_contrast_is_counted_as_the_standard_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#999999", "#ffffff") < 4.5, "the grey that text in charts had"


def test_ink_is_readable_on_both_themes_grounds() -> None:
    assert INK["expr"].endswith(f"? '{ON_LIGHT}' : '{ON_DARK}'")
    assert {on(ground) for ground in _GROUNDS} == {ON_LIGHT, ON_DARK}
    for ground in _GROUNDS:
        assert contrast(on(ground), ground) >= 4.5


def _specs() -> list[dict[str, Any]]:
    run = settled_run()
    account = AccountView(
        account="Liabilities:Party:till:Pending", kind="Pending", party="till", posted=0, pending=5, unit="USD", scale=2
    )
    return [
        specification(runs.shapley_chart, run.contributions),
        specification(runs.openings_chart, run.openings),
        specification(runs.bytes_chart, run.bytes_by_message),
        specification(runs.ic_chart, run.series),
        specification(runs.phase_chart, run.phases, datetime(2026, 11, 2, tzinfo=UTC)),
        specification(compared_chart, (("a", run.series), ("b", run.series)), True),
        specification(balances_chart, (account,), " "),
    ]


def test_every_text_of_a_chart_has_that_ink() -> None:
    for spec in _specs():
        for part in ("axis", "legend"):
            assert spec["config"][part]["labelColor"] == spec["config"][part]["titleColor"] == INK
        marks = [layer["mark"] for layer in spec["layer"] if layer["mark"]["type"] == "text"]
        assert all(mark["color"] == INK for mark in marks)
        told = {key: value for key, value in _walk(spec["layer"]) if key in ("labelColor", "titleColor")}
        assert not told, "an axis of its own has no other ink"
        assert "title" not in spec


def _walk(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [*node.items(), *(pair for value in node.values() for pair in _walk(value))]
    return [pair for value in node for pair in _walk(value)] if isinstance(node, list) else []


def test_words_on_a_status_chip_can_be_read() -> None:
    """Streamlit writes in white on a ground of a luminance of 0.5 or less, and in black on others."""
    chips = list_rows.chips(dict.fromkeys(list_rows.GROUNDS, "gray") | {"settled": "green"})["type_config"]["options"]
    assert chips[-1] == {"value": "settled", "color": list_rows.GROUNDS["green"]}
    assert {"red", "orange", "green", "blue", "gray"} == set(list_rows.GROUNDS)
    for name, ground in list_rows.GROUNDS.items():
        assert contrast("#ffffff", ground) >= 6.5, name
