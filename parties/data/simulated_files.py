"""The files of a simulated consortium: what each vendor saw of the world, when, and in its own spelling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parties.data.simulated_posts import posts_table
from parties.data.vendors import FUND, SPELL, Vendor, spelling

__all__ = ["HISTORY", "World", "observations", "posts", "prices", "write_aliases"]

HISTORY = 16
"""Weeks before the first decision period: prices for momentum, and observations to start from."""

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]
Flags = NDArray[np.bool_]
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class World:
    """M companies over W Fridays. The first ``common`` companies are covered by every party.

    tickers, former: object (M,); renamed_at: int (M,), the first week under the present ticker. states: per
    party float64 (3, W, M), the fund first. returns: float64 (W, M), over the week that ends then. weeks: how many of
    them a first delivery tells of; what follows is drawn apart, so that the first stays as it is.
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
    weeks: int


def observations(rng: np.random.Generator, later: np.random.Generator, world: World, vendor: Vendor) -> pa.Table:
    """The vendor's file: one row per company, week and vintage. ``later`` draws what is seen after ``world.weeks``."""
    size = np.empty(0, dtype=np.int64)
    blocks = []
    for drawn, weeks in zip((rng, later), _observed_weeks(world), strict=True):
        if weeks.size:
            size, seen = _observed(drawn, world, vendor, weeks, size)
            blocks += seen
    return pa.concat_tables(blocks)


def _observed(
    rng: np.random.Generator, world: World, vendor: Vendor, weeks: NDArray[np.int64], size: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[pa.Table]]:
    """Sizes of the companies, drawn unless ``size`` has them, and the rows of these weeks by vintage."""
    companies = np.flatnonzero(world.covered[vendor.name])
    week, company = (grid.ravel() for grid in np.meshgrid(weeks, companies, indexing="ij"))
    # Clouds and outages hit neighbours together: half of a gap's chance comes from the week and region.
    region = rng.random((int(weeks[-1]) + 2, 10)) < vendor.gaps / 2
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
    if not size.size:
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
    return size, blocks


def _observed_weeks(world: World) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Those of the first delivery, and those after it; the last week of all is a label's alone."""
    return np.arange(HISTORY - 8, world.weeks - 1), np.arange(world.weeks - 1, len(world.fridays) - 1)


def _block(
    world: World,
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


def posts(rng: np.random.Generator, later: np.random.Generator, world: World, vendor: Vendor) -> pa.Table:
    """What is posted about the companies that the vendor follows, over the weeks that others are observed in."""
    companies, tables = np.flatnonzero(world.covered[vendor.name]), []
    for drawn, weeks in zip((rng, later), _observed_weeks(world), strict=True):
        if weeks.size:
            week, company = (g.ravel() for g in np.meshgrid(weeks, companies, indexing="ij"))
            states = world.states[vendor.name][:, week, company]
            tables.append(posts_table(drawn, _spelled(world, vendor, week, company), week, states, world.fridays))
    return pa.concat_tables(tables)


def prices(rng: np.random.Generator, world: World) -> pa.Table:
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


def _spelled(world: World, vendor: Vendor, week: NDArray[np.int64], company: NDArray[np.int64]) -> pa.Array:
    """The vendor's name for each company at the time."""
    now = [spelling(vendor.spelling, ticker, k) for k, ticker in enumerate(world.tickers)]
    then = [SPELL[vendor.spelling](ticker) for ticker in world.former]
    place = np.where(week < world.renamed_at[company], company + len(now), company)
    return pa.array(now + then, type=pa.string()).take(pa.array(place))


def write_aliases(path: Path, world: World, vendor: Vendor) -> None:
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
