"""A linear start: the scores of a sealed linear model, in shares, at which boosting begins. Nothing of it opens.

The linear model is the sealed network without squared columns, trained on its own schedule up to each fit. Both holders
keep their shares of its score of every row that the fit's trees score, and a fit's scores begin at these instead of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Progress
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.columns import fitted_labels, sealed_columns
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.label import SealedLabel
from vfl.models.sealed.records import ResumedScores, StepRecord
from vfl.models.sealed.twin import IntegerTwin
from vfl.terms import FixedPoint, SealedModel, WalkForward
from vfl.tree_terms import TreesModel
from vfl.walk.cycles import cyclic
from vfl.walk.refits import carried_rows, fits_of, refits
from vfl.walk.schedule import PREDICT_ROWS, Step

__all__ = ["LinearStart", "linear_model", "linear_scores", "linear_twin", "own_start", "start_steps", "train_start"]

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]


def linear_model(terms: TreesModel) -> SealedModel:
    """The sealed network that the trees begin at: a line alone."""
    said = SealedModel(alpha=terms.init_alpha, label_clip=terms.label_clip, anchor=terms.anchor, seed=terms.seed)
    return said.model_copy(update={"width": 0})  # no run of its own: only a start, which opens no score


def start_steps(terms: TreesModel, steps: Sequence[Step], linear: Sequence[Step]) -> tuple[Step, ...]:
    """The steps of the linear model, numbered anew: at each fit of ``steps``, after its training, the rows to keep.

    linear: the model's own schedule, whose predictions are left out. Rows are those that the fit's trees score.
    """
    carried, made, trained = carried_rows(terms, steps), list[Step](), [s for s in linear if s.kind == "train"]
    for fit in fits_of(steps):
        while trained and trained[0].period <= fit[0].period:
            step = trained.pop(0)
            made.append(Step(len(made), "train", step.period, step.rows, step.known))
        rows = np.concatenate([fit[0].rows, carried[fit[0].number]])
        for first in range(0, len(rows), PREDICT_ROWS):
            made.append(Step(len(made), "predict", fit[0].period, rows[first : first + PREDICT_ROWS]))
    return tuple(made)


def train_start(
    source: SealedLabel,
    steps: Sequence[Step],
    labels: Callable[[Step], F64],
    *,
    resumed: ResumedScores | None = None,
) -> Flow[None]:
    """Train the linear model and keep shares of its scores, in ``source.held``.

    Learns: its own shares, uniform in Z_p.
    Leaks: as :meth:`vfl.models.sealed.label.SealedLabel.train` and ``hold``.
    Model: semi-honest; nothing opens.
    Source: docs/protocols/trees.md#a-linear-start.
    """
    done, total = 0, sum(len(step.rows) for step in steps)
    yield from source.start()
    for step in steps:
        done += len(step.rows)
        if resumed is not None and step.number < resumed.record.step:
            continue
        if step.kind == "predict":
            yield from source.hold(step)
        else:
            yield from source.train(step, labels(step))
        yield Progress(done, total, metrics={"period": float(step.period)})
    yield from source.finish()


class LinearStart:
    """A holder's shares of linear scores, as they were kept. records: of every kept step, by its number."""

    def __init__(self, records: Mapping[int, StepRecord]) -> None:
        self._records = [records[number] for number in sorted(records)]

    def of(self, rows: I64) -> U64:
        """Its share of the scores (B,) that were kept for a fit whose trees score just these rows.

        Raises LocalProtocolError where there is no such fit.
        """
        wanted = np.sort(rows)
        for place in range(len(self._records)):
            stop, count = place, 0
            while stop < len(self._records) and count < len(rows):
                count, stop = count + len(self._records[stop].rows), stop + 1
            kept = self._records[place:stop]
            ids = np.concatenate([record.rows for record in kept])
            order = np.argsort(ids)
            if np.array_equal(ids[order], wanted):
                shares = np.concatenate([record.arrays["scores"].astype(np.uint64) for record in kept])[order]
                return shares[np.searchsorted(wanted, rows)]
        raise LocalProtocolError(f"no linear scores were kept for a fit of {len(rows)} rows")


def linear_scores(
    columns: Sequence[F64], panel: LabelPanel, terms: TreesModel, walk: WalkForward, fixed: FixedPoint, weight: I64
) -> list[tuple[I64, I64]]:
    """What :func:`linear_twin` gives over a calendar. columns: float64 (T * n, d_k) of each party, the label's last.

    weight: int64 (d, 1), the sum of both sides' initial parts in that order. Raises SealedRangeError.
    """
    linear, known = linear_model(terms), (panel.known_from, panel.label, panel.universe)
    schedule = tuple(cyclic(linear, walk, *known))
    steps = start_steps(terms, tuple(refits(terms, walk, *known)), schedule)
    labels = fitted_labels(panel, walk)
    whole = np.concatenate([sealed_columns(x, linear, fixed) for x in columns if x.shape[1]], axis=1)
    twin = IntegerTwin(whole, weight, linear, fixed)
    return linear_twin(twin, steps, lambda step: labels.at(step.period, step.rows))


def own_start(
    columns: F64, panel: LabelPanel, terms: TreesModel, walk: WalkForward, fixed: FixedPoint, seeds: tuple[bytes, bytes]
) -> list[tuple[I64, I64]]:
    """:func:`linear_scores` of one party's columns alone; none where boosting begins at zero.

    seeds: 32 bytes of each of the two draws that the initial weights are the sum of.
    """
    if terms.init_score == "zero":
        return []
    count, model = columns.shape[1], linear_model(terms)
    weight = np.sum([sealed_draw(seed, count, model, count) for seed in seeds], axis=0)
    return linear_scores([columns], panel, terms, walk, fixed, weight)


def linear_twin(twin: IntegerTwin, steps: Sequence[Step], labels: Callable[[Step], F64]) -> list[tuple[I64, I64]]:
    """Of each kept step its rows and their linear scores at HELD_BITS, as a run rounds.

    As in a run whatever the ring holds is kept, 2**15 deviations of the label. Raises SealedRangeError beyond.
    """
    kept = []
    for step in steps:
        if step.kind == "predict":
            kept.append((step.rows, twin.linear(step)))
        else:
            twin.train(step, labels(step))
    return kept
