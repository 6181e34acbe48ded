"""A published factor as its labels arrive: is it what was promised, does it look the same, should it be retrained?

The band says what the mean rank IC of a window may be if nothing has changed: from the published ICs' mean and spread,
allowing for the sampling error of both and for overlapping labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vfl.factors.evaluate import ic_by_period
from vfl.factors.findings import Findings, Number, Series, Warn, hac_numbers
from vfl.factors.hac import CONFIDENCE, hac_mean
from vfl.factors.half_life import HalfLife, half_life, half_life_numbers, ics_by_delay

__all__ = [
    "Action",
    "Advice",
    "Expectation",
    "Monitoring",
    "monitor",
    "population_stability",
    "watched_for_crowding",
    "watched_for_decay",
]

Floats = NDArray[np.float64]
Action = Literal["wait", "keep", "watch", "retrain"]

_BINS = 10
_DRIFTED = 0.25
_MOVED = 0.1
_LEAST_LIVE = 6


@dataclass(frozen=True)
class Expectation:
    """What was published. mean, std: of the rank ICs over ``n_periods`` periods. horizon: of the label, in periods.

    scores: float64 (T0, n), the published scores, whose distribution later ones are compared with.
    """

    mean: float
    std: float
    n_periods: int
    horizon: int
    scores: Floats

    def band(self, window: int) -> tuple[float, float]:
        """Where the mean rank IC of ``window`` periods lies in 95 of 100 cases if nothing has changed."""
        independent = [max(n / max(self.horizon, 1), 1.0) for n in (window, self.n_periods)]
        spread = self.std * math.sqrt(sum(1 / n for n in independent))
        reach = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * spread
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class Advice:
    """What to do, and why: one sentence per reason."""

    action: Action
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Monitoring:
    """Numbers and series of the live periods, and the advice that follows."""

    findings: Findings
    advice: Advice


def population_stability(reference: Floats, live: Floats, bins: int = _BINS) -> float:
    """Population stability index of two samples over the reference's quantile bins; NaN without both.

    Half a count is added to every bin, so that an empty one is not infinite. Below 0.1 is stable, above 0.25 has moved.
    """
    base, now = reference[np.isfinite(reference)], live[np.isfinite(live)]
    if len(base) < bins or not len(now):
        return math.nan
    edges = np.unique(np.quantile(base, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = []
    for sample in (base, now):
        counts = np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def monitor(
    scores: Floats, labels: Floats, periods: tuple[str, ...], expected: Expectation, *, window: int = 12
) -> Monitoring:
    """Score live periods: scores and labels float64 (T, n), NaN where a label has not arrived.

    Raises ValueError on shapes that differ and a window below 2.
    """
    if scores.shape != labels.shape or len(periods) != len(scores):
        raise ValueError(f"scores {scores.shape}, labels {labels.shape} and {len(periods)} periods do not fit")
    if window < 2:
        raise ValueError(f"a window of {window} periods is too short; use 2 or more")
    ics = ic_by_period(scores, labels)
    live = hac_mean(ics, horizon=expected.horizon)
    rolling = _rolling(ics, window)
    low, high = expected.band(window)
    wide = len(periods)
    told = (
        f"mean rank IC over the last {window} labelled periods; it leaves the band in 5 of 100 cases if nothing changed"
    )
    series = {
        "live_rank_ic": Series.of(periods, ics, "rank IC of each live period", "correlation"),
        "rolling_rank_ic": Series(
            periods, tuple(float(v) for v in rolling), told, "correlation", (low,) * wide, (high,) * wide
        ),
    }
    numbers = hac_numbers("rank_ic", live, "mean rank IC over the live periods", "correlation")
    n = live.n_periods
    numbers["expected"] = Number(expected.mean, "mean rank IC as published", "correlation", expected.n_periods)
    ends = expected.band(n) if n else (math.nan, math.nan)
    for name, end in (("expected_low", ends[0]), ("expected_high", ends[1])):
        numbers[name] = Number(
            end, f"where the mean of {n} periods lies in 95 of 100 cases if nothing changed", "correlation", n
        )
    recent = scores[-window:]
    base, now = (s[np.isfinite(s)] for s in (expected.scores, recent))
    drift = population_stability(base, now)
    numbers["psi"] = Number(
        drift,
        f"population stability index of the last {len(recent)} periods' scores against the published, {_BINS} bins",
        "index; above 0.25 has moved",
        len(now),
    )
    distance = float(stats.ks_2samp(base, now).statistic) if len(base) and len(now) else math.nan
    numbers["ks"] = Number(
        distance, "largest gap of the two distribution functions (Kolmogorov-Smirnov)", "share", len(now)
    )
    before, after = (
        float((~np.isnan(s)).sum(axis=1).mean()) if len(s) else math.nan for s in (expected.scores, recent)
    )
    numbers["coverage"] = Number(
        after / before if before else math.nan,
        "instruments per period, last periods against published",
        "ratio",
        len(recent),
    )
    series["psi"] = Series.of(
        periods, [population_stability(base, row) for row in scores], "population stability index by period", "index"
    )
    advice = _advice(numbers, rolling, expected, window)
    warnings = (Warn(advice.action, " ".join(advice.reasons)),) if advice.action in {"watch", "retrain"} else ()
    return Monitoring(Findings({"live": numbers}, series, warnings=warnings), advice)


def watched_for_crowding(found: Monitoring, known: Findings) -> Monitoring:
    """The same with what published signals explain of the score over time: crowding is one more reason to watch.

    known: of :func:`vfl.factors.known_signals.known_findings`, over published and live periods.
    """
    crowded = tuple(warning.text for warning in known.warnings if warning.name == "crowding")
    action: Action = "watch" if crowded and found.advice.action in {"wait", "keep"} else found.advice.action
    advice = Advice(action, (*found.advice.reasons, *crowded))
    warnings = (Warn(action, " ".join(advice.reasons)),) if action in {"watch", "retrain"} else ()
    left_out = {name: why for name, why in known.left_out.items() if name in ("signals", "library")}
    findings = replace(found.findings | replace(known, left_out=left_out), warnings=warnings)
    return Monitoring(findings, advice)


def watched_for_decay(
    found: Monitoring,
    scores: Floats,
    labels: Floats,
    *,
    horizon: int,
    shortest: float | None = None,
    published: HalfLife | None = None,
) -> Monitoring:
    """The same with the half-life of the live rank IC by delay: information that lasts too short is a reason to watch.

    Too short is a fitted half-life below ``shortest``, which somebody who trades the factor names; without it, an
    interval that ends before that of the published half-life begins. scores, labels: float64 (T, n) of live periods.
    """
    series, delays = ics_by_delay(scores, labels, horizon)
    live = HalfLife(math.nan, math.nan, math.nan, 0)
    if series:
        live = half_life(np.array(series), np.array(delays, dtype=np.float64), horizon=horizon)
    findings = found.findings | Findings({"decay": half_life_numbers(live)})
    if shortest is not None and math.isnan(live.periods):
        untold = (
            f"Whether it lasts the {shortest:g} periods that were asked for stays open: the live rank IC shows no "
            "half-life, for there are too few periods, it is not above zero, or it does not fade within the delays."
        )
        return Monitoring(findings, Advice(found.advice.action, (*found.advice.reasons, untold)))
    reason = _faded(live, shortest, published)
    if not reason:
        return replace(found, findings=findings)
    action: Action = "watch" if found.advice.action in {"wait", "keep"} else found.advice.action
    advice = Advice(action, (*found.advice.reasons, reason))
    return Monitoring(replace(findings, warnings=(Warn(action, " ".join(advice.reasons)),)), advice)


def _faded(live: HalfLife, shortest: float | None, published: HalfLife | None) -> str:
    """Why the live half-life is too short; "" where it is not, or where nothing can be fitted."""
    reach = _reach(live)
    told = (
        "What the scores say lasts less than it should: of the rank IC half is gone after "
        f"{live.periods:.1f} periods{reach and f' ({reach})'}"
    )
    act = "trade sooner after the scores or shorten the horizon, and retrain if it stays so."
    if shortest is not None:
        return f"{told}, and {shortest:g} were asked for: {act}" if live.periods < shortest else ""
    if published is not None and not math.isnan(live.periods) and live.high < published.low:
        return f"{told}, and after {_reach(published)} as published: {act}"
    return ""


def _reach(found: HalfLife) -> str:
    """The interval in words; "" where there is none."""
    if math.isnan(found.low):
        return ""
    return f"{found.low:.1f} or more" if math.isnan(found.high) else f"{found.low:.1f} to {found.high:.1f}"


def _rolling(ics: Floats, window: int) -> Floats:
    """Mean of the last ``window`` present ICs at each period; NaN before there are as many."""
    found = np.full(len(ics), np.nan)
    present = np.flatnonzero(np.isfinite(ics))
    for k in range(window - 1, len(present)):
        found[present[k]] = ics[present[k - window + 1 : k + 1]].mean()
    return found


def _advice(numbers: dict[str, Number], rolling: Floats, expected: Expectation, window: int) -> Advice:
    live, count = numbers["rank_ic"].value, numbers["rank_ic"].n
    drift, coverage = numbers["psi"].value, numbers["coverage"].value
    reasons = []
    moved = drift > _DRIFTED
    if moved:
        reasons.append(f"The scores' distribution has moved (PSI {drift:.2f}, above {_DRIFTED}): look at the inputs.")
    elif drift > _MOVED:
        reasons.append(f"The scores' distribution is moving (PSI {drift:.2f}).")
    if coverage < 0.8:
        reasons.append(f"Only {coverage:.0%} of the instruments of before are scored: a party's data may be late.")
    if count < _LEAST_LIVE:
        wait = f"Only {count} live periods have labels; {_LEAST_LIVE} are needed to judge the IC."
        return Advice("watch" if reasons else "wait", (*reasons, wait))
    low, high = numbers["expected_low"].value, numbers["expected_high"].value
    latest = rolling[np.isfinite(rolling)][-1:]
    window_low = expected.band(window)[0]
    if live < low:
        reasons.append(
            f"The live mean rank IC of {live:+.3f} over {count} periods is below the expected {low:+.3f} to "
            f"{high:+.3f}: the relation has weakened, retrain on what has resolved since, or retire the factor if it "
            "stays there."
        )
        return Advice("retrain", tuple(reasons))
    if len(latest) and latest[0] < window_low:
        reasons.append(
            f"The last {window} periods' mean rank IC of {latest[0]:+.3f} is below its band ({window_low:+.3f})."
        )
    if reasons:
        return Advice("watch", tuple(reasons))
    return Advice("keep", (f"The live mean rank IC of {live:+.3f} is within the expected {low:+.3f} to {high:+.3f}.",))
