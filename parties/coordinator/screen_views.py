"""A screen of formulas as the coordinator knows it: counts that the label party told, and what opened in bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parties.agreement.document import Agreement
from parties.agreement.who_learns import run_sizes
from parties.calls.drafts import ScreenPlanView
from parties.calls.run_parts import ScreenView
from vfl.models.screen.hurdles import lone_t
from vfl.models.screen.opens import SCREEN_BITS, formulas
from vfl.terms import ScreenModel

__all__ = ["screen_plan", "screen_view"]


def screen_plan(agreement: Agreement) -> ScreenPlanView | None:
    """What a screen would try and open, at most; None of other runs."""
    model, walk = agreement.model, agreement.walk_forward
    if not isinstance(model, ScreenModel):
        return None
    alone, products = formulas(model, run_sizes(agreement))
    first, last = agreement.evaluation.first, agreement.evaluation.last
    begin = agreement.periods.index(first) if first in agreement.periods else 0
    end = agreement.periods.index(last) + 1 if last in agreement.periods else len(agreement.periods)
    # labels of the last periods are not known yet, and between the halves as many as overlap are left out
    known = max(0, min(end, len(agreement.periods) - walk.horizon) - begin)
    halves = max(0, known - (max(walk.horizon, 1) - 1 + walk.embargo)) // 2
    return ScreenPlanView(
        alone=alone,
        products=products,
        periods=len(agreement.periods),
        bits=SCREEN_BITS,
        halves=halves,
        level=model.level,
        hurdle=model.hurdle,
        lone_t=lone_t(alone + products, model.level, halves),
    )


def screen_view(agreement: Agreement, trained: Mapping[str, Any]) -> ScreenView | None:
    """A screen that is through. trained: what its label party reported; None where that says nothing of one."""
    counts = trained.get("screen")
    if counts is None:
        return None
    return ScreenView(**counts, periods=len(agreement.periods), bits=SCREEN_BITS)
