"""Trials of a sealed network: whole configurations trained on the periods before the reported ones, and judged.

A trial is a training session of its own, under keys and masks of its own, on the rows before the first reported period
alone. Where a run would predict, everyone keeps the weights, and nothing opens. When it is over, the full coalition's
numbers open as coalitions' numbers do: two per period that may choose. Every party has the same list of configurations,
since all signed it, so a trial is named by its number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Message, Payload, Progress, Role, message
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.coalitions import Moments
from vfl.models.sealed.columns import fitted_labels
from vfl.models.sealed.label import SealedLabel
from vfl.models.sealed.records import ResumedScores
from vfl.terms import WalkForward
from vfl.walk.schedule import Step

__all__ = ["ConfigurationChosen", "TrialBegins", "judged_ics", "sealed_trial"]

F64 = NDArray[np.float64]

_SOURCE = "docs/protocols/sealed.md#trials"

_MOST, _LEAST = 1.01, -0.01
"""What a correlation, and a variance, of rounded numbers reach; training that has left the ring leaves others."""


@message(
    "sealed.trial",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="which of the agreed configurations is tried next",
    source=_SOURCE,
)
class TrialBegins(Message):
    """The trial of this number follows; those before it are over."""

    number: int


@message(
    "sealed.chosen",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="which of the agreed configurations did best on the periods before the reported ones",
    source=_SOURCE,
)
class ConfigurationChosen(Message):
    """The run's own training follows, with the configuration of this number."""

    number: int


def sealed_trial(
    source: SealedLabel, steps: Sequence[Step], panel: LabelPanel, walk: WalkForward, resumed: ResumedScores | None
) -> Flow[None]:
    """Train through ``steps``, marking what would be predicted. resumed: what ``source`` was resumed from.

    Yields Progress in rows; its metric is the decision period's index.

    Learns: nothing.
    Leaks: as :meth:`SealedLabel.train` and :meth:`SealedLabel.mark`.
    Model: semi-honest.
    Source: docs/protocols/sealed.md#trials.
    """
    labels = fitted_labels(panel, walk)
    yield from source.start()
    done, total = 0, sum(len(step.rows) for step in steps)
    for step in steps:
        done += len(step.rows)
        if resumed is not None and step.number < resumed.record.step:
            continue
        if step.kind == "predict":
            yield from source.mark(step)
        else:
            yield from source.train(step, labels.at(step.period, step.rows))
        yield Progress(done, total, metrics={"period": float(step.period)})
    yield from source.finish()


def judged_ics(moments: Moments, parties: Sequence[str]) -> F64 | None:
    """The full coalition's IC in each judged period, float64 (P,); None where training has left the ring.

    Garbage has a variance below 0, or a covariance that none of its variance allows, in nearly every period.
    """
    everyone = frozenset(parties)
    ics = moments.correlations()[everyone]
    if (moments.variance[everyone] < _LEAST).any() or (np.abs(ics) > _MOST).any():
        return None
    return ics
