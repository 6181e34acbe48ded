"""The terms of a screen of formulas over private columns that every party signs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vfl.agreed import Terms

__all__ = ["FEWEST_PERIODS", "ScreenModel"]

FEWEST_PERIODS = 12
"""Periods with labels that each half of a screen needs: it chooses on one and confirms on the other."""


class ScreenModel(Terms):
    """A screen trains nothing: it opens sums over a period of label times terminal, and label times two terminals."""

    kind: Literal["screen"] = "screen"
    terminals: int = Field(
        default=100, ge=1, le=512, description="most terminals of a party: columns that it makes of its own at home"
    )
    level: float = Field(
        default=0.05, gt=0, le=0.5, description="false discoveries among all formulas (BHY), and errors of confirming"
    )
    hurdle: float = Field(default=3.0, ge=0, description="least absolute t of a formula that is named")

    @property
    def anchor(self) -> str:
        """Nobody: each pair of parties holds its own shares beside the label party."""
        return ""

    @property
    def opened_scores(self) -> int:
        """Label vectors that a row enters the sums with."""
        return 1

    @property
    def embedding_width(self) -> int:
        return 1

    @property
    def epochs(self) -> int:
        return 0

    @property
    def warmup_epochs(self) -> int:
        return 0

    @property
    def seed(self) -> int:
        """Nothing here is random that parties agree on."""
        return 0
