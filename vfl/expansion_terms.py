"""The terms of an expansion: what it makes, which the members of a group agree on, and how one party fits its own."""

from __future__ import annotations

import re

from pydantic import Field, ValidationError, model_validator

from vfl.agreed import Terms

__all__ = ["ExpansionSettings", "ExpansionShape", "declared_expansion"]

_IN_A_GROUP = re.compile(
    r"exp_0 to exp_\d{1,4}: of ([^:;]+): (sign and hinge of each)?(?:; )?"
    r"(?:(?:(\d{1,4}) random Fourier features)?(?:, )?(?:(\d{1,2}) bins of each)?, "
    r"reduced to (\d{1,3}) whitened columns; fitted without labels by the members of group "
    r"([a-z0-9_-]+) together, on the first (\d{1,6}) periods, then frozen|agreed by group ([a-z0-9_-]+) together)"
)


class ExpansionShape(Terms):
    """Fixed functions of a party's own columns, made without labels, as columns exp_0, ...

    Signs and hinges come first, two of each column; then ``outputs`` columns of trees, Fourier features and bins.
    """

    trees: int = Field(default=0, ge=0, le=1000, description="trees cut at random, whose leaves become columns")
    depth: int = Field(default=3, ge=1, le=8, description="of a tree: at most 2**depth leaves")
    fourier: int = Field(default=0, ge=0, le=2000, description="random Fourier features of all columns together")
    bins: int = Field(default=0, ge=0, le=64, description="bins per column, of equal counts; 0: none")
    hinges: bool = Field(default=False, description="sign and hinge max(x, 0) of each column's score")
    outputs: int = Field(
        default=16, ge=1, le=256, description="whitened columns that trees, Fourier features and bins are reduced to"
    )
    columns: tuple[str, ...] = Field(default=(), description="columns it reads; empty: all of the party's")
    fit_periods: int = Field(
        default=8, ge=1, description="first periods of the calendar that it is fitted on; what is fitted is empty there"
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _something(self) -> ExpansionShape:
        if not (self.hinges or self.fits):
            raise ValueError("expand makes nothing: set trees, fourier, bins or hinges, or take the table away")
        if self.bins == 1:
            raise ValueError("one bin holds everything: set expand.bins to 2 or more")
        return self

    @property
    def fits(self) -> bool:
        """Whether anything is fitted on the first periods."""
        return bool(self.trees or self.fourier or self.bins)

    def read(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns it reads, of the party's."""
        return self.columns or columns

    def width(self, columns: int) -> int:
        """Fourier features and bins of so many columns, before they are reduced."""
        return self.fourier + self.bins * columns

    def output_columns(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns it makes of the party's."""
        made = 2 * len(self.read(columns)) * self.hinges + self.outputs * self.fits
        return tuple(f"exp_{k}" for k in range(made))

    def told(self, columns: tuple[str, ...], fitted: str) -> str:
        """Its columns and what they are made of, in words; ``fitted``: by whom and on what."""
        made = self.output_columns(columns)
        parts = []
        if self.hinges:
            parts.append("sign and hinge of each")
        if self.fits:
            kinds = (
                (self.trees, f"the leaves of {self.trees} random trees of depth {self.depth}"),
                (self.fourier, f"{self.fourier} random Fourier features"),
                (self.bins, f"{self.bins} bins of each"),
            )
            named = ", ".join(words for used, words in kinds if used)
            parts.append(f"{named}, reduced to {self.outputs} whitened columns; {fitted}")
        return f"{made[0]} to {made[-1]}: of {', '.join(self.read(columns))}: {'; '.join(parts)}"


class ExpansionSettings(ExpansionShape):
    """Fixed functions of this party's own columns, made at home without labels, as columns exp_0, ...

    Signs and hinges come first, two of each column; then ``outputs`` columns of trees, Fourier features and bins. These
    are fitted on the party's own first periods, or, with ``group``, on those of all members of a group.
    """

    group: str = Field(
        default="",
        max_length=32,
        description="the [[group]] that fits it, by sums over its members, with its [group.expand]: a run without that "
        "group is refused",
    )

    @property
    def shape(self) -> ExpansionShape:
        """What the members of a group agree on."""
        return ExpansionShape(**{name: getattr(self, name) for name in ExpansionShape.model_fields})

    def declared(self, columns: tuple[str, ...]) -> str:
        """What the other parties sign of it: where exp_0, ... come from, and what it may have seen."""
        if self.group:
            fitted = (
                f"fitted without labels by the members of group {self.group} together, on the first "
                f"{self.fit_periods} periods, then frozen"
            )
            # hinges are fitted on nothing, and are the group's all the same
            return self.told(columns, fitted) + ("" if self.fits else f"; agreed by group {self.group} together")
        fitted = (
            f"fitted without labels on this party's first {self.fit_periods} periods, then frozen; seed {self.seed}"
        )
        return self.told(columns, fitted)


def declared_expansion(declared: str) -> tuple[str, ExpansionShape] | None:
    """The group and the shape that an expansion declares, all columns that it reads named; None where no group fits it.

    What :meth:`ExpansionSettings.declared` says of a member of a group, read back. The seed is not told.
    """
    found = _IN_A_GROUP.fullmatch(declared)
    if found is None:
        return None
    columns, hinges, fourier, bins, outputs, fitted_by, fitted, agreed_by = found.groups()
    shape: dict[str, object] = {"hinges": bool(hinges), "columns": tuple(columns.split(", "))}
    if outputs:
        shape |= {"fourier": int(fourier or 0), "bins": int(bins or 0), "outputs": int(outputs)}
        shape |= {"fit_periods": int(fitted)}
    try:
        return fitted_by or agreed_by, ExpansionShape.model_validate(shape)
    except ValidationError:
        return None
