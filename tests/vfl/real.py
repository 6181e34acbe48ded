"""The public data sets as factors on a grid: pooled ridge scores, labels, and what a market knows beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from tests.places import SHARED_DATA
from vfl.factors.market import MarketData
from vfl.models.ridge.moments import moments_of, solve_ridge

INDIA = SHARED_DATA / "india_districts" / "reference_centralised_panel.parquet"
SP500 = SHARED_DATA / "sp500_daily" / "ohlcv.parquet"

WINDOWS = (5, 21, 63, 126, 252)
FUNDS = {
    "momentum": (*(f"mom_{k}" for k in WINDOWS), *(f"move_{k}" for k in WINDOWS)),
    "volatility": tuple(f"vol_{k}" for k in WINDOWS),
    "range": tuple(f"rng_{k}" for k in WINDOWS),
    "liquidity": ("dollar_21", "dollar_126", "amihud_21", "amihud_126"),
}
HORIZON = 5  # weekly stamps until a label of 21 days is over
_FIRST_STAMP = 260


@dataclass(frozen=True)
class Stocks:
    """Weekly stamps of the S&P 500 members. features: float64 (T, n) by name, z-scored per stamp, 0 where missing."""

    dates: pd.DatetimeIndex
    names: tuple[str, ...]
    features: dict[str, np.ndarray]
    volatility: np.ndarray  # label: log mean absolute daily return of the 21 days ahead, z-scored per stamp
    returns: np.ndarray  # label: return over the 21 days ahead, z-scored per stamp
    known_from: np.ndarray
    market: MarketData
    test: np.ndarray  # bool (T,): stamps from 2016-01-04 on


def z(frame: pd.DataFrame) -> pd.DataFrame:
    """Per row: clipped at 1 and 99 %, zero mean, unit variance; NaN stays."""
    cut = frame.clip(lower=frame.quantile(0.01, axis=1), upper=frame.quantile(0.99, axis=1), axis=0)
    return cut.sub(cut.mean(axis=1), axis=0).div(cut.std(axis=1, ddof=0), axis=0)


def log(frame: pd.DataFrame) -> pd.DataFrame:
    """Logarithm of what is positive, NaN elsewhere."""
    return np.log(frame.where(frame > 0))


@cache
def sp500() -> Stocks:
    """The cast of the data's README, with features made here from prices and volumes up to each stamp's close."""
    table = pd.read_parquet(SP500)
    wide = {
        c: table.pivot(index="date", columns="ticker", values=c).astype(np.float64)
        for c in ("high", "low", "close", "volume")
    }
    close, volume = wide["close"], wide["volume"]
    days = pd.DatetimeIndex(pd.to_datetime(close.index))
    returns, span, dollars = log(close).diff(), log(wide["high"] / wide["low"]), close * volume

    def mean(frame: pd.DataFrame, k: int) -> pd.DataFrame:
        return frame.rolling(k, min_periods=int(0.8 * k)).mean()

    raw = {f"mom_{k}": log(close).diff(k) for k in WINDOWS}
    raw |= {f"move_{k}": raw[f"mom_{k}"].abs() for k in WINDOWS}
    raw |= {f"vol_{k}": log(returns.rolling(k, min_periods=int(0.8 * k)).std()) for k in WINDOWS}
    raw |= {f"rng_{k}": log(mean(span, k)) for k in WINDOWS}
    raw |= {f"dollar_{k}": log(mean(dollars, k)) for k in (21, 126)}
    raw |= {f"amihud_{k}": log(mean(returns.abs() / dollars.where(dollars > 0), k)) for k in (21, 126)}
    stamps = np.arange(_FIRST_STAMP, len(days) - 1, 5)

    def at(frame: pd.DataFrame) -> np.ndarray:
        return frame.iloc[stamps].to_numpy(dtype=np.float64)

    sectors = pd.read_csv(SP500.parent / "sector_table_constituents.csv", keep_default_na=False)
    sector = sectors.set_index("Symbol")["GICS Sector"].reindex(close.columns)
    codes = np.where(sector.isna(), -1, pd.factorize(sector, sort=True)[0])
    periods, count = len(stamps), close.shape[1]
    return Stocks(
        dates=days[stamps],
        names=tuple(close.columns),
        features={name: np.nan_to_num(at(z(values))) for name, values in raw.items()},
        volatility=at(z(log(returns.abs().rolling(21).mean().shift(-21)))),
        returns=at(z(log(close).diff(21).shift(-21))),
        known_from=np.repeat(np.minimum(np.arange(periods) + HORIZON, periods)[:, None], count, axis=1),
        market=MarketData(
            prices=at(close.shift(-1)),  # traded a day after the stamp
            sectors=np.repeat(codes[None, :], periods, axis=0).astype(np.int64),
            volatility=at(returns.rolling(63, min_periods=40).std()),
            dollar_volume=at(mean(dollars, 21)),
            styles={"reversal": -at(raw["mom_5"])},
            library={"momentum 252": at(raw["mom_252"]), "volatility 63": at(raw["vol_63"])},
        ),
        test=np.asarray(days[stamps] >= "2016-01-04"),
    )


def stocks_ridge(stocks: Stocks, columns: tuple[str, ...], label: np.ndarray, alpha: float = 100.0) -> np.ndarray:
    """Scores (T, n) on the test stamps of a ridge fitted on stamps before 2016-01-04, less 21 days of embargo."""
    x = np.stack([stocks.features[name] for name in columns], axis=2)
    first = int(np.argmax(stocks.test))
    fit = (np.arange(len(label)) < first - HORIZON)[:, None] & np.isfinite(label)
    solution = solve_ridge(moments_of(x[fit], label[fit]), alpha)
    scores = x @ solution.coefficients + solution.intercept
    priced = np.isfinite(stocks.market.prices)
    return np.where(stocks.test[:, None] & priced, scores, np.nan)


@dataclass(frozen=True)
class Districts:
    """India's districts by quarter: columns (T, n) by party, NaN where a district is not in the panel."""

    periods: tuple[str, ...]
    names: tuple[str, ...]
    columns: dict[str, np.ndarray]  # party -> (T, n, d)
    names_of: dict[str, tuple[str, ...]]
    label: np.ndarray


@cache
def india() -> Districts:
    """The pooled reference panel on a grid."""
    table = pd.read_parquet(INDIA)
    periods, names = tuple(sorted(table["quarter"].unique())), tuple(sorted(table["id"].unique()))
    index = pd.MultiIndex.from_product([periods, names], names=["quarter", "id"])
    whole = table.set_index(["quarter", "id"]).reindex(index)
    shape = (len(periods), len(names))
    names_of = {
        party: tuple(c for c in table.columns if c.startswith(prefix))
        for party, prefix in (("satellite", "sat_"), ("payments", "pay_"), ("app", "app_"), ("bank", "bnk_"))
    }
    columns = {
        party: whole[list(cols)].to_numpy(dtype=np.float64).reshape(*shape, len(cols))
        for party, cols in names_of.items()
    }
    return Districts(periods, names, columns, names_of, whole["label_credit_yoy_cs"].to_numpy().reshape(shape))


def india_ridge(x: np.ndarray, label: np.ndarray, first: int, alpha: float = 300.0) -> np.ndarray:
    """Expanding walk-forward ridge scores (T, n) from period ``first`` on, as the data's README says."""
    scores = np.full(label.shape, np.nan)
    present = np.isfinite(label) & np.isfinite(x).all(axis=2)
    for t in range(first, len(label)):
        fit = present.copy()
        fit[t:] = False
        solution = solve_ridge(moments_of(x[fit], label[fit]), alpha)
        scores[t, present[t]] = x[t, present[t]] @ solution.coefficients + solution.intercept
    return scores
