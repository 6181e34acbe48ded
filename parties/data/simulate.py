"""A made-up consortium on disk: files such as vendors really send, around a signal of known size.

The world: weekly returns of M companies contain a factor, the sum of a linear part (every fund
holds some of it) and products of two funds' hidden states (no fund alone, and no linear model of all, can see
these). Vendors observe the hidden states noisily, late, with gaps, revisions and their own spelling of
each company. Everything follows from the seed; simulated data is public, so a numpy Generator is right here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parties.data.consortium_files import SimulatedModel, write_texts
from parties.data.simulated_posts import posts_table
from parties.data.vendors import FUND, POSTING, SPELL, VENDORS, Vendor, spelling
from parties.errors import ConfigError, StorageError

__all__ = ["Signal", "Simulated", "simulate"]

_HISTORY = 16
"""Weeks before the first decision period: prices for momentum, and observations to start from."""

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
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Simulated:
    """Where things are: ``config`` (consortium.toml), ``data`` (the folder for ``${data}``), and the truth."""

    config: Path
    data: Path
    truth: dict[str, Any]


@dataclass(frozen=True)
class _World:
    """M companies over W Fridays. The first ``common`` companies are covered by every party.

    tickers, former: object (M,); renamed_at: int (M,), the first week under the present ticker. states: per
    party float64 (3, W, M), the fund first. returns: float64 (W, M), over the week that ends then.
    """

    common: int
    tickers: Texts
    former: Texts
    renamed_at: NDArray[np.int64]
    fridays: Times
    sector: NDArray[np.int64]
    covered: dict[str, Flags]
    states: dict[str, Floats]
    returns: Floats


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
) -> Simulated:
    """Write a consortium of ``parties`` feature parties and a label party below ``out``.

    entities: companies that all parties cover (each covers more). periods: weekly decisions from the
    Friday ``first`` on. ic: mean rank IC of the ideal factor, which knows the hidden states, with
    next week's return over the common companies. interaction_share: share of its variance in products of
    two parties' states. signal: ``products`` puts all of it there, whatever ``interaction_share`` says, so that no
    party alone and no linear model of all finds anything. model: what consortium.toml asks for. text: the social fund
    brings posts instead of numbers. Same arguments, same files. Raises ConfigError or StorageError.
    """
    _check(entities, periods, parties, ic, interaction_share, signal, first)
    if text and (parties < POSTING or model != "sealed"):
        raise ConfigError(f"simulate: posts need {POSTING} feature parties or more, and the model sealed")
    vendors = VENDORS[:parties]
    rng = np.random.default_rng([seed, 0])
    weeks = _HISTORY + periods + 1
    fridays = np.datetime64(first, "D") + 7 * (np.arange(weeks) - _HISTORY)
    persistence = _BRISK if signal == "products" else _PERSISTENCE
    covered = _coverage(rng, entities, (FUND, *vendors))
    size = len(covered[FUND.name])
    tickers, former, renamed_at = _names(rng, size, weeks)
    states = {
        vendor.name: _hidden_states(np.random.default_rng([seed, 1, number]), weeks, size, persistence)
        for number, vendor in enumerate((FUND, *vendors))
    }
    sector = rng.integers(0, 10, size)
    parts = _signal_parts(states, vendors, 1.0 if signal == "products" else interaction_share)
    returns, truth = _returns(rng, parts, sector, ic, entities)
    world = _World(entities, tickers, former, renamed_at, fridays, sector, covered, states, returns)
    data = out / "data"
    try:
        data.mkdir(parents=True, exist_ok=True)
        for number, vendor in enumerate((FUND, *vendors)):
            generator = np.random.default_rng([seed, 2, number])
            if text and vendor is VENDORS[POSTING - 1]:
                _write(data / "posts.parquet", _posts(generator, world, vendor))
            else:
                _write(data / f"{vendor.name}.parquet", _observations(generator, world, vendor))
            _write_aliases(out / "aliases" / f"{vendor.name}.csv", world, vendor)
        _write(data / "prices.parquet", _prices(np.random.default_rng([seed, 3]), world))
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
    moment = rng.integers(_HISTORY + 1, weeks - 1, size)
    return pool[:size], pool[size:wanted], np.where(renamed, moment, 0)


def _hidden_states(rng: np.random.Generator, weeks: int, size: int, persistence: tuple[float, float, float]) -> Floats:
    """Three stationary AR(1) states with unit variance, float64 (3, W, M)."""
    shocks = rng.standard_normal((3, weeks, size))
    phi = np.array(persistence)[:, None]
    states = np.empty_like(shocks)
    states[:, 0] = shocks[:, 0]
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
) -> tuple[Floats, dict[str, Any]]:
    """Weekly returns (W, M) that follow the factor of the week before, and what is true of them."""
    factor = _standardised(np.sum(list(parts.values()), axis=0))
    weeks, size = factor.shape
    market = rng.standard_normal((weeks, 1)) * rng.normal(1.0, 0.3, size)
    sectors = rng.standard_normal((weeks, 10))[:, sector]
    alone = rng.standard_t(4, (weeks, size)) / np.sqrt(2.0)
    noise = _standardised(0.35 * market + 0.45 * sectors + alone)
    decided = slice(_HISTORY, weeks - 1)

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
    returns = np.empty_like(earned)
    returns[0] = noise[0]
    returns[1:] = earned[:-1]
    common_move = 0.5 * rng.standard_normal((weeks, 1))
    return np.maximum(_WEEKLY_VOLATILITY * (returns + common_move), -0.6), truth


def _observations(rng: np.random.Generator, world: _World, vendor: Vendor) -> pa.Table:
    """The vendor's file: one row per company, week and vintage, in order of publication."""
    weeks = _observed_weeks(world)
    companies = np.flatnonzero(world.covered[vendor.name])
    week, company = (grid.ravel() for grid in np.meshgrid(weeks, companies, indexing="ij"))
    # Clouds and outages hit neighbours together: half of a gap's chance comes from the week and region.
    region = rng.random((len(world.fridays), 10)) < vendor.gaps / 2
    present = (rng.random(week.size) >= vendor.gaps / 2) & ~region[week, world.sector[company]]
    week, company = week[present], company[present]
    shocks = rng.standard_t(vendor.tail, (len(vendor.columns), week.size)) / np.sqrt(vendor.tail / (vendor.tail - 2))
    season = vendor.seasonal * np.sin(2 * np.pi * week / 52 + world.sector[company])
    burst = np.where(rng.random(week.size) < vendor.bursts, rng.exponential(3.0, week.size), 0.0)
    seen = np.stack(
        [
            column.loading * world.states[vendor.name][column.state][week, company]
            + np.sqrt(1 - column.loading**2) * shocks[k]
            + season
            + (burst if column.kind == "count" else 0.0)
            for k, column in enumerate(vendor.columns)
        ]
    )
    size = np.maximum(np.rint(np.exp(rng.normal(3.0, 0.8, len(world.tickers)))), 2).astype(np.int64)
    observed = world.fridays[week] + np.timedelta64(vendor.period_day, "D")
    days = vendor.publishes_after + 7 * (rng.random(week.size) < vendor.late)
    seconds = days * 86_400 + rng.integers(6, 18, week.size) * 3_600
    published: Times = observed.astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    holes = rng.random(seen.shape) < vendor.holes
    # A first print is what the revision will be, plus an error.
    first = seen + 0.35 * rng.standard_normal(seen.shape) if vendor.revised else seen
    blocks = [_block(world, vendor, week, company, first, holes, size, observed, published)]
    if vendor.revised:
        again: Times = published + np.timedelta64(28, "D")
        blocks.append(_block(world, vendor, week, company, seen, holes, size, observed, again))
    return pa.concat_tables(blocks)


def _observed_weeks(world: _World) -> NDArray[np.int64]:
    return np.arange(_HISTORY - 8, len(world.fridays) - 1)


def _block(
    world: _World,
    vendor: Vendor,
    week: NDArray[np.int64],
    company: NDArray[np.int64],
    seen: Floats,
    holes: Flags,
    size: NDArray[np.int64],
    observed: Times,
    published: Times,
) -> pa.Table:
    columns: dict[str, Any] = {
        "company": _spelled(world, vendor, week, company),
        "security": company.astype(np.int64),
        "observed": observed.astype("datetime64[D]"),
    }
    if vendor is not FUND:
        del columns["security"]
    if vendor.stated:
        columns["published"] = published
    columns[vendor.size] = size[company]
    for k, column in enumerate(vendor.columns):
        if column.kind == "count":
            level = np.exp(np.clip(column.spread * seen[k], -6, 6))
            values: NDArray[Any] = np.rint(size[company] * column.centre * level).astype(np.int64)
        else:
            # Decimals that every machine's libm agrees on.
            values = np.round(column.centre + column.spread * seen[k], 5)
        columns[column.name] = pa.array(values, mask=holes[k])
    return pa.table(columns)


def _posts(rng: np.random.Generator, world: _World, vendor: Vendor) -> pa.Table:
    """What is posted about the companies that the vendor follows, over the weeks that others are observed in."""
    companies = np.flatnonzero(world.covered[vendor.name])
    week, company = (g.ravel() for g in np.meshgrid(_observed_weeks(world), companies, indexing="ij"))
    states = world.states[vendor.name][:, week, company]
    return posts_table(rng, _spelled(world, vendor, week, company), week, states, world.fridays)


def _prices(rng: np.random.Generator, world: _World) -> pa.Table:
    """The fund's closes, by its own security number, under the ticker of the day."""
    companies = np.flatnonzero(world.covered[FUND.name])
    start = np.exp(rng.normal(4.0, 0.6, companies.size))
    closes = np.round(start * np.cumprod(1 + world.returns[:, companies], axis=0), 6)
    weeks = np.arange(len(world.fridays))
    week, company = (grid.ravel() for grid in np.meshgrid(weeks, companies, indexing="ij"))
    return pa.table(
        {
            "company": _spelled(world, FUND, week, company),
            "security": company.astype(np.int64),
            "friday": world.fridays[week].astype("datetime64[D]"),
            "close": np.maximum(closes, 1e-6).ravel(),
            "halted": rng.random(week.size) < 0.01,
        }
    )


def _spelled(world: _World, vendor: Vendor, week: NDArray[np.int64], company: NDArray[np.int64]) -> pa.Array:
    """The vendor's name for each company at the time."""
    now = [spelling(vendor.spelling, ticker, k) for k, ticker in enumerate(world.tickers)]
    then = [SPELL[vendor.spelling](ticker) for ticker in world.former]
    place = np.where(week < world.renamed_at[company], company + len(now), company)
    return pa.array(now + then, type=pa.string()).take(pa.array(place))


def _write_aliases(path: Path, world: _World, vendor: Vendor) -> None:
    """The party's own table: its former and trade names, to present tickers."""
    lines = ["alias,entity"]
    for k in np.flatnonzero(world.covered[vendor.name]):
        ticker = str(world.tickers[k])
        if world.renamed_at[k] > 0:
            lines.append(f"{SPELL[vendor.spelling](world.former[k]).strip()},{ticker}")
        if vendor.spelling == "slash" and k % 20 == 0:
            lines.append(f"{spelling('slash', ticker, int(k))},{ticker}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd")


def _standardised(values: Floats) -> Floats:
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True))


def _rank_ic(score: Floats, earned: Floats) -> Floats:
    """Spearman correlation per week of (W, n) without ties, float64 (W,)."""
    one, two = (_standardised(np.argsort(np.argsort(x, axis=1), axis=1).astype(np.float64)) for x in (score, earned))
    return np.asarray((one * two).mean(axis=1))
