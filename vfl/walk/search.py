"""What a run may search for, as everyone signs it: which keys of the model, how many trials, by which sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from vfl.terms import SplitModel, Terms

__all__ = ["DEFAULT_SPACE", "WHOLE_KEYS", "Choice", "SearchTerms", "with_choices"]

Value = float | int | str

_TOP = {
    "top", "hidden", "members", "top_steps", "top_learning_rate", "top_decay", "weight_decay", "ic_weight", "loss",
    "rank_temperature",
}  # fmt: skip
_SOURCE = {"source_learning_rate", "source_decay"}
WHOLE_KEYS = frozenset({"hidden", "members", "top_steps"})
"""Keys that take whole numbers."""


class Choice(Terms):
    """What one key of the model may become: a range with both ends, or a list of values."""

    low: float | None = None
    high: float | None = None
    log: bool = Field(default=False, description="draw evenly in the logarithm")
    values: tuple[Value, ...] = Field(default=(), description="in place of a range")

    @model_validator(mode="after")
    def _one_of_both(self) -> Choice:
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.values) or (self.low is None) != (self.high is None):
            raise ValueError("a choice has low and high, or values")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and not (self.low or 0) > 0:
            raise ValueError("log needs a range above 0")
        return self


DEFAULT_SPACE: Mapping[str, Choice] = {
    "top": Choice(values=("linear", "residual")),
    "hidden": Choice(low=4, high=32),
    "top_learning_rate": Choice(low=0.001, high=0.02, log=True),
    "weight_decay": Choice(low=1e-4, high=0.1, log=True),
    "ic_weight": Choice(low=0.0, high=1.0),
}


class SearchTerms(Terms):
    """A search of the split network. It chooses by periods before evaluation.first, and reports those from there on."""

    trials: int = Field(
        default=20, ge=1, le=10_000, description="top models tried on opened sums, the agreed one among them"
    )
    source_trials: int = Field(
        default=0, ge=0, le=64, description="trainings of the source layer tried, each with openings of its own"
    )
    sampler: Literal["tpe", "random"] = "tpe"
    prune_after: int = Field(
        default=0, ge=0, description="periods after which a trial below the median of earlier ones is stopped; 0: never"
    )
    seed: int = Field(default=0, ge=0)
    space: dict[str, Choice] = Field(default_factory=lambda: dict(DEFAULT_SPACE), description="by key of [model]")

    @model_validator(mode="after")
    def _known(self) -> SearchTerms:
        unknown = set(self.space) - _TOP - _SOURCE
        if unknown:
            raise ValueError(
                f"search.space names {sorted(unknown)}: only {', '.join(sorted(_TOP | _SOURCE))} can be searched, "
                "since other keys change what is opened or when"
            )
        if self.source_trials and not self.source_space:
            raise ValueError(f"search.source_trials need a key of {', '.join(sorted(_SOURCE))} in search.space")
        if self.trials > 1 and not self.top_space:
            raise ValueError(f"search.trials need a key of {', '.join(sorted(_TOP))} in search.space")
        losses = self.space.get("loss")
        if losses is not None and "softmax" in losses.values:
            raise ValueError("search.space.loss: softmax is for static data only")
        return self

    @property
    def top_space(self) -> dict[str, Choice]:
        """What a trial on opened sums may change."""
        return {key: choice for key, choice in sorted(self.space.items()) if key in _TOP}

    @property
    def source_space(self) -> dict[str, Choice]:
        """What a trial of the source layer may change."""
        return {key: choice for key, choice in sorted(self.space.items()) if key in _SOURCE}

    def openings(self, model: SplitModel) -> int:
        """Openings of a row that the source layer's trials need beyond the run's own."""
        return self.source_trials * (1 + model.epochs)


def with_choices(model: SplitModel, chosen: Mapping[str, Value]) -> SplitModel:
    """The model with these keys. Raises ValueError where they contradict each other."""
    whole = {key: int(value) if key in WHOLE_KEYS else value for key, value in chosen.items()}
    return SplitModel.model_validate(model.model_dump() | whole)
