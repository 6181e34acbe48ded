"""What a check says: numbers that carry their definition, series to draw, what was left out, and warnings by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfl.factors.hac import HacMean

__all__ = ["Findings", "Number", "Series", "Warn", "hac_numbers"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Number:
    """One number; NaN where it is undefined. ``n`` is the sample it rests on, in what ``definition`` counts."""

    value: float
    definition: str
    unit: str
    n: int

    @property
    def why_undefined(self) -> str:
        """Why it could not be computed, in a few words; "" where it could."""
        if not math.isnan(self.value):
            return ""
        if not self.n:
            return "there is nothing to compute it from"
        if self.n == 1:
            return "one alone has no standard error, and nothing to vary against"
        if self.unit == "t statistic" or self.definition.startswith(("lower end", "upper end")):
            return "what it rests on is all alike, so there is no standard error"
        return "what it rests on is too little, or does not vary"

    @property
    def explained(self) -> str:
        """The definition, after the reason where the number could not be computed."""
        why = self.why_undefined
        return f"Not computed: {why}. {self.definition}" if why else self.definition

    def record(self) -> dict[str, Any]:
        """As plain JSON values; an undefined number is None."""
        return {"value": _finite(self.value), "definition": self.definition, "unit": self.unit, "n": self.n}


@dataclass(frozen=True)
class Series:
    """Values over periods, lags, quantiles or amounts; ``low`` and ``high`` bound them where a band is known."""

    x: tuple[str, ...]
    y: tuple[float, ...]
    definition: str
    unit: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.y) == len(self.x)
        assert len(self.low) == len(self.high)
        assert len(self.low) in {0, len(self.x)}

    @classmethod
    def of(cls, x: Sequence[str], y: Floats | Sequence[float], definition: str, unit: str) -> Series:
        """A series without a band, from any sequence."""
        return cls(tuple(x), tuple(float(value) for value in y), definition, unit)

    def record(self) -> dict[str, Any]:
        """As plain JSON values; an undefined number is None."""
        made = {"x": list(self.x), "y": [_finite(v) for v in self.y], "definition": self.definition, "unit": self.unit}
        if self.low:
            made |= {"low": [_finite(v) for v in self.low], "high": [_finite(v) for v in self.high]}
        return made


@dataclass(frozen=True)
class Warn:
    """Something a reader must not miss. ``name`` is one of a few fixed words, ``text`` says why and what to do."""

    name: str
    text: str


@dataclass(frozen=True)
class Findings:
    """Results of one or several checks. numbers: section -> name -> number. left_out: check -> reason."""

    numbers: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Warn, ...] = ()

    def __or__(self, other: Findings) -> Findings:
        """Both; a section that is in both holds the numbers of both."""
        numbers = {name: dict(inner) for name, inner in self.numbers.items()}
        for name, inner in other.numbers.items():
            numbers[name] = numbers.get(name, {}) | dict(inner)
        return Findings(
            numbers,
            {**self.series, **other.series},
            {**self.left_out, **other.left_out},
            (*self.warnings, *other.warnings),
        )

    def first(self, name: str) -> Findings:
        """The same, with the warnings of this name before all others."""
        return replace(self, warnings=tuple(sorted(self.warnings, key=lambda warning: warning.name != name)))

    def value(self, section: str, name: str) -> float:
        """One number's value."""
        return self.numbers[section][name].value

    def warned(self, name: str) -> bool:
        """Whether there is a warning of this name."""
        return any(warning.name == name for warning in self.warnings)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "numbers": {s: {name: n.record() for name, n in inner.items()} for s, inner in self.numbers.items()},
            "series": {name: series.record() for name, series in self.series.items()},
            "left_out": dict(self.left_out),
            "warnings": [{"name": w.name, "text": w.text} for w in self.warnings],
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Findings:
        """The findings of :meth:`record`. Raises ValueError on anything else."""
        try:
            return cls(
                {
                    section: {name: Number(**(n | {"value": _number(n["value"])})) for name, n in inner.items()}
                    for section, inner in record["numbers"].items()
                },
                {
                    name: Series(**{k: _column(k, v) for k, v in series.items()})
                    for name, series in record["series"].items()
                },
                dict(record["left_out"]),
                tuple(Warn(**warning) for warning in record["warnings"]),
            )
        except (KeyError, TypeError, AttributeError, AssertionError):
            raise ValueError("these are not the findings of a validation: make them again") from None


def hac_numbers(name: str, mean: HacMean, definition: str, unit: str) -> dict[str, Number]:
    """A mean over periods as four numbers: ``name``, its t, and both ends of its interval."""
    n = mean.n_periods
    return {
        name: Number(mean.mean, definition, unit, n),
        f"{name}_t": Number(mean.t, mean.definition, "t statistic", n),
        f"{name}_low": Number(mean.low, "lower end of the 95 % interval; " + mean.definition, unit, n),
        f"{name}_high": Number(mean.high, "upper end of the 95 % interval; " + mean.definition, unit, n),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _column(name: str, value: Any) -> Any:
    if name in {"y", "low", "high"}:
        return tuple(_number(v) for v in value)
    return tuple(value) if name == "x" else value
