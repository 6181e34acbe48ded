"""The hurdles of a screen of formulas as a table: how many stand each one."""

from __future__ import annotations

from typing import Any

import pandas as pd

from parties.client import ScreenView
from ui.wording import count, percent, things

__all__ = ["hurdles_table"]


def hurdles_table(found: ScreenView, model: dict[str, Any]) -> pd.DataFrame:
    """One row a hurdle, in the order in which they are stood. model: the agreement's terms of it."""
    level, hurdle = float(model.get("level", 0.05)), float(model.get("hurdle", 3.0))
    first, second = (things(half, "periods") for half in (found.first, found.second))
    rows = [
        ("Tried", f"every terminal and every product, over {first}", found.tried),
        ("Discovered", f"false discoveries of {percent(level)} over all formulas (BHY), HAC t", found.discovered),
        ("Above the hurdle", f"|t| above {hurdle:g} on these periods", found.above_hurdle),
        ("Chosen", "a deflated Sharpe ratio of 95 % or more, with all formulas as trials", found.chosen),
        ("Named", f"the same sign over {second} more, one-sided p of {percent(level)} (Holm)", found.named),
    ]
    return pd.DataFrame(
        [(name, what, count(left.all), count(left.alone), count(left.products)) for name, what, left in rows],
        columns=["Hurdle", "What it asks", "Formulas left", "Terminals", "Products"],
    )
