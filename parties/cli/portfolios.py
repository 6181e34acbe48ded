"""``entente factors portfolio``: weights that a desk can trade, from a factor and what the fund knows of its market."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.checks import Folder
from parties.cli.factors import show_findings, write_file
from parties.cli.judging import app, write_record
from parties.errors import ConfigError
from parties.terminal.console import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from vfl.factors.target_book import TargetTerms

__all__ = ["factors_portfolio"]

_PROGRESS_SECONDS = 10.0

Capital = Annotated[float, typer.Option(help="In the currency of dollar_volume.")]
Gross = Annotated[float, typer.Option(help="Most of the sum of |weight|.")]
MaxWeight = Annotated[float, typer.Option("--max-weight", help="Most of one instrument.")]
VolumeShare = Annotated[float, typer.Option("--volume-share", help="Most of a position, in days of dollar_volume.")]
CostBps = Annotated[float, typer.Option("--cost-bps", help="One-way cost, in basis points.")]
Impact = Annotated[float, typer.Option(help="Factor of the square-root law of impact.")]
Expected = Annotated[float, typer.Option("--ic", help="Rank IC that you expect of the factor.")]
RiskAversion = Annotated[float, typer.Option("--risk-aversion", help="Higher spreads over more names.")]
SectorNeutral = Annotated[bool, typer.Option("--sector-neutral/--any-sector", help="No net exposure to any sector.")]
BetaNeutral = Annotated[bool, typer.Option("--beta-neutral/--any-beta", help="No net exposure to the market.")]
Record = Annotated[Path | None, typer.Option("--findings", metavar="FILE", help="Also write the numbers as JSON.")]
Page = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Also write them as a page.")]
Least = Annotated[
    float, typer.Option(min=0, max=1, help="Least share of the factor's instruments and dates in the market file.")
]


@app.command("portfolio")
def factors_portfolio(
    folder: Folder,
    market: Annotated[
        Path,
        typer.Option(
            "--market", metavar="FILE", help="datetime, instrument, price, sector, beta, volatility, dollar_volume."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Weights, as .csv or .parquet.")],
    capital: Capital = 1e7,
    gross: Gross = 2.0,
    max_weight: MaxWeight = 0.02,
    volume_share: VolumeShare = 0.05,
    cost_bps: CostBps = 10.0,
    impact: Impact = 1.0,
    ic: Expected = 0.03,
    risk_aversion: RiskAversion = 20.0,
    sector_neutral: SectorNeutral = True,
    beta_neutral: BetaNeutral = True,
    findings: Record = None,
    report: Page = None,
    least_matched: Least = 0.5,
) -> None:
    """Turn scores into neutral long-short weights within liquidity, costs weighed. All at home."""
    import numpy as np

    from parties.factor.fund_tables import read_market
    from parties.factor.tables import open_folder
    from parties.factor.weights_file import weights_file
    from vfl.factors.report import render_report
    from vfl.factors.target_book import NoTargetWeights, TargetTerms, target_book
    from vfl.factors.target_findings import target_findings

    if out.suffix not in {".csv", ".parquet"}:
        raise ConfigError(f"{out}: weights are written as .csv or .parquet: name the file so")
    bundle = open_folder(folder)
    table, known_on = read_market(market)
    table.match(bundle.dates, bundle.instruments, least_matched, bundle.name)
    known, days = known_on(bundle.dates, bundle.instruments), bundle.dates
    gap = float((days[-1] - days[0]) / np.timedelta64(1, "D")) / (len(days) - 1) if len(days) > 1 else 365.25
    try:
        terms = TargetTerms(
            capital=capital, gross=gross, max_weight=max_weight, volume_share=volume_share, cost_bps=cost_bps,
            impact=impact, ic=ic, risk_aversion=risk_aversion, sector_neutral=sector_neutral,
            beta_neutral=beta_neutral, days=gap * 252 / 365.25,
        )  # fmt: skip
        book = target_book(bundle.scores, known, terms, _progress())
    except NoTargetWeights as error:
        raise ConfigError(f"{market}: {error} (--help names the options)") from None
    except ImportError:
        raise ConfigError('weights need cvxpy: install it with pip install "entente[portfolio]"') from None
    periods = tuple(f"{day:%Y-%m-%d}" for day in days)
    found = target_findings(book, bundle.scores, known, periods, terms, 365.25 / gap)
    write_file(out, weights_file(book.weights, bundle, out.suffix))
    if findings is not None:
        write_record(findings, found.record())
    if report is not None:
        limits = (
            f"capital {capital:,.0f}, gross {gross:g}, one instrument {max_weight:g}, {volume_share:g} days of value"
        )
        facts = {
            "market from": market.name,
            "capital": f"{capital:,.0f}",
            "limits": limits,
            "neutral to": _neutral(terms),
        }
        write_file(report, render_report(f"{bundle.name}, as a book", facts, found))
    show_findings(found, everything=False)
    say(f"{out} is written: datetime, instrument, weight, available_at; weights are fractions of capital.")
    say(f"read {table.reading()}")


def _progress() -> Callable[[int, int], None]:
    """A line now and then while weights are computed."""
    said = began = time.monotonic()

    def told(done: int, of: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _PROGRESS_SECONDS and done < of:
            said, rate = now, done / (now - began)
            say(f"weights: {done} of {of} periods, {rate:.1f} a second, {(of - done) / rate:.0f} s left")

    return told


def _neutral(terms: TargetTerms) -> str:
    asked = [name for name, on in (("sectors", terms.sector_neutral), ("beta", terms.beta_neutral)) if on]
    return " and ".join(asked) or "nothing but net zero"
