"""A made-up consortium on disk: files such as vendors really send, around a signal of known size.

The world: weekly returns of M companies contain a factor, the sum of a linear part (every fund
holds some of it) and products of two funds' hidden states (no fund alone, and no linear model of all, can see
these). Vendors observe the hidden states noisily, late, with gaps, revisions and their own spelling of
each company. Everything follows from the seed; simulated data is public, so a numpy Generator is right here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parties.data.consortium_files import SimulatedModel, write_texts
from parties.data.simulated_files import HISTORY, World, observations, posts, prices, write_aliases
from parties.data.vendors import FUND, POSTING, VENDORS, Vendor
from parties.errors import ConfigError, StorageError

__all__ = ["Signal", "Simulated", "simulate"]

_PERSISTENCE = (0.96, 0.93, 0.90)
_BRISK = (0.5, 0.5, 0.5)
"""Persistence where products carry all the signal: a lasting product would show in a fund's momentum, in one column."""

_INTERACTION_WEIGHTS = (0.6, 0.4)
_OWN_SHARE = 0.12
_RENAMED = 0.03
_WEEKLY_VOLATILITY = 0.04
_FRIDAY = 4
_FAMOUS = ("NA", "NAN", "TRUE", "NULL", "BRK.A", "BRK.B")

Signal = Literal["mixed", "products"]
"""mixed: lines and products of hidden states, shared out by ``interaction_share``; products: products alone."""

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Simulated:
    """Where things are: ``config`` (consortium.toml), ``data`` (the folder for ``${data}``), and the truth."""

    config: Path
    data: Path
    truth: dict[str, Any]


def simulate(
    out: Path,
    *,
    entities: int = 500,
    periods: int = 104,
    parties: int = 3,
    seed: int = 7,
    ic: float = 0.18,
    interaction_share: float = 0.25,
    signal: Signal = "mixed",
    first: date = date(2023, 1, 6),
    model: SimulatedModel = "sealed",
    text: bool = False,
    further: int = 0,
) -> Simulated:
    """Write a consortium of ``parties`` feature parties and a label party below ``out``.

    entities: companies that all parties cover (each covers more). periods: weekly decisions from the
    Friday ``first`` on. ic: mean rank IC of the ideal factor, which knows the hidden states, with
    next week's return over the common companies. interaction_share: share of its variance in products of
    two parties' states. signal: ``products`` puts all of it there, whatever ``interaction_share`` says, so that no
    party alone and no linear model of all finds anything. model: what consortium.toml asks for. text: the social fund
    brings posts instead of numbers. further: weeks that the files go on for after the last decision; what comes before
    is the same without them. Same arguments, same files. Raises ConfigError or StorageError.
    """
    _check(entities, periods, parties, ic, interaction_share, signal, first)
    if text and (parties < POSTING or model != "sealed"):
        raise ConfigError(f"simulate: posts need {POSTING} feature parties or more, and the model sealed")
    vendors = VENDORS[:parties]
    rng = np.random.default_rng([seed, 0])
    weeks = HISTORY + periods + 1
    fridays = np.datetime64(first, "D") + 7 * (np.arange(weeks) - HISTORY)
    persistence = _BRISK if signal == "products" else _PERSISTENCE
    covered = _coverage(rng, entities, (FUND, *vendors))
    size = len(covered[FUND.name])
    tickers, former, renamed_at = _names(rng, size, weeks)
    states = {
        vendor.name: _hidden_states(np.random.default_rng([seed, 1, number]), weeks, size, persistence)
        for number, vendor in enumerate((FUND, *vendors))
    }
    sector = rng.integers(0, 10, size)
    lines_share = 1.0 if signal == "products" else interaction_share
    parts = _signal_parts(states, vendors, lines_share)
    returns, earned, loading, truth = _returns(rng, parts, sector, ic, entities)
    world = World(entities, tickers, former, renamed_at, fridays, sector, covered, states, returns, weeks)
    if further:
        world = _gone_on(world, vendors, seed, further, persistence, lines_share, loading, earned)
    try:
        data = _write_files(out, world, vendors, seed, text=text)
        truth |= {
            "seed": seed,
            "n_common": entities,
            "companies": size,
            "coverage": {name: int(mask.sum()) for name, mask in covered.items()},
            "renamed": int((renamed_at > 0).sum()),
            "common": sorted(str(ticker) for ticker in tickers[:entities]),
        }
        last = first + timedelta(days=7 * (periods - 1))
        config = write_texts(out, vendors, first=first, last=last, entities=entities, model=model, text=text)
        (out / "truth.json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"{out}: cannot write the simulated files ({why}); choose a folder with room") from None
    return Simulated(config, data, truth)


def _write_files(out: Path, world: World, vendors: tuple[Vendor, ...], seed: int, *, text: bool) -> Path:
    """Every vendor's file, the fund's prices, and the parties' alias tables; returns the folder of the data."""
    data = out / "data"
    data.mkdir(parents=True, exist_ok=True)
    for number, vendor in enumerate((FUND, *vendors)):
        generator, later = (np.random.default_rng([seed, part, number]) for part in (2, 4))
        if text and vendor is VENDORS[POSTING - 1]:
            _write(data / "posts.parquet", posts(generator, later, world, vendor))
        else:
            _write(data / f"{vendor.name}.parquet", observations(generator, later, world, vendor))
        write_aliases(out / "aliases" / f"{vendor.name}.csv", world, vendor)
    _write(data / "prices.parquet", prices(np.random.default_rng([seed, 3]), world))
    return data


def _check(
    entities: int, periods: int, parties: int, ic: float, interaction_share: float, signal: str, first: date
) -> None:
    if not 10 <= entities <= 20_000:
        raise ConfigError(f"simulate: {entities} entities; choose 10 to 20000")
    if not 8 <= periods <= 2_000:
        raise ConfigError(f"simulate: {periods} periods; choose 8 to 2000")
    if not 1 <= parties <= len(VENDORS):
        raise ConfigError(f"simulate: {parties} feature parties; choose 1 to {len(VENDORS)}")
    if not 0 < ic <= 0.6 or not 0 <= interaction_share <= 0.8:
        raise ConfigError("simulate: the signal's ic must lie in (0, 0.6] and its interaction_share in [0, 0.8]")
    if signal not in get_args(Signal):
        raise ConfigError(f"simulate: no signal is called {signal!r}; choose {' or '.join(get_args(Signal))}")
    if first.weekday() != _FRIDAY:
        raise ConfigError(f"simulate: {first} is no Friday; the calendar's weeks end on Fridays")


def _coverage(rng: np.random.Generator, entities: int, vendors: tuple[Vendor, ...]) -> dict[str, Flags]:
    """Who covers whom: the first ``entities`` companies by all, every other one missed by at least one."""
    everyone = float(np.prod([vendor.coverage for vendor in vendors]))
    others = max(round(entities / everyone) - entities, 2)
    extra = rng.random((len(vendors), others)) < np.array([[vendor.coverage] for vendor in vendors])
    full = np.flatnonzero(extra.all(axis=0))
    extra[rng.integers(0, len(vendors), full.size), full] = False
    return {vendor.name: np.r_[np.ones(entities, dtype=bool), extra[k]] for k, vendor in enumerate(vendors)}


def _names(rng: np.random.Generator, size: int, weeks: int) -> tuple[Texts, Texts, NDArray[np.int64]]:
    """Tickers, awkward ones among them; some companies had another one before."""
    wanted = 2 * size
    names = dict.fromkeys(_FAMOUS)
    while len(names) < wanted:
        letters = "".join(chr(65 + int(k)) for k in rng.integers(0, 26, int(rng.integers(3, 5))))
        names[letters + (f".{'AB'[int(rng.integers(2))]}" if rng.random() < 0.04 else "")] = None
    pool = np.array(list(names), dtype=object)
    renamed = (rng.random(size) < _RENAMED) & (np.arange(size) >= len(_FAMOUS))
    moment = rng.integers(HISTORY + 1, weeks - 1, size)
    return pool[:size], pool[size:wanted], np.where(renamed, moment, 0)


def _hidden_states(
    rng: np.random.Generator,
    weeks: int,
    size: int,
    persistence: tuple[float, float, float],
    before: Floats | None = None,
) -> Floats:
    """Three stationary AR(1) states with unit variance, float64 (3, W, M); ``before``: (3, M) of the week before."""
    shocks = rng.standard_normal((3, weeks, size))
    phi = np.array(persistence)[:, None]
    states = np.empty_like(shocks)
    states[:, 0] = shocks[:, 0] if before is None else phi * before + np.sqrt(1 - phi**2) * shocks[:, 0]
    for week in range(1, weeks):
        states[:, week] = phi * states[:, week - 1] + np.sqrt(1 - phi**2) * shocks[:, week]
    return states


def _signal_parts(
    states: dict[str, Floats], vendors: tuple[Vendor, ...], interaction_share: float
) -> dict[str, Floats]:
    """Additive parts of the factor, float64 (W, M) each, without those of no size; variances add up to 1."""

    def line(name: str) -> Floats:
        return np.asarray(0.8 * states[name][0] + 0.6 * states[name][1])

    own = _OWN_SHARE * (1 - interaction_share)
    total = sum(vendor.strength for vendor in vendors)
    shares = {FUND.name: own} | {v.name: (1 - interaction_share - own) * v.strength / total for v in vendors}
    parts = {name: np.sqrt(share) * line(name) for name, share in shares.items() if share > 0}
    pairs = [(a.name, b.name) for a, b in pairwise(vendors)] or [(FUND.name, vendors[0].name)]
    weights = np.array(_INTERACTION_WEIGHTS[: len(pairs)])
    for (a, b), weight in zip(pairs, interaction_share * weights / weights.sum(), strict=False):
        parts[f"{a} x {b}"] = np.sqrt(weight) * states[a][0] * states[b][0]
    return parts


def _returns(
    rng: np.random.Generator, parts: dict[str, Floats], sector: NDArray[np.int64], ic: float, common: int
) -> tuple[Floats, Floats, float, dict[str, Any]]:
    """Weekly returns (W, M) that follow the factor of the week before; what each week earns in the next, as deviations
    (W, M); the factor's loading in it; and what is true of them."""
    factor = _standardised(np.sum(list(parts.values()), axis=0))
    weeks = len(factor)
    noise = _noise(rng, weeks, sector)
    decided = slice(HISTORY, weeks - 1)

    def score(values: Floats, loading: float) -> Floats:
        earned = loading * factor[decided, :common] + np.sqrt(1 - loading**2) * noise[decided, :common]
        return _rank_ic(values[decided, :common], earned)

    loading = ic
    for _ in range(20):
        loading = min(loading * ic / max(float(score(factor, loading).mean()), ic / 4), 0.95)
    earned = loading * factor + np.sqrt(1 - loading**2) * noise
    lines = [part for name, part in parts.items() if " x " not in name]
    linear = round(float(score(np.sum(lines, axis=0), loading).mean()), 6) if lines else 0.0
    truth = {
        "rank_ic": {
            "ideal": round(float(score(factor, loading).mean()), 6),
            "linear": linear,
            "parts": {name: round(float(score(part, loading).mean()), 6) for name, part in parts.items()},
        },
        "variance_share": {name: round(float(part.var()), 4) for name, part in parts.items()},
    }
    return _moved(rng, np.concatenate([noise[:1], earned[:-1]])), earned, loading, truth


def _noise(rng: np.random.Generator, weeks: int, sector: NDArray[np.int64]) -> Floats:
    """Market, sectors and what is a company's own, float64 (W, M), standardised by week."""
    market = rng.standard_normal((weeks, 1)) * rng.normal(1.0, 0.3, len(sector))
    sectors = rng.standard_normal((weeks, 10))[:, sector]
    alone = rng.standard_t(4, (weeks, len(sector))) / np.sqrt(2.0)
    return _standardised(0.35 * market + 0.45 * sectors + alone)


def _moved(rng: np.random.Generator, earned: Floats) -> Floats:
    """Returns of weeks in which these deviations are earned, with a move that all share."""
    common_move = 0.5 * rng.standard_normal((len(earned), 1))
    return np.maximum(_WEEKLY_VOLATILITY * (earned + common_move), -0.6)


def _gone_on(
    world: World,
    vendors: tuple[Vendor, ...],
    seed: int,
    further: int,
    persistence: tuple[float, float, float],
    interaction_share: float,
    loading: float,
    earned: Floats,
) -> World:
    """The world some weeks longer; nothing of what was there changes."""
    states = {}
    for number, vendor in enumerate((FUND, *vendors)):
        before, drawn = world.states[vendor.name], np.random.default_rng([seed, 5, number])
        more = _hidden_states(drawn, further, before.shape[2], persistence, before[:, -1])
        states[vendor.name] = np.concatenate([before, more], axis=1)
    rng = np.random.default_rng([seed, 6])
    parts = _signal_parts(states, vendors, interaction_share)
    factor = _standardised(np.sum(list(parts.values()), axis=0))[world.weeks :]
    earned_after = loading * factor + np.sqrt(1 - loading**2) * _noise(rng, further, world.sector)
    returns = _moved(rng, np.concatenate([earned[-1:], earned_after[:-1]]))
    fridays = world.fridays[-1] + 7 * np.arange(1, further + 1)
    return replace(
        world,
        fridays=np.concatenate([world.fridays, fridays]),
        states=states,
        returns=np.concatenate([world.returns, returns]),
    )


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd")


def _standardised(values: Floats) -> Floats:
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True))


def _rank_ic(score: Floats, earned: Floats) -> Floats:
    """Spearman correlation per week of (W, n) without ties, float64 (W,)."""
    one, two = (_standardised(np.argsort(np.argsort(x, axis=1), axis=1).astype(np.float64)) for x in (score, earned))
    return np.asarray((one * two).mean(axis=1))
