"""How a party expands its own columns into the terminals of a screen, ``[party.terminals]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vfl.agreed import Terms

__all__ = ["Operator", "TerminalSettings"]

Operator = Literal["difference", "mean", "deviation", "rank", "decay", "zscore", "ratio"]


class TerminalSettings(Terms):
    """What a screen's terminals are made of, at home; the other parties learn how many there are."""

    columns: tuple[str, ...] = Field(default=(), description="columns that are expanded; empty: all of the party's")
    operators: tuple[Operator, ...] = Field(
        default=("difference", "zscore", "mean", "deviation", "rank", "decay", "ratio"),
        description="applied over each window, beside the column as it is",
    )
    windows: tuple[int, ...] = Field(default=(3, 12), description="periods that an operator looks back over")

    @model_validator(mode="after")
    def _looks_back(self) -> TerminalSettings:
        if any(not 2 <= window <= 520 for window in self.windows):
            raise ValueError("terminals.windows are of 2 to 520 periods")
        return self
