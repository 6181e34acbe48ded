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
    keep: tuple[str, ...] = Field(
        default=(),
        max_length=64,
        description="terminals, as entente run screen names them, that are columns term_0, ... of this party in a run",
    )

    @model_validator(mode="after")
    def _looks_back(self) -> TerminalSettings:
        if any(not 2 <= window <= 520 for window in self.windows):
            raise ValueError("terminals.windows are of 2 to 520 periods")
        if len(set(self.keep)) != len(self.keep):
            raise ValueError("terminals.keep names a terminal twice")
        return self

    @property
    def output_columns(self) -> tuple[str, ...]:
        """Columns that are kept terminals; their names say nothing."""
        return tuple(f"term_{k}" for k in range(len(self.keep)))

    @property
    def declared(self) -> tuple[str, ...]:
        """What the other parties sign of them."""
        if not self.keep:
            return ()
        last = "" if len(self.keep) == 1 else f" to {self.output_columns[-1]}"
        return (
            f"term_0{last}: ranks within a period of this party's own columns over up to {max(self.windows)} periods, "
            "kept after a screen, so chosen by labels of its periods",
        )
