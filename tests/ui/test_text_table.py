"""Tables that are read: whole cells, moments with their hint, nothing of a peer's taken for markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd

from tests.ui.sample import HOSTILE
from ui.guides import GUIDES, guide_text, guides_folder
from ui.log_sentences import sentence
from ui.text_table import text_table
from ui.wording import count, instant


def test_cells_are_whole_escaped_and_say_when() -> None:
    at = datetime.now(UTC) - timedelta(minutes=52)
    frame = pd.DataFrame(
        [("one", HOSTILE, at, 1234567, "ab" * 32), ("one", "x", None, 2, "short"), ("two", "sum", None, 3, "")],
        columns=["Part", "Said", "Seen", "Rows", "Root"],
    )
    drawn = text_table(frame, alt='a "table"', code=("Root",), group="Part", total=True)
    assert HOSTILE not in drawn
    assert "&lt;img src=x onerror=alert(1)&gt;" in drawn
    assert f'<time title="{instant(at)}">52 min ago</time>' in drawn
    assert drawn.count("\N{EN DASH}</td>") == 2, "what is not known is a dash"
    assert "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567" in drawn
    assert f'<abbr title="{"ab" * 32}">{"ab" * 8}…</abbr>' in drawn
    short = text_table(pd.DataFrame({"Id": ["settlement/120"]}), alt="ids", code=("Id",))
    assert '<span class="whole">settlement/120</span>' in short, "a short one is not broken over lines"
    assert drawn.count('class="group"') == 2
    assert '<span class="whole">2026-11-06</span>' in text_table(pd.DataFrame({"Period": ["2026-11-06"]}), alt="days")
    assert drawn.count('class="total"') == 1
    assert 'aria-label="a &quot;table&quot;"' in drawn
    assert count(1234.56, 1) == "1\N{NARROW NO-BREAK SPACE}234.6"


def test_entries_of_the_log_are_sentences() -> None:
    aligned = {"party": "card", "phase": "align", "attempt": 2, "n_common": 60}
    assert sentence("phase_done", aligned) == "card finished alignment at attempt 2 (60 common entities)."
    settled = {"phase": "settle", "attempt": 1, "rewards": {"card": 0, "sat": 5}, "rolled_over": 0}
    assert sentence("coordinator_done", settled) == "The coordinator finished settlement (rewards to 1 of 2 parties)."
    asked = {"name": "Ada", "role": "operator", "party": "sat", "what": "cancel", "about": "ab" * 32, "outcome": "done"}
    assert sentence("desk", asked) == "Ada (operator of sat) asked to cancel abababababab: done."
    assert sentence("signed", {"of": "another shape"}) == "of another shape"
    assert sentence("unheard of", {"n": 3}) == "n 3"


def test_guides_are_at_hand_and_lead_to_each_other() -> None:
    folder = guides_folder()
    assert folder is not None
    assert all((folder / f"{name}.md").is_file() for name in GUIDES)
    text = guide_text("operator-guide") or ""
    assert "(guides?name=admin-guide)" in text
    assert "![" not in (guide_text("quant-guide") or "![")
    assert "\n2. **Overview**" in (guide_text("admin-guide") or ""), "a picture is left out, and not the line's end"
    assert guide_text("../SECURITY") is None
