"""Is it information, or identity? Placebos on openings already made, and what persistent features give away.

A feature that hardly changes says who an entity is. A model with enough of them can learn every entity's usual label,
scores well, and has learned nothing about the future that the label's own history does not say. Three tests:

- *permuted*: other parties' rows belong to other entities, by one fixed permutation, and the model is fitted again.
  Real information is lost; a fingerprint is not: a stranger's constant features name an entity as well as its own.
- *stale*: each entity's embedding is replaced by its own past mean. What keeps its IC does not come from new data.
- *memory*: the score is neutralised against the mean of the entity's labels known at the time.

The first needs the features: in a run the label party permutes its own panel (:func:`permuted_panel`) and trains once
more under encryption, which is the same and costs openings; :func:`placebo_run` compares the two runs. The others need
only what a run has opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import ic_by_period
from vfl.factors.exposures import neutralised
from vfl.factors.findings import Findings, Number, Warn, hac_numbers
from vfl.factors.hac import HacMean, hac_mean
from vfl.factors.panel import LabelPanel

__all__ = [
    "entity_order",
    "label_memory",
    "opened_placebo",
    "past_mean",
    "permuted_panel",
    "permuted_placebo",
    "placebo_run",
    "refit",
    "stale_and_memory",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CLEAR = 3.0
_SOME = 2.0
_KEPT = 0.9
_NOTHING_LEFT = 0.25


def entity_order(count: int, seed: int) -> Ints:
    """A permutation of ``count`` entities, the same for the same seed. Public: it hides nothing."""
    stream = hashlib.shake_256(f"entente placebo {seed}".encode()).digest(8 * count)
    return np.argsort(np.frombuffer(stream, dtype="<u8"), kind="stable").astype(np.int64)


def permuted_panel(panel: LabelPanel, order: Ints) -> LabelPanel:
    """The label party's panel with entity ``order[i]`` in the place of entity i: other parties' rows become strangers'.

    A run on it is the placebo of a run on ``panel``: the same protocol, messages and openings. Scores of place i belong
    to entity ``order[i]``.
    """
    own = panel.features
    features = replace(
        own,
        values=own.values[:, order],
        covered=own.covered[:, order],
        asof=own.asof[:, order],
        available_at=own.available_at[:, order],
    )
    return LabelPanel(
        features,
        panel.label[:, order],
        panel.known_from[:, order],
        panel.universe[:, order],
        tuple(label[:, order] for label in panel.further),
        tuple(known[:, order] for known in panel.further_known),
    )


def past_mean(values: Floats) -> Floats:
    """Mean of each entity's earlier values, float64 of the shape of ``values`` (T, n) or (T, n, h); NaN at first."""
    present = ~np.isnan(values)
    total = np.cumsum(np.where(present, values, 0.0), axis=0)
    seen = np.cumsum(present, axis=0)
    found = np.full(values.shape, np.nan)
    known = seen[:-1] > 0
    found[1:][known] = total[:-1][known] / seen[:-1][known]
    return found


def label_memory(labels: Floats, known_from: Ints) -> Floats:
    """Mean of each entity's labels that are known at each period, float64 (T, n); NaN where none is."""
    periods, entities = labels.shape
    total, seen = np.zeros((periods, entities)), np.zeros((periods, entities))
    row, column = np.nonzero(np.isfinite(labels) & (known_from < periods))
    np.add.at(total, (known_from[row, column], column), labels[row, column])
    np.add.at(seen, (known_from[row, column], column), 1.0)
    total, seen = np.cumsum(total, axis=0), np.cumsum(seen, axis=0)
    return np.where(seen > 0, total / np.maximum(seen, 1.0), np.nan)


def refit(columns: Floats, labels: Floats, known_from: Ints, *, alpha: float = 10.0, warmup: int = 4) -> Floats:
    """Walk-forward ridge of labels (T, n) on columns (T, n, d), scores float64 (T, n): a quick model for placebos.

    Period t is scored by a fit on rows whose label was known by t and that are older than t. NaN where a column is, and
    until ``warmup`` periods have known labels.
    """
    periods, _, width = columns.shape
    design = np.concatenate([np.ones((*labels.shape, 1)), columns], axis=2)
    usable = np.isfinite(labels) & np.isfinite(columns).all(axis=2)
    ready = np.maximum(known_from, np.arange(periods)[:, None] + 1)
    gram, cross = np.zeros((width + 1, width + 1)), np.zeros(width + 1)
    seen: set[int] = set()
    scores = np.full(labels.shape, np.nan)
    penalty = alpha * np.diag(np.r_[0.0, np.ones(width)])
    for t in range(periods):
        row, entity = np.nonzero(usable & (ready == t))
        x = design[row, entity]
        gram += x.T @ x
        cross += x.T @ labels[row, entity]
        seen.update(row.tolist())
        if len(seen) >= warmup:
            weights = np.linalg.solve(gram + penalty + 1e-9 * np.eye(width + 1), cross)
            scores[t] = design[t] @ weights
    return scores


def permuted_placebo(
    fitted: Callable[[Ints | None], Floats],
    labels: Floats,
    *,
    horizon: int,
    own: Floats | None = None,
    n_placebos: int = 3,
    seed: int = 0,
) -> Findings:
    """Fit with the truth (None) and with other parties' rows permuted, and compare rank ICs on the same rows.

    ``fitted(order)`` trains anew, entity i having the rows of entity ``order[i]``, and returns scores (T, n) in the
    entities' true order. ``own``: scores of the label party alone, whose IC any placebo keeps. Warns ``fingerprint``
    where the placebo gains half of what the truth gains, or more.
    """
    count = labels.shape[1]
    truth = fitted(None)
    shared = np.where(np.isnan(truth), np.nan, labels)
    base = np.zeros(len(labels)) if own is None else ic_by_period(own, shared)
    gain = ic_by_period(truth, shared) - base
    gains = np.stack([ic_by_period(fitted(entity_order(count, seed + k)), shared) - base for k in range(n_placebos)])
    placebo = gains.mean(axis=0)
    of_truth, of_placebo = hac_mean(gain, horizon=horizon), hac_mean(placebo, horizon=horizon)
    lost = hac_mean(gain - placebo, horizon=horizon)
    over = "" if own is None else " less that of the label party alone"
    numbers = hac_numbers("truth", of_truth, f"rank IC of the model fitted on true rows{over}", "correlation")
    numbers |= hac_numbers(
        "permuted",
        of_placebo,
        f"the same, fitted with other parties' rows under {n_placebos} fixed permutations of entities, mean over them",
        "correlation",
    )
    numbers |= hac_numbers("truth_less_permuted", lost, "paired difference of the two", "correlation")
    return Findings({"placebo": numbers}, warnings=_as_good("the placebo", of_truth, of_placebo))


def _as_good(what: str, truth: HacMean, placebo: HacMean) -> tuple[Warn, ...]:
    """A warning where the placebo gains half of what the truth gains, or more."""
    if not (truth.t > _SOME and placebo.mean >= 0.5 * truth.mean):
        return ()
    return (
        Warn(
            "fingerprint",
            f"{what} gains {placebo.mean:+.3f} of rank IC where the truth gains {truth.mean:+.3f}: with "
            "strangers' rows the model does about as well, so persistent features identify entities and it has "
            "learned their usual label; drop the features that hardly change, or take differences of them",
        ),
    )


def placebo_run(
    truth: Floats, placebo: Floats, *, horizon: int, openings: int, own: Floats | None = None, run_id: str = ""
) -> Findings:
    """Rank ICs by period (T,) of a run and of its placebo run: the whole training again on strangers' rows.

    ``own``: ICs (T,) of the label party alone, which any placebo keeps, so only what both gain over it is compared.
    ``openings``: of a row, at most, that the placebo run took beside the run's. Warns ``fingerprint`` as
    :func:`permuted_placebo` does.
    """
    base = np.zeros(len(truth)) if own is None else own
    shared = np.isfinite(truth) & np.isfinite(placebo) & np.isfinite(base)
    gain, other = (np.where(shared, ics - base, np.nan) for ics in (truth, placebo))
    of_truth, of_placebo = hac_mean(gain, horizon=horizon), hac_mean(other, horizon=horizon)
    lost = hac_mean(gain - other, horizon=horizon)
    over = "" if own is None else " less that of the label party alone"
    named = f"run {run_id[:12]}" if run_id else "the placebo run"
    numbers = hac_numbers("run_truth", of_truth, f"rank IC of the run{over}", "correlation")
    numbers |= hac_numbers(
        "run_permuted",
        of_placebo,
        f"the same of {named}: the whole encrypted training again with the feature parties' rows given to other "
        "entities, by one public permutation for all periods",
        "correlation",
    )
    numbers |= hac_numbers("run_truth_less_permuted", lost, "paired difference of the two", "correlation")
    numbers["run_openings"] = Number(
        float(openings),
        f"openings of a row that {named} took at most, beside those of the run; every feature party counts both",
        "openings",
        of_placebo.n_periods,
    )
    return Findings({"placebo": numbers}, warnings=_as_good("the placebo run", of_truth, of_placebo))


def opened_placebo(
    embeddings: Floats, labels: Floats, known_from: Ints, *, horizon: int, own: Floats | None = None
) -> Findings:
    """The permuted placebo on what a run has opened: a ridge on own scores and embeddings, true or strangers'.

    It tells what the embeddings add to the label party's own score (T, n), and that strangers' add nothing. The source
    weights were trained on true rows, so a fingerprint inside them shows in the memory test, not here.
    """
    alone = None if own is None else refit(own[:, :, None], labels, known_from)

    def fitted(order: Ints | None) -> Floats:
        theirs = embeddings if order is None else embeddings[:, order]
        return refit(theirs if own is None else np.concatenate([own[:, :, None], theirs], axis=2), labels, known_from)

    found = permuted_placebo(fitted, labels, horizon=horizon, own=alone)
    if not found.numbers["placebo"]["truth"].n:
        return Findings(left_out={"permuted": "too few periods are scored with resolved labels behind them"})
    return found


def stale_and_memory(
    scores: Floats,
    labels: Floats,
    known_from: Ints,
    *,
    horizon: int,
    rescored: Callable[[Floats], Floats] | None = None,
    embeddings: Floats | None = None,
    own: Floats | None = None,
) -> Findings:
    """The stale and the memory test, on scores (T, n) and, where given, the opened embeddings (T, n, h).

    ``rescored(embeddings)`` scores other embeddings with the models as they were; the IC of ``own``, scores (T, n) of
    the label party alone, is then taken off both sides, since its features stay fresh. Warns ``fingerprint`` where the
    score keeps hardly any IC beside the memory of labels, ``persistent`` where old embeddings keep nearly all of it.
    """
    if rescored is None or embeddings is None:
        stale, own = past_mean(scores), None
        what = "each entity's score replaced by the mean of its earlier scores"
    else:
        old = past_mean(embeddings)
        usable = np.asarray(np.isfinite(old).all(axis=2))
        stale = np.where(usable, rescored(np.where(usable[:, :, None], old, 0.0)), np.nan)
        what = "each entity's embedding replaced by the mean of its earlier ones"
    aged, lives_on_old = _stale(scores, stale, labels, own, horizon, what)
    remembered, whole, left = _memory(scores, labels, label_memory(labels, known_from), horizon)
    warnings: tuple[Warn, ...] = ()
    also = ", and old values do as well as new ones" if lives_on_old else ""
    if whole.n_periods and whole.t > _CLEAR and left.mean < _NOTHING_LEFT * whole.mean:
        warnings = (
            Warn(
                "fingerprint",
                f"beside the mean of each entity's known labels the score has a rank IC of {left.mean:+.3f} "
                f"({left.told}), of {whole.mean:+.3f} before{also}: "
                "it has learned who the entities are, not what happens to them; the labels' history says as much",
            ),
        )
    elif lives_on_old:
        told = (
            f"{lives_on_old}: it lives on features that hardly change; see the permuted placebo before you call it news"
        )
        warnings = (Warn("persistent", told),)
    return aged | remembered | Findings(warnings=warnings)


def _stale(
    scores: Floats, stale: Floats, labels: Floats, own: Floats | None, horizon: int, what: str
) -> tuple[Findings, str]:
    """Numbers, and one sentence where old values do nearly as well as new ones."""
    shared = np.where(np.isnan(stale) | np.isnan(scores), np.nan, labels)
    fresh_ics, stale_ics = ic_by_period(scores, shared), ic_by_period(stale, shared)
    fresh, aged = hac_mean(fresh_ics, horizon=horizon), hac_mean(stale_ics, horizon=horizon)
    if not aged.n_periods:
        return Findings(left_out={"stale": "no period has scores with earlier ones behind them"}), ""
    numbers = hac_numbers("fresh", fresh, "rank IC of the score on the rows of the stale test", "correlation")
    numbers |= hac_numbers("stale", aged, f"rank IC with {what}", "correlation")
    base = np.zeros(len(labels)) if own is None else ic_by_period(own, shared)
    gain, kept = hac_mean(fresh_ics - base, horizon=horizon), hac_mean(stale_ics - base, horizon=horizon)
    if not (gain.t > _SOME and kept.mean >= _KEPT * gain.mean):
        return Findings({"placebo": numbers}), ""
    over = "" if own is None else " over the label party's own"
    return Findings({"placebo": numbers}), (
        f"the score keeps {kept.mean:+.3f} of its rank IC of {gain.mean:+.3f}{over} when what was opened is old"
    )


def _memory(scores: Floats, labels: Floats, memory: Floats, horizon: int) -> tuple[Findings, HacMean, HacMean]:
    """Numbers, and the rank IC before and after neutralising against the memory of labels."""
    beside = neutralised(scores, [memory])
    rows = np.where(np.isnan(beside), np.nan, labels)
    whole, left = (hac_mean(ic_by_period(s, rows), horizon=horizon) for s in (scores, beside))
    if not whole.n_periods:
        reason = "no period has scores and labels with known ones behind them"
        return Findings(left_out={"memory": reason}), whole, left
    numbers = hac_numbers("whole", whole, "rank IC of the score on the rows of the memory test", "correlation")
    numbers |= hac_numbers(
        "beside_memory",
        left,
        "rank IC of the score's residual on the mean of each entity's labels known at the time",
        "correlation",
    )
    return Findings({"placebo": numbers}), whole, left
