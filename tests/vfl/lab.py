"""A made-up market for the tests of the factor lab: scores that predict, prices that follow, known exposures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vfl.factors.market import MarketData
from vfl.factors.validation import Subject


@dataclass(frozen=True)
class Lab:
    subject: Subject
    market: MarketData
    dates: pd.DatetimeIndex
    names: tuple[str, ...]


def made_up_lab(periods: int = 40, count: int = 120, seed: int = 0, skill: float = 0.2) -> Lab:
    """Monthly scores with autocorrelation 0.8, and returns that they predict with about this IC."""
    rng = np.random.default_rng(seed)
    scores = np.zeros((periods, count))
    scores[0] = rng.normal(size=count)
    for t in range(1, periods):
        scores[t] = 0.8 * scores[t - 1] + 0.6 * rng.normal(size=count)
    returns = 0.05 * (skill * scores + np.sqrt(1 - skill**2) * rng.normal(size=scores.shape))
    prices = 50 * np.vstack([np.ones((1, count)), np.cumprod(1 + returns, axis=0)[:-1]])
    labels = (returns - returns.mean(axis=1, keepdims=True)) / returns.std(axis=1, keepdims=True)
    dates = pd.date_range("2015-01-31", periods=periods, freq="ME")
    market = MarketData(
        prices=prices,
        sectors=np.repeat(rng.integers(0, 6, size=(1, count)), periods, axis=0),
        caps=np.exp(22 + rng.normal(size=scores.shape)),
        betas=1 + 0.3 * rng.normal(size=scores.shape),
        volatility=np.full(scores.shape, 0.02),
        dollar_volume=np.full(scores.shape, 1e7),
        styles={"value": rng.normal(size=scores.shape)},
        library={
            "momentum": 0.6 * scores + 0.8 * rng.normal(size=scores.shape),
            "quality": rng.normal(size=scores.shape),
        },
    )
    subject = Subject(
        periods=tuple(f"{day:%Y-%m}" for day in dates),
        scores=scores,
        labels=labels,
        horizon=1,
        known_from=np.repeat(np.arange(1, periods + 1)[:, None], count, axis=1),
        own=0.4 * scores + rng.normal(size=scores.shape),
        features={"value": market.styles["value"]},
    )
    return Lab(subject, market, dates, tuple(f"S{i:03d}" for i in range(count)))
