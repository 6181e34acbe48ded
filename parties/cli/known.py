"""``entente factors known``: what of a factor published signals have already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parties.cli.checks import Folder
from parties.cli.factors import show_findings, write_file
from parties.cli.judging import app, on_factor_grid, write_record
from parties.terminal.console import say

__all__ = ["factors_known"]


@app.command("known")
def factors_known(
    folder: Folder,
    signals: Annotated[
        Path, typer.Option("--signals", metavar="FOLDER", help="CSV or Parquet: yyyymm or date, permno or id, signals.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="datetime, instrument, label, for what is left."),
    ] = None,
    ids: Annotated[
        Path | None, typer.Option("--ids", metavar="FILE", help="instrument, id: which id of the files each has.")
    ] = None,
    lag_days: Annotated[int, typer.Option(min=0, help="Days after its date until a signal is known.")] = 0,
    oldest_days: Annotated[int, typer.Option(min=0, help="Values that were known longer ago are not used.")] = 45,
    window: Annotated[int, typer.Option(min=2, help="Periods that count as recent.")] = 12,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the numbers as JSON.")] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Also write them as a page.")] = None,
    least_matched: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of the factor's instruments and dates in the labels.")
    ] = 0.5,
) -> None:
    """Compare a factor with published signals: overlap, crowding over time, and what they leave of it. All at home."""
    from parties.factor.fund_tables import read_values
    from parties.factor.known_signals import read_links, read_signals
    from parties.factor.tables import open_folder
    from vfl.factors.known_signals import known_findings
    from vfl.factors.report import render_report

    bundle = open_folder(folder)
    truth = None
    if labels is not None:
        truth = on_factor_grid(read_values(labels, "label"), bundle, least_matched)
    links = None if ids is None else read_links(ids)
    known = read_signals(
        signals, bundle.dates, bundle.instruments, links=links, lag_days=lag_days, oldest_days=oldest_days
    )
    periods = tuple(f"{day:%Y-%m-%d}" for day in bundle.dates)
    found = known_findings(bundle.scores, truth, periods, known.signals, horizon=bundle.horizon, window=window)
    show_findings(found, everything=True)
    if out is not None:
        write_record(out, found.record())
    if report is not None:
        facts = {"signals from": signals.name, "labels from": labels.name if labels else "none"}
        write_file(report, render_report(f"{bundle.name}, beside published signals", facts, found))
    say(*known.said)
