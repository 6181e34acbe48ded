"""Terminals of a screen: what a party makes of its own columns at home, each a rank of its period in 8 bits.

A terminal is a column seen through one operator: as it is, against its own past, over a window. Every value of a period
is made from what was known by its cutoff and before it. Labels have no part, and names never leave the party.
The operators are pandas': ``diff``, ``rolling`` and ``ewm``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.panel import raw_panel
from parties.data.sources import party_sources
from parties.errors import ConfigError
from parties.settings.consortium import PartySettings
from parties.settings.terminals import Operator, TerminalSettings
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import Calendar
from vfl.models.screen.numbers import RANK_TOP

__all__ = [
    "Terminals",
    "cross_sectional_ranks",
    "kept_terminals",
    "named_terminals",
    "read_named",
    "read_terminals",
    "terminals_of",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_OPERATORS: dict[Operator, tuple[str, Callable[[pd.DataFrame, int], pd.DataFrame]]] = {
    "difference": ("change of {} over {}", lambda x, w: x.diff(w)),
    "mean": ("mean of {} over {}", lambda x, w: x.rolling(w, min_periods=_least(w)).mean()),
    "deviation": ("deviation of {} over {}", lambda x, w: x.rolling(w, min_periods=_least(w)).std()),
    "rank": ("rank of {} among its last {}", lambda x, w: x.rolling(w, min_periods=_least(w)).rank()),
    "decay": ("mean of {} decaying over {}", lambda x, w: x.ewm(span=w, min_periods=_least(w)).mean()),
    "zscore": ("z-score of {} against its last {}", lambda x, w: _ratio(x - _mean(x, w), _deviation(x, w))),
    "ratio": ("ratio of {} to its mean over {}", lambda x, w: _ratio(x, _mean(x, w))),
}


@dataclass(frozen=True)
class Terminals:
    """names: in words, for this party's people alone. ranks: int64 (T, n, m). left_out: made, and beyond the most.

    covered: bool (T, n), False where ranks are drawn in the place of a row that the party does not have; None: nowhere.
    """

    names: tuple[str, ...]
    ranks: Ints
    left_out: int
    covered: NDArray[np.bool_] | None = None

    @property
    def held(self) -> Ints:
        """The ranks of rows that the party has, 0 elsewhere: what is drawn is new each period, and tells nothing."""
        return self.ranks if self.covered is None else np.where(self.covered[:, :, None], self.ranks, 0)


def read_terminals(
    settings: PartySettings,
    folder: Path,
    data: Path,
    calendar: Calendar,
    entities: Sequence[str],
    most: int,
    *,
    absent: SecretStream | None = None,
) -> Terminals:
    """A party's terminals over (calendar, aligned entities). Raises ConfigError or DataError, as reading data does.

    absent: where nobody is to tell which entities the party does not cover, what their ranks are drawn from.
    """
    seen = raw_panel(settings, party_sources(settings, folder, data), calendar, entities)
    made = terminals_of(seen.values, settings.own_columns, settings.terminals, most)
    if absent is None:
        return made
    filled = np.where(seen.covered[:, :, None], made.ranks, _drawn(absent, made.ranks.shape))
    return Terminals(made.names, filled, made.left_out, seen.covered)


def terminals_of(raw: Floats, columns: tuple[str, ...], terms: TerminalSettings, most: int) -> Terminals:
    """Of raw as-of values (T, n, d), NaN where missing; at most ``most``, every column's simplest first.

    One that never varies, or ranks as another does, is passed over.
    """
    names: list[str] = []
    ranks: list[Ints] = []
    seen: set[bytes] = set()
    more = 0
    for name, values in _made(raw, columns, terms):
        found = cross_sectional_ranks(values)
        digest = found.tobytes()
        if not found.any() or digest in seen:
            continue
        seen.add(digest)
        if len(names) == most:
            more += 1
            continue
        names.append(name)
        ranks.append(found)
    made = np.stack(ranks, axis=2) if ranks else np.zeros((*raw.shape[:2], 0), dtype=np.int64)
    return Terminals(tuple(names), made, more)


def kept_terminals(raw: Floats, columns: tuple[str, ...], terms: TerminalSettings) -> Floats:
    """``terms.keep`` of raw as-of values (T, n, d), as float64 (T, n, k): ranks from -1 to 1, NaN where missing.

    Raises :class:`ConfigError` for a name that is none of this party's terminals.
    """
    made = set(named_terminals(columns, terms))
    for name in terms.keep:
        if name not in made:
            raise ConfigError(
                f"terminals.keep names {name!r}, which these columns, operators and windows do not make: copy it from "
                "entente run screen, without a minus"
            )
    return _ranked(raw, columns, terms, terms.keep)


def read_named(
    settings: PartySettings,
    folder: Path,
    data: Path,
    calendar: Calendar,
    entities: Sequence[str],
    names: Sequence[str],
    *,
    absent: SecretStream | None = None,
) -> Floats:
    """Terminals of these names (T, n, k), each of :func:`named_terminals`: ranks from -1 to 1, 0 where missing.

    absent: as for :func:`read_terminals`, whose errors are raised too.
    """
    seen = raw_panel(settings, party_sources(settings, folder, data), calendar, entities)
    ranks = np.nan_to_num(_ranked(seen.values, settings.own_columns, settings.terminals, names))
    return (
        ranks if absent is None else np.where(seen.covered[:, :, None], ranks, _drawn(absent, ranks.shape) / RANK_TOP)
    )


def named_terminals(columns: tuple[str, ...], terms: TerminalSettings) -> tuple[str, ...]:
    """Names of all terminals that these columns could make, in the order in which a screen takes them."""
    chosen = terms.columns or columns
    made = [
        _OPERATORS[o][0].format(name, f"{w} periods") for w in terms.windows for o in terms.operators for name in chosen
    ]
    return (*chosen, *made)


def _ranked(raw: Floats, columns: tuple[str, ...], terms: TerminalSettings, names: Sequence[str]) -> Floats:
    found = {name: values for name, values in _made(raw, columns, terms) if name in names}
    kept = [np.where(np.isfinite(found[name]), cross_sectional_ranks(found[name]), np.nan) for name in names]
    whole: Floats = np.stack(kept, axis=2) / RANK_TOP
    return whole


def _drawn(absent: SecretStream, shape: tuple[int, ...]) -> Ints:
    """Ranks of rows that a party does not have."""
    return absent.below(2 * RANK_TOP + 1, math.prod(shape)).astype(np.int64).reshape(shape) - RANK_TOP


def _made(raw: Floats, columns: tuple[str, ...], terms: TerminalSettings) -> Iterator[tuple[str, Floats]]:
    frames = {name: pd.DataFrame(raw[:, :, place]) for place, name in enumerate(columns)}
    chosen = {name: frames[name] for name in terms.columns or columns}
    for name, frame in chosen.items():
        yield name, frame.to_numpy()
    for window in terms.windows:
        for operator in terms.operators:
            words, made = _OPERATORS[operator]
            for name, frame in chosen.items():
                yield words.format(name, f"{window} periods"), made(frame, window).to_numpy()


def cross_sectional_ranks(values: Floats) -> Ints:
    """Ranks (T, n) of each period, -127 to 127, ties their mean; 0 where missing, and where nothing varies."""
    finite = pd.DataFrame(np.where(np.isfinite(values), values, np.nan))
    place = finite.rank(axis=1).to_numpy()
    count = np.isfinite(place).sum(axis=1, keepdims=True)
    centred = (2 * place - (count + 1)) / np.maximum(count - 1, 1)
    found: Ints = np.rint(np.nan_to_num(centred * RANK_TOP)).astype(np.int64)
    return found


def _least(window: int) -> int:
    return max(2, window // 2)


def _mean(x: pd.DataFrame, window: int) -> pd.DataFrame:
    return x.rolling(window, min_periods=_least(window)).mean()


def _deviation(x: pd.DataFrame, window: int) -> pd.DataFrame:
    return x.rolling(window, min_periods=_least(window)).std()


def _ratio(above: pd.DataFrame, below: pd.DataFrame) -> pd.DataFrame:
    return above / below.where(below.abs() > 1e-12)
