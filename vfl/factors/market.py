"""What a fund knows beside the factor: prices, sectors, sizes, volumes, known factors. All of it is optional.

Everything lies on the factor's grid of T decision periods and n instruments. What is missing leaves checks out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["COLUMNS", "MarketData", "market_data", "on_grid"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS = {
    "price": "price at which a decision of that datetime is traded: the first one after the score is available",
    "sector": "sector or industry name as known then",
    "cap": "market capitalisation, any currency",
    "beta": "market beta as estimated then",
    "volatility": "standard deviation of daily returns as estimated then, as a fraction",
    "dollar_volume": "average value traded per day, in the currency of the capacity curve",
}
_PREFIXES = {"style_": "any style exposure", "library_": "a known factor's score"}


@dataclass(frozen=True)
class MarketData:
    """Each float64 (T, n), NaN where unknown; ``sectors`` int64 (T, n), -1 where unknown. None: not given.

    prices: tradable after the period's decision, so the return of period t is ``prices[t + 1] / prices[t] - 1``.
    caps, betas, volatility, dollar_volume: as in :data:`COLUMNS`. styles, library: exposures and known factors by name.
    """

    prices: Floats | None = None
    sectors: Ints | None = None
    caps: Floats | None = None
    betas: Floats | None = None
    volatility: Floats | None = None
    dollar_volume: Floats | None = None
    styles: Mapping[str, Floats] = field(default_factory=dict)
    library: Mapping[str, Floats] = field(default_factory=dict)

    def require_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError, naming the field, where one is not of the factor's shape (T, n), or has no such value."""
        fields = {
            "prices": self.prices,
            "sectors": self.sectors,
            "caps": self.caps,
            "betas": self.betas,
            "volatility": self.volatility,
            "dollar_volume": self.dollar_volume,
            **{f"style {name!r}": values for name, values in self.styles.items()},
            **{f"library factor {name!r}": values for name, values in self.library.items()},
        }
        for name, values in fields.items():
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} has shape {values.shape}, the factor {shape}: put both on one grid")
            if name != "sectors" and values is not None and bool(np.isinf(values).any()):
                raise ValueError(f"{name} has an infinite value: leave it NaN where there is none")
        for name, values in {"price": self.prices, "market capitalisation": self.caps}.items():
            if values is not None and bool((values <= 0).any()):
                raise ValueError(f"a {name} is zero or negative: leave it NaN where there is none")
        for name, values in {"volatility": self.volatility, "dollar volume": self.dollar_volume}.items():
            if values is not None and bool((values < 0).any()):
                raise ValueError(f"a {name} is negative: leave it NaN where there is none")

    @property
    def returns(self) -> Floats | None:
        """Return of holding from one decision's trade to the next, float64 (T, n); the last period is NaN."""
        if self.prices is None:
            return None
        ahead = np.full_like(self.prices, np.nan)
        ahead[:-1] = self.prices[1:] / self.prices[:-1] - 1
        return ahead


def on_grid(values: pd.Series, dates: pd.DatetimeIndex, instruments: Sequence[str]) -> Floats:
    """A series by (datetime, instrument) as float64 (T, n), NaN where it has no row; rows off the grid are dropped.

    Raises ValueError on another index and on a repeated row, naming it.
    """
    if list(values.index.names) != ["datetime", "instrument"]:
        raise ValueError(f"the index must be (datetime, instrument), not {tuple(values.index.names)}")
    twice = values.index.duplicated()
    if twice.any():
        when, name = values.index[int(np.argmax(twice))]
        raise ValueError(f"{name} has two rows on {when:%Y-%m-%d}: keep one")
    row = dates.get_indexer(pd.DatetimeIndex(values.index.get_level_values("datetime")))
    column = pd.Index(instruments).get_indexer(values.index.get_level_values("instrument").astype(str))
    inside = (row >= 0) & (column >= 0)
    grid = np.full((len(dates), len(instruments)), np.nan)
    grid[row[inside], column[inside]] = values.to_numpy(dtype=np.float64, na_value=np.nan)[inside]
    return grid


def market_data(frame: pd.DataFrame, dates: pd.DatetimeIndex, instruments: Sequence[str]) -> MarketData:
    """From one long frame by (datetime, instrument) whose columns are those of :data:`COLUMNS`, style_* and library_*.

    Raises ValueError on a column that is none of these, and as :func:`on_grid` does.
    """
    named = {prefix: [c for c in frame.columns if str(c).startswith(prefix)] for prefix in _PREFIXES}
    strange = [c for c in frame.columns if c not in COLUMNS and not any(c in found for found in named.values())]
    if strange:
        raise ValueError(f"column {strange[0]!r} is unknown; use {', '.join(COLUMNS)}, style_... or library_...")
    grids = {
        name: on_grid(frame[name], dates, instruments) for name in COLUMNS if name in frame.columns and name != "sector"
    }
    sectors: Ints | None = None
    if "sector" in frame.columns:
        codes, _ = pd.factorize(frame["sector"], sort=True)
        coded = on_grid(pd.Series(codes.astype(np.float64), index=frame.index), dates, instruments)
        sectors = np.where(np.isnan(coded), -1, coded).astype(np.int64)
    made = MarketData(
        prices=grids.get("price"),
        sectors=sectors,
        caps=grids.get("cap"),
        betas=grids.get("beta"),
        volatility=grids.get("volatility"),
        dollar_volume=grids.get("dollar_volume"),
        styles={c[6:]: on_grid(frame[c], dates, instruments) for c in named["style_"]},
        library={c[8:]: on_grid(frame[c], dates, instruments) for c in named["library_"]},
    )
    made.require_shape((len(dates), len(instruments)))
    return made
