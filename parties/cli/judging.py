"""``entente factors uplift|monitor|validate``: judge a factor at home, with tables that never leave the machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parties.cli.checks import Folder
from parties.cli.factors import app, joint_summary, show_findings, write_file
from parties.errors import ConfigError, DataError
from parties.private_files import whole_or_nothing
from parties.terminal.console import say

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from parties.factor.fund_tables import FundTable
    from parties.factor.tables import FactorFolder
    from vfl.factors.half_life import HalfLife
    from vfl.factors.monitor import Monitoring

    Floats = NDArray[np.float64]

__all__ = ["app", "factors_monitor", "factors_uplift", "factors_validate", "on_factor_grid", "write_record"]

Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", metavar="FILE", help="CSV or Parquet: datetime, instrument, label. Stays on this machine."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write every number as JSON.")]
Least = Annotated[
    float,
    typer.Option(
        "--least-matched",
        min=0,
        max=1,
        help="Refuse a table with less than this share of the factor's instruments, or of its dates in between.",
    ),
]
_LEAST = 0.5


@app.command("uplift")
def factors_uplift(
    folder: Folder,
    own: Annotated[
        Path, typer.Option("--own", metavar="FILE", help="Your own factor: datetime, instrument, score. Stays at home.")
    ],
    labels: Labels = None,
    out: Out = None,
    least_matched: Least = _LEAST,
) -> None:
    """Say what the joint factor adds to your own. Nothing leaves this machine."""
    from parties.factor.fund_tables import read_values
    from parties.factor.tables import open_folder
    from vfl.factors.findings import Findings
    from vfl.factors.joining import overlap_findings, uplift_findings

    bundle = open_folder(folder)
    tables = [read_values(own, "score")]
    mine = on_factor_grid(tables[0], bundle, least_matched)
    if labels is None:
        reason = "no labels were given: name them with --labels FILE"
        found = overlap_findings(bundle.scores, mine)
        found |= Findings(left_out=dict.fromkeys(("rank_ic_difference", "mmc", "encompassing"), reason))
    else:
        tables.append(read_values(labels, "label"))
        truth = on_factor_grid(tables[1], bundle, least_matched)
        found = uplift_findings(bundle.scores, mine, truth, _names(bundle), horizon=bundle.horizon)
    show_findings(found, everything=True)
    write_record(out, found.record())
    _say_what_was_read(tables)


@app.command("monitor")
def factors_monitor(
    folder: Folder,
    labels: Annotated[
        Path, typer.Option("--labels", metavar="FILE", help="datetime, instrument, label, as far as they have arrived.")
    ],
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE", help="Later scores, in place of the live records."),
    ] = None,
    window: Annotated[int, typer.Option(min=2, help="Labelled periods in the rolling mean.")] = 12,
    half_life: Annotated[
        float | None,
        typer.Option(
            "--half-life",
            metavar="PERIODS",
            help="Alert below this half-life of the live rank IC; by default below the published one.",
        ),
    ] = None,
    signals: Annotated[
        Path | None, typer.Option("--signals", metavar="FOLDER", help="Published signals, to watch for crowding.")
    ] = None,
    ids: Annotated[
        Path | None, typer.Option("--ids", metavar="FILE", help="instrument, id: which id of the signals each has.")
    ] = None,
    out: Out = None,
    least_matched: Least = _LEAST,
) -> None:
    """Score a published factor as labels arrive: against its expected band, with drift and an advice.

    Live records of daily use, in live/ beside factors/, are read by themselves.
    """
    from parties.factor.fund_tables import read_values
    from parties.factor.tables import open_folder
    from vfl.factors.market import on_grid
    from vfl.factors.monitor import Expectation, monitor, watched_for_decay

    bundle = open_folder(folder)
    joint = joint_summary(bundle)
    if joint["mean"] is None or joint["std"] is None:
        raise DataError(f"{folder}: fewer than two periods were evaluated, so there is nothing to expect")
    live, tables = _live(folder, bundle, scores, least_matched)
    days = _later_days(folder, bundle, joint["by_period"], live)
    names = tuple(sorted({*bundle.instruments, *live.index.get_level_values("instrument").astype(str)}))
    grid = on_grid(live, days, names)
    arrived = read_values(labels, "label")
    tables.append(arrived)
    truth = arrived.grid(arrived.match(days, names, least_matched, f"{bundle.name} after its publication"))
    expected = Expectation(
        joint["mean"], joint["std"], joint["n_periods"], bundle.horizon, bundle.scores[bundle.dates < days[0]]
    )
    if half_life is not None and not half_life > 0:
        raise ConfigError(f"--half-life {half_life:g} is no number of periods: give one above 0")
    found = monitor(grid, truth, tuple(f"{day:%Y-%m-%d}" for day in days), expected, window=window)
    found = watched_for_decay(
        found, grid, truth, horizon=bundle.horizon, shortest=half_life, published=_published_half_life(bundle)
    )
    told: tuple[str, ...] = ()
    if signals is not None:
        found, told = _beside_signals(found, bundle, (days, names, grid), (signals, ids), window)
    advice = f"Advice: {found.advice.action}."
    show_findings(replace(found.findings, warnings=()), everything=True, raised=advice)
    say(advice, *found.advice.reasons)
    write_record(out, found.findings.record() | {"advice": found.advice.action, "reasons": list(found.advice.reasons)})
    _say_what_was_read(tables)
    say(*told)


def _later_days(
    folder: Path, bundle: FactorFolder, by_period: Sequence[float | None], live: pd.Series[float]
) -> pd.DatetimeIndex:
    """Dates of scores after the last one that was evaluated before publication."""
    import pandas as pd

    days = pd.DatetimeIndex(live.index.get_level_values("datetime").unique()).sort_values()
    if "sessions" not in bundle.validation:
        raise DataError(f"{folder}: made by an earlier version that does not date its ICs; export the factor again")
    published = zip(bundle.validation["sessions"], by_period, strict=True)
    later = pd.DatetimeIndex(days[days > max(day for day, ic in published if ic is not None)])
    if not len(later):
        raise DataError(
            f"{folder}: every date was evaluated before it was published; give later scores with --scores FILE"
        )
    return later


def _published_half_life(bundle: FactorFolder) -> HalfLife | None:
    """As the battery found it in the run; None in a bundle that has none."""
    from vfl.factors.half_life import HalfLife

    numbers = {} if bundle.findings is None else bundle.findings.numbers.get("decay", {})
    if not {"half_life", "half_life_low", "half_life_high"} <= set(numbers):
        return None
    whole, low, high = (numbers[name] for name in ("half_life", "half_life_low", "half_life_high"))
    return HalfLife(whole.value, low.value, high.value, whole.n)


def _live(
    folder: Path, bundle: FactorFolder, scores: Path | None, least_matched: float
) -> tuple[pd.Series[float], list[FundTable]]:
    """The published scores and the later ones: of the file, else the live records; and the tables that were read."""
    import pandas as pd

    from parties.factor.fund_tables import read_values
    from parties.factor.live_scores import live_scores

    live = bundle.factor["score"]
    if scores is None:
        daily = live_scores(folder)["score"]  # of periods after the run's calendar: no date is in both
        return (pd.concat([live, daily]) if len(daily) else live), []
    table = read_values(scores, "score")
    table.match(pd.DatetimeIndex(table.days.astype("datetime64[ns]")), bundle.instruments, least_matched, bundle.name)
    later = table.series(bundle.instruments)
    return pd.concat([live[~live.index.isin(later.index)], later]), [table]


def _beside_signals(
    found: Monitoring,
    bundle: FactorFolder,
    live: tuple[pd.DatetimeIndex, tuple[str, ...], Floats],
    given: tuple[Path, Path | None],
    window: int,
) -> tuple[Monitoring, tuple[str, ...]]:
    """With what published signals explain of published and live scores over time, and a line for each of their files.

    live: days, instruments and scores; given: the signals' folder and the table that links ids.
    """
    import numpy as np
    import pandas as pd

    from parties.factor.known_signals import read_links, read_signals
    from vfl.factors.known_signals import known_findings
    from vfl.factors.monitor import watched_for_crowding

    days, names, grid = live
    old = bundle.dates < days[0]
    before = pd.DataFrame(bundle.scores[old], columns=list(bundle.instruments)).reindex(columns=list(names))
    scores, whole = np.vstack([before.to_numpy(), grid]), pd.DatetimeIndex(bundle.dates[old].append(days))
    folder, ids = given
    known = read_signals(folder, whole, names, links=None if ids is None else read_links(ids))
    periods = tuple(f"{day:%Y-%m-%d}" for day in whole)
    explained = known_findings(scores, None, periods, known.signals, horizon=1, window=window)
    return watched_for_crowding(found, explained), known.said


@app.command("validate")
def factors_validate(
    folder: Folder,
    labels: Annotated[Path, typer.Option("--labels", metavar="FILE", help="datetime, instrument, label.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for report.html and validation.json.")],
    market: Annotated[
        Path | None,
        typer.Option(
            "--market",
            metavar="FILE",
            help="datetime, instrument, price, sector, cap, beta, volatility, dollar_volume, style_*, library_*.",
        ),
    ] = None,
    own: Annotated[Path | None, typer.Option("--own", metavar="FILE", help="Your own factor, to compare with.")] = None,
    cost_bps: Annotated[float, typer.Option(min=0, help="Cost per unit traded, in basis points.")] = 10.0,
    least_matched: Least = _LEAST,
) -> None:
    """Run the whole battery at home, with prices and whatever else you have, and write its report."""
    import numpy as np

    from parties.factor.fund_tables import read_market, read_values
    from parties.factor.tables import bundle_files, open_folder
    from vfl.factors.market import MarketData
    from vfl.factors.portfolio import BookTerms
    from vfl.factors.report import render_report
    from vfl.factors.trials import FILE, read_trials
    from vfl.factors.validation import Subject, battery

    bundle = open_folder(folder)
    tables = [read_values(labels, "label")]
    truth = on_factor_grid(tables[0], bundle, least_matched)
    mine, known = None, MarketData()
    if own is not None:
        tables.append(read_values(own, "score"))
        mine = on_factor_grid(tables[-1], bundle, least_matched)
    if market is not None:
        table, known_on = read_market(market)
        table.match(bundle.dates, bundle.instruments, least_matched, bundle.name)
        tables.append(table)
        known = known_on(bundle.dates, bundle.instruments)
    trials = read_trials(bundle_files(folder)[FILE]) if (folder / FILE).is_file() else ()
    days = bundle.dates
    gap = float((days[-1] - days[0]) / np.timedelta64(1, "D")) / (len(days) - 1) if len(days) > 1 else 365.25
    subject = Subject(
        _names(bundle),
        bundle.scores,
        truth,
        bundle.horizon,
        known_from=_known_from(bundle),
        own=mine,
        label_unit="label",
    )
    found = battery(
        subject,
        known,
        BookTerms(cost_bps=cost_bps, periods_per_year=365.25 / gap),
        trials=trials,
        n_trials=int(bundle.metadata["n_trials"]),
    )
    facts = {"label": bundle.metadata["label_definition"], "labels from": labels.name, "run": bundle.metadata["run_id"]}
    with whole_or_nothing(out):
        write_file(out / "report.html", render_report(f"{bundle.name}, checked at home", facts, found))
        write_record(out / "validation.json", found.record())
    show_findings(found, everything=False)
    say(f"{out / 'report.html'} is written.")
    _say_what_was_read(tables)


def on_factor_grid(table: FundTable, bundle: FactorFolder, least: float) -> Any:
    """A table's column on the factor's grid, (T, n)."""
    return table.grid(table.match(bundle.dates, bundle.instruments, least, bundle.name))


def _say_what_was_read(tables: Sequence[FundTable]) -> None:
    say(*(f"read {table.reading()}" for table in tables))


def _known_from(bundle: FactorFolder) -> Any:
    """Labels count as known one horizon after their date, (T, n)."""
    import numpy as np

    count = len(bundle.dates)
    known = np.minimum(np.arange(count) + bundle.horizon, count).astype(np.int64)
    return np.repeat(known[:, None], len(bundle.instruments), axis=1)


def _names(bundle: FactorFolder) -> tuple[str, ...]:
    return tuple(f"{day:%Y-%m-%d}" for day in bundle.dates)


def write_record(path: Path | None, record: Mapping[str, Any]) -> None:
    """Write numbers as JSON, where a file was named."""
    if path is not None:
        write_file(path, (json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())
