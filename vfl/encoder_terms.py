"""The terms of a sequence encoder: its shape, which the members of a group agree on, and how one party fits its own."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from vfl.agreed import Terms

__all__ = ["EncoderSettings", "EncoderShape", "declared_group"]

_IN_A_GROUP = re.compile(
    r"enc_0 to enc_(\d{1,3}): (lstm|transformer) encoder \((masked|next) task\) over (\d{1,4}) periods of (.+), with "
    r"(\d{1,4}) hidden units, hiding ([0-9.e-]{1,12}) of a window; trained without labels by the members of group "
    r"([a-z0-9_-]+) together, on the first (\d{1,6}) periods, then frozen"
)


class EncoderShape(Terms):
    """What an encoder is, whoever trains it."""

    kind: Literal["lstm", "transformer"] = Field(default="lstm", description="lstm: with attention over its steps")
    task: Literal["masked", "next"] = Field(
        default="masked", description="what it is trained to restore: hidden periods of a window, or the one after it"
    )
    columns: tuple[str, ...] = Field(default=(), description="columns it reads; empty: all of the party's")
    window: int = Field(default=12, ge=3, le=260, description="decision periods it looks back over")
    outputs: int = Field(default=4, ge=1, le=32, description="columns it makes")
    hidden: int = Field(default=16, ge=2, le=256, multiple_of=2)
    fit_periods: int = Field(
        default=26, ge=4, description="first periods of the calendar that it is fitted on; it makes no codes for these"
    )
    masked_share: float = Field(default=0.25, gt=0, lt=1, description="of a window's periods that are hidden")

    @property
    def output_columns(self) -> tuple[str, ...]:
        """The columns it makes."""
        return tuple(f"enc_{k}" for k in range(self.outputs))

    def numbers(self, columns: int, *, whole: bool = True) -> int:
        """Weights of an encoder of so many columns; without ``whole`` those that restore values are left out."""
        width, hidden = 2 * columns, self.hidden
        if self.kind == "lstm":
            reader = 4 * hidden * (width + hidden + 2)
        else:
            entry, places = (width + 1) * hidden, self.window * hidden
            # queries, keys, values and their joint; two layers through twice the width; two norms
            reader = entry + places + 4 * hidden * (hidden + 1) + 4 * hidden * hidden + 3 * hidden + 4 * hidden
        code = hidden * (hidden + 2) + (hidden + 1) * self.outputs
        decoder = (self.outputs + 1) * hidden + (hidden + 1) * 3 * columns
        return reader + code + (decoder if whole else 0)

    def told(self, columns: tuple[str, ...]) -> str:
        """Its columns, and what it reads, in words."""
        return (
            f"{self.output_columns[0]} to {self.output_columns[-1]}: {self.kind} encoder ({self.task} task) over "
            f"{self.window} periods of {', '.join(self.columns or columns)}"
        )


class EncoderSettings(EncoderShape):
    """A sequence encoder of this party's columns, trained without labels; its codes are columns enc_0, ...

    It is trained on the party's own history alone, or, with ``group``, together with members of the same columns.
    """

    refit_every: int = Field(
        default=0, ge=0, description="periods after which it trains on, on all before; 0: fitted once, then frozen"
    )
    steps: int = Field(default=400, ge=1, le=100_000, description="optimiser steps of a fit")
    batch_rows: int = Field(default=256, ge=1, le=65_536)
    learning_rate: float = Field(default=0.005, gt=0)
    seed: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="cuda is faster and need not repeat to the last bit, as going on after a crash needs"
    )
    group: str = Field(
        default="",
        max_length=32,
        description="the [[group]] that trains it, by the rounds that the run agrees on: steps, batch_rows, "
        "learning_rate, seed and refit_every have no part then, and a run without that group is refused",
    )

    @model_validator(mode="after")
    def _trained_once(self) -> EncoderSettings:
        if self.group and self.refit_every:
            raise ValueError(
                "members of a group train their encoder once, before anything else: set encoder.refit_every = 0, or "
                "take encoder.group away"
            )
        if self.group and self.device != "cpu":
            raise ValueError('an encoder that a group trains runs on encoder.device = "cpu": leave device out')
        return self

    @property
    def shape(self) -> EncoderShape:
        """What the members of a group agree on."""
        return EncoderShape(**{name: getattr(self, name) for name in EncoderShape.model_fields})

    def declared(self, columns: tuple[str, ...]) -> str:
        """What the other parties sign of it: where enc_0, ... come from, and what it may have seen."""
        if self.group:
            return (
                f"{self.told(columns)}, with {self.hidden} hidden units, hiding {self.masked_share:g} of a window; "
                f"trained without labels by the members of group {self.group} together, on the first "
                f"{self.fit_periods} periods, then frozen"
            )
        fitted = f"then refitted every {self.refit_every} on all before" if self.refit_every else "then frozen"
        return (
            f"{self.told(columns)}; fitted without labels on this party's "
            f"first {self.fit_periods} periods, {fitted}; seed {self.seed}"
        )


def declared_group(declared: str) -> tuple[str, EncoderShape] | None:
    """The group and the shape that an encoder declares, all columns that it reads named; None where no group trains it.

    What :meth:`EncoderSettings.declared` says of a member of a group, read back.
    """
    found = _IN_A_GROUP.fullmatch(declared)
    if found is None:
        return None
    last, kind, task, window, columns, hidden, share, name, fitted = found.groups()
    shape = {
        "kind": kind, "task": task, "columns": tuple(columns.split(", ")), "window": int(window),
        "outputs": int(last) + 1, "hidden": int(hidden), "fit_periods": int(fitted),
    }  # fmt: skip
    try:
        return name, EncoderShape.model_validate({**shape, "masked_share": float(share)})
    except (ValidationError, ValueError):
        return None
