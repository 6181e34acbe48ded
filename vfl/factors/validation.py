"""The battery: everything that can be said of a finished factor from what is at hand, and what could not be said.

Each check is a module of its own; this one runs them in order. Missing input leaves checks out by name with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import Method, ic_by_period, summarise
from vfl.factors.exposures import library_findings, neutral_findings
from vfl.factors.findings import Findings, Number, Series, Warn, hac_numbers
from vfl.factors.hac import HacMean, hac_mean
from vfl.factors.half_life import half_life, half_life_numbers, ics_by_delay
from vfl.factors.joining import uplift_findings
from vfl.factors.lookahead import lookahead_findings
from vfl.factors.market import MarketData
from vfl.factors.panel import Calendar
from vfl.factors.placebo import opened_placebo, stale_and_memory
from vfl.factors.portfolio import BookTerms, book_findings, capacity, long_short, quantile_spread
from vfl.factors.significance import HURDLE, search_evidence, track_record
from vfl.factors.trials import Trial, series_of

__all__ = ["Subject", "battery", "decay", "ic_findings", "periods_per_year"]

Floats = NDArray[np.float64]

_NOISE = 2.0


@dataclass(frozen=True)
class Subject:
    """A factor and what it should predict, on one grid of T periods and n instruments.

    scores, labels: float64 (T, n), NaN where there is none. horizon: of the label, in periods. known_from: int64 (T, n)
    as in ``LabelPanel``, where known. own: scores (T, n) of the label party, or any fund, alone. features: (T, n) by
    name, for the look-ahead test. embeddings (T, n, h) and how to score others, for the stale test. label_unit: what
    one unit of label is.
    """

    periods: tuple[str, ...]
    scores: Floats
    labels: Floats
    horizon: int
    known_from: NDArray[np.int64] | None = None
    own: Floats | None = None
    features: Mapping[str, Floats] = field(default_factory=dict)
    embeddings: Floats | None = None
    rescored: Callable[[Floats], Floats] | None = None
    label_unit: str = "standard deviations of the label"

    def __post_init__(self) -> None:
        shape = self.scores.shape
        if len(shape) != 2 or shape[0] != len(self.periods):
            raise ValueError(f"scores have shape {shape}, the calendar {len(self.periods)} periods")
        others: dict[str, NDArray[np.float64] | NDArray[np.int64] | None] = {
            "labels": self.labels,
            "known_from": self.known_from,
            "own": self.own,
            **self.features,
        }
        for name, values in others.items():
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} has shape {values.shape}, the scores {shape}: put both on one grid")
        if self.horizon < 1:
            raise ValueError(f"the horizon is {self.horizon} periods; a label takes at least 1")


def periods_per_year(calendar: Calendar) -> float:
    """From the mean distance of cutoffs: about 252 for the sessions of an exchange."""
    if len(calendar) < 2:
        return 1.0
    days = float((calendar.cutoffs[-1] - calendar.cutoffs[0]) / np.timedelta64(1, "D"))
    return 365.25 * (len(calendar) - 1) / days


def battery(
    subject: Subject,
    market: MarketData | None = None,
    terms: BookTerms | None = None,
    *,
    trials: Sequence[Trial] = (),
    n_trials: int = 1,
) -> Findings:
    """Every check that the input allows.

    ``trials`` are all recorded ones, one of them selected; ``n_trials`` counts also those without a record. Raises
    ValueError where shapes do not fit.
    """
    market, terms = market or MarketData(), terms or BookTerms()
    market.require_shape(subject.scores.shape)
    scores, labels, horizon, periods = subject.scores, subject.labels, subject.horizon, subject.periods
    found = ic_findings(subject)
    found |= decay(subject)
    found |= book_findings(scores, periods, terms)
    found |= quantile_spread(scores, labels, terms, horizon=horizon, unit=subject.label_unit)
    found |= long_short(scores, market, periods, terms)
    found |= capacity(scores, market, terms)
    found |= neutral_findings(scores, labels, market, horizon=horizon)
    found |= library_findings(scores, labels, market, horizon=horizon)
    if subject.own is None:
        found |= Findings(left_out={"uplift": "no own factor was given to compare with"})
    else:
        found |= uplift_findings(scores, subject.own, labels, periods, horizon=horizon)
    ics = ic_by_period(scores, labels)
    found |= track_record(ics, horizon=horizon, what="rank IC")
    found |= _search(ics, trials, n_trials, horizon)
    if subject.known_from is None:
        found |= Findings(left_out={"memory": "not known when each label became available"})
    else:
        found |= stale_and_memory(
            scores,
            labels,
            subject.known_from,
            horizon=horizon,
            rescored=subject.rescored,
            embeddings=subject.embeddings,
            own=subject.own,
        )
    if subject.known_from is None or subject.embeddings is None:
        found |= Findings(left_out={"permuted": "no embeddings at hand: the label party can make this placebo"})
    else:
        found |= opened_placebo(subject.embeddings, labels, subject.known_from, horizon=horizon, own=subject.own)
    if subject.features:
        found |= lookahead_findings(subject.features, labels, horizon=horizon)
    else:
        found |= Findings(left_out={"look_ahead": "no features at hand; each party tests its own"})
    return _from_first_to_last(found, subject).first("no uplift")


def _from_first_to_last(found: Findings, subject: Subject) -> Findings:
    """Series over periods without the ends at which nothing was scored."""
    scored = np.flatnonzero(~np.isnan(subject.scores).all(axis=1))
    if not len(scored):
        return found
    kept = slice(int(scored[0]), int(scored[-1]) + 1)
    return replace(
        found,
        series={
            name: Series(s.x[kept], s.y[kept], s.definition, s.unit, s.low[kept], s.high[kept])
            if s.x == subject.periods
            else s
            for name, s in found.series.items()
        },
    )


def ic_findings(subject: Subject) -> Findings:
    """IC and rank IC by period, ICIR, Newey-West t, both halves; warns ``noise`` or ``weak`` by the rank IC's t."""
    horizon = subject.horizon
    numbers: dict[str, Number] = {}
    series: dict[str, Series] = {}
    methods: tuple[tuple[str, Method], ...] = (("rank_ic", "rank"), ("ic", "pearson"))
    for name, method in methods:
        ics = ic_by_period(subject.scores, subject.labels, method)
        summary = summarise(ics, horizon=horizon, method=method)
        told = summary.definition
        mean = hac_mean(ics, horizon=horizon)
        numbers |= hac_numbers(name, mean, f"mean over periods; {told['ic']}", "correlation")
        n = summary.n_periods
        numbers[f"{name}_std"] = Number(summary.std, told["std"], "correlation", n)
        numbers[f"{name}_ir"] = Number(summary.icir, told["icir"], "per period", n)
        numbers[f"{name}_positive"] = Number(summary.positive, told["positive"], "share of periods", n)
        width = len(ics)
        series[name] = Series(
            subject.periods,
            tuple(float(v) for v in ics),
            f"{told['ic']}; the band is the 95 % interval of the mean, {told['t']}",
            "correlation",
            (mean.low,) * width,
            (mean.high,) * width,
        )
    ics = np.asarray(series["rank_ic"].y)
    series["cumulative_rank_ic"] = Series.of(
        subject.periods, np.nancumsum(ics), "sum of rank ICs so far; a straight line is steady skill", "correlation"
    )
    present = np.flatnonzero(np.isfinite(ics))
    for name, half in zip(("first_half", "second_half"), np.array_split(present, 2), strict=True):
        mean = hac_mean(ics[half], horizon=horizon)
        numbers[f"rank_ic_{name}"] = Number(
            mean.mean, f"mean rank IC over the {name.replace('_', ' ')} of the periods", "correlation", mean.n_periods
        )
    return Findings({"ic": numbers}, series, warnings=_strength(hac_mean(ics, horizon=horizon)))


def _strength(mean: HacMean) -> tuple[Warn, ...]:
    if abs(mean.t) >= HURDLE:
        return ()
    if not mean.n_periods:
        return (Warn("noise", "no rank IC can be computed, since no period has scores and labels that vary"),)
    if not abs(mean.t) >= _NOISE:
        return (
            Warn(
                "noise",
                f"a mean rank IC of {mean.mean:+.4f} is not distinguishable from zero: {mean.told}; claim nothing",
            ),
        )
    return (
        Warn(
            "weak",
            f"the t of {mean.t:.1f} is below {HURDLE:g}, the bar for a new factor: with all that is tried everywhere, "
            "many such factors are luck",
        ),
    )


def decay(subject: Subject) -> Findings:
    """Rank IC with the label windows that start 0, 1, 2, ... horizons later, which do not overlap."""
    horizon, labels = subject.horizon, subject.labels
    series, delays = ics_by_delay(subject.scores, labels, horizon)
    names = [str(delay) for delay in delays]
    bands = [hac_mean(ics, horizon=horizon) for ics in series]
    if not bands:
        return Findings(left_out={"decay": "fewer than two periods have labels"})
    definition = f"mean rank IC with the label that starts k periods later, in disjoint windows of {horizon}"
    drawn = Series(
        tuple(names),
        tuple(b.mean for b in bands),
        f"{definition}, with 95 % Newey-West intervals",
        "correlation",
        tuple(b.low for b in bands),
        tuple(b.high for b in bands),
    )
    numbers = {
        f"window_{k}": Number(
            band.mean, definition.replace("k periods", f"{name} periods"), "correlation", band.n_periods
        )
        for k, (name, band) in enumerate(zip(names, bands, strict=True))
    }
    numbers |= half_life_numbers(half_life(np.array(series), np.array(delays, dtype=np.float64), horizon=horizon))
    return Findings({"decay": numbers}, {"decay": drawn})


def _search(ics: Floats, trials: Sequence[Trial], n_trials: int, horizon: int) -> Findings:
    if not trials:
        return search_evidence([ics], 0, horizon=horizon, n_trials=n_trials, what="rank IC")
    _, table = series_of(trials)
    chosen = [i for i, trial in enumerate(trials) if trial.selected]
    if len(chosen) != 1:
        raise ValueError(f"{len(chosen)} trials are marked as selected: the factor comes from exactly one")
    return search_evidence([*table], chosen[0], horizon=horizon, n_trials=n_trials, what="rank IC")
