"""What published signals leave of a factor: nothing of a copy, all of a stranger, and crowding as it comes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vfl.factors.half_life import half_life
from vfl.factors.known_signals import MOST_AT_ONCE, known_findings, ranked

T, N = 60, 80
RNG = np.random.default_rng(5)
OWN, KNOWN, NOISE = (RNG.normal(size=(T, N)) for _ in range(3))
PERIODS = tuple(f"p{t:02d}" for t in range(T))
LABELS = 0.15 * OWN + 0.15 * KNOWN + RNG.normal(size=(T, N))


def holes(values: np.ndarray, share: float = 0.3, seed: int = 1) -> np.ndarray:
    """The values with a share of them missing."""
    return np.where(np.random.default_rng(seed).random(values.shape) < share, np.nan, values)


def found(scores: np.ndarray, signals: dict[str, np.ndarray], labels: np.ndarray | None = LABELS, window: int = 12):
    return known_findings(scores, labels, PERIODS, signals, horizon=1, window=window)


def test_a_factor_of_its_own_keeps_its_information() -> None:
    result = found(OWN, {"known": holes(KNOWN), "noise": NOISE})
    assert abs(result.value("library", "correlation_known")) < 0.05
    assert result.value("library", "r_squared") < 0.02
    assert result.value("library", "rank_ic_left") == pytest.approx(result.value("library", "rank_ic_here"), abs=0.01)
    assert result.value("library", "spanning_alpha_t") > 3
    assert result.warnings == ()


def test_a_mixture_of_known_signals_leaves_nothing_and_is_warned_of() -> None:
    other = 0.15 * RNG.normal(size=(T, N))
    result = found(KNOWN + other, {"known": KNOWN, "noise": NOISE})
    assert result.value("library", "correlation_known") > 0.9
    assert result.value("library", "rank_ic_here") > 0.1
    assert abs(result.value("library", "rank_ic_left")) < 0.05
    assert abs(result.value("library", "spanning_alpha_t")) < 2.5
    assert result.value("library", "spanning_r_squared") > 0.8
    assert result.warned("known")


def test_crowding_shows_when_the_score_becomes_what_is_known() -> None:
    moving = OWN.copy()
    moving[-12:] = 0.5 * OWN[-12:] + KNOWN[-12:]
    result = found(moving, {"known": KNOWN}, None)
    assert result.value("library", "crowding") > 0.4
    assert result.warned("crowding")
    assert result.series["crowding"].x == PERIODS
    assert not found(OWN, {"known": KNOWN}, None).warned("crowding")
    assert "rank_ic_left" in result.left_out


def test_many_signals_enter_by_their_likeness_and_a_poor_one_is_left_out() -> None:
    many = {f"s{k}": holes(RNG.normal(size=(T, N)), seed=k) for k in range(16)}
    many |= {"known": KNOWN, "late": np.where(np.arange(T)[:, None] > 40, NOISE, np.nan)}
    result = found(OWN + KNOWN, many)
    assert "late" in result.left_out["signals"] or "1 cover fewer than half" in result.left_out["signals"]
    assert result.series["library"].x[0] == "known"
    assert f"{min(MOST_AT_ONCE, N // 10)} nearest" in result.numbers["library"]["r_squared"].definition
    nothing = found(OWN, {"late": many["late"]})
    assert "no signal covers half" in nothing.left_out["library"]


def test_shapes_and_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="known: not on the factor's grid"):
        found(OWN, {"known": KNOWN[:, :-1]})
    with pytest.raises(ValueError, match="too short"):
        found(OWN, {"known": KNOWN}, window=1)


def test_ranks_are_centred_and_leave_holes() -> None:
    row = np.array([[3.0, np.nan, 1.0, 3.0]])
    assert ranked(row).tolist()[0][0] == pytest.approx(2.5 / 4 - 0.5)
    assert math.isnan(ranked(row)[0, 1])
    assert np.isnan(ranked(np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize("true", [1.0, 3.0, 8.0])
def test_a_half_life_is_found_with_its_interval(true: float) -> None:
    lags = np.arange(6.0)
    ics = 0.08 * np.exp2(-lags / true)[:, None] + 0.02 * np.random.default_rng(3).normal(size=(6, 200))
    fitted = half_life(ics, lags, horizon=1)
    assert fitted.low < true < fitted.high
    assert fitted.periods == pytest.approx(true, rel=0.4)
    assert fitted == half_life(ics, lags, horizon=1), "the same series gives the same interval"


def test_what_does_not_decay_has_no_half_life() -> None:
    lags, rng = np.arange(6.0), np.random.default_rng(4)
    flat = 0.05 + 0.001 * rng.normal(size=(6, 100))
    assert math.isnan(half_life(flat, lags, horizon=1).periods)
    assert math.isnan(half_life(-np.abs(flat), lags, horizon=1).periods)
    assert math.isnan(half_life(flat[:2], lags[:2], horizon=1).periods)
    with pytest.raises(ValueError, match="do not fit"):
        half_life(flat, lags[:3], horizon=1)
