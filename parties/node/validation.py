"""The battery over a finished run, with what a run has: scores, labels and opened sums; no prices, no sectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from vfl.factors.evaluate import evaluation_window, ic_by_period
from vfl.factors.findings import Findings
from vfl.factors.horizons import horizon_findings
from vfl.factors.lookahead import lookahead_findings
from vfl.factors.panel import Calendar, LabelPanel
from vfl.factors.portfolio import BookTerms
from vfl.factors.trials import FILE, Trial, all_trials, read_trials
from vfl.factors.validation import Subject, battery, periods_per_year
from vfl.models.judging import Tried
from vfl.models.split.top import LabelHead
from vfl.models.split.training import Scorer, scores_by_horizon
from vfl.walk.result import TrainingResult

__all__ = ["Chosen", "Outputs", "earlier_trials", "horizon_outputs", "validate_run"]

F64 = NDArray[np.float64]


def earlier_trials(folder: Path, version: str) -> tuple[tuple[Trial, ...], int]:
    """The trials of a factor's other versions this node stored, oldest first, and how many files are unreadable."""
    groups, unreadable = [], 0
    for path in sorted(folder.glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime_ns):
        if path.parent.name == version:
            continue
        try:
            groups.append([replace(trial, selected=False) for trial in read_trials(path.read_bytes())])
        except (OSError, ValueError):
            unreadable += 1
    return all_trials(groups), unreadable


@dataclass(frozen=True)
class Outputs:
    """The outputs of several horizons: scores (T, n, H), None with one horizon; what each predicts and is worth."""

    scores: F64 | None = None
    meaning: Mapping[str, str] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)


def horizon_outputs(agreement: Agreement, head: Scorer | None, result: TrainingResult, panel: LabelPanel) -> Outputs:
    """Each agreed horizon's output over the evaluation window; nothing where the agreement names one horizon alone."""
    walk = agreement.walk_forward
    if not walk.horizons:
        return Outputs()
    assert isinstance(head, LabelHead)
    scores = scores_by_horizon(head, result, panel)
    window = evaluation_window(agreement.periods, agreement.evaluation.first, agreement.evaluation.last)
    counted = panel.universe & window[:, None]
    labels = [np.where(counted, label, np.nan) for label in (panel.label, *panel.further)]
    names = (agreement.label.name, *(horizon.name for horizon in walk.horizons))
    lengths = (walk.horizon, *(horizon.periods for horizon in walk.horizons))
    told = (agreement.label.definition, *(horizon.definition for horizon in walk.horizons))
    meaning = {
        f"f{place}": f"{name}, {length} periods ahead, {share:.0%} of score" + (f": {definition}" if definition else "")
        for place, (name, length, share, definition) in enumerate(zip(names, lengths, walk.shares, told, strict=True))
    }
    return Outputs(scores, meaning, horizon_findings(scores, result.scores, labels, lengths, names))


class Chosen(Protocol):
    """What a search leaves, whatever it searched: every trial, and the number of the one that the factor is of."""

    @property
    def chosen(self) -> int: ...

    @property
    def tried(self) -> tuple[Tried, ...]: ...


def validate_run(
    agreement: Agreement,
    run_id: str,
    calendar: Calendar,
    panel: LabelPanel,
    result: TrainingResult,
    own: F64 | None,
    rescored: Callable[[F64], F64] | None,
    earlier: tuple[tuple[Trial, ...], int] = ((), 0),
    *,
    found: Chosen | None = None,
    tried: Sequence[Tried] = (),
) -> tuple[Findings, tuple[Trial, ...]]:
    """Findings for the bundle, and the trials: the run's own, then those of ``earlier`` runs for the same factor.

    ``found`` and ``tried`` are of the run's search: each trial is one, and the chosen one is the exported factor's,
    with its ICs of the reported periods. Of the label party's own features the recipients learn only which of them look
    ahead, if any, not their ICs.
    """
    window = evaluation_window(calendar.periods, agreement.evaluation.first, agreement.evaluation.last)
    labels = np.where(panel.universe & window[:, None], panel.label, np.nan)
    horizon = max(agreement.walk_forward.horizon, 1)
    ics = ic_by_period(result.scores, labels)
    counted = np.isfinite(ics)
    trial = Trial(
        run_id=run_id,
        kind=agreement.model.kind,
        terms=_terms(agreement, found.tried[found.chosen] if found is not None else None),
        seed=agreement.model.seed,
        periods=tuple(name for name, known in zip(calendar.periods, counted, strict=True) if known),
        rank_ic=tuple(float(v) for v in ics[counted]),
        selected=True,
        predecessor=earlier[0][-1].run_id if earlier[0] else "",
    )
    trials = all_trials([[trial], _searched(agreement, run_id, calendar, tried), earlier[0]])
    subject = Subject(
        periods=calendar.periods,
        scores=result.scores,
        labels=labels,
        horizon=horizon,
        known_from=panel.known_from,
        own=own,
        embeddings=None if rescored is None else result.embeddings,
        rescored=rescored,
    )
    checked = battery(
        subject,
        terms=BookTerms(periods_per_year=periods_per_year(calendar)),
        trials=trials,
        n_trials=len(trials) + earlier[1],
    )
    columns = {name: panel.features.values[:, :, i] for i, name in enumerate(panel.features.columns)}
    ahead = lookahead_findings(columns, np.where(panel.universe, panel.label, np.nan), horizon=horizon)
    left_out = dict(checked.left_out)
    left_out["look_ahead"] = (
        "of the label party's own features only warnings are told; each feature party tests its own"
    )
    return Findings(checked.numbers, checked.series, left_out, (*checked.warnings, *ahead.warnings)), trials


def _terms(agreement: Agreement, trial: Tried | None) -> dict[str, Any]:
    """All that was chosen for one configuration."""
    model = agreement.model if trial is None else trial.terms
    told = {
        "model": model.model_dump(mode="json"),
        "walk_forward": agreement.walk_forward.model_dump(mode="json"),
        "columns": {party.name: list(party.columns) for party in agreement.parties},
        "label": agreement.label.definition,
        **({"residual": list(agreement.label.residual)} if agreement.label.residual else {}),
        "frequency": agreement.dated.frequency,
    }
    if trial is not None:
        value = trial.value if math.isfinite(trial.value) else None
        told["search"] = {"stage": trial.stage, "number": trial.number, "state": trial.state, "chosen_by": value}
        told["evaluation"] = agreement.evaluation.model_dump(mode="json")
    return told


def _searched(agreement: Agreement, run_id: str, calendar: Calendar, tried: Sequence[Tried]) -> list[Trial]:
    """The search's trials as records, failed and pruned ones too."""
    return [
        Trial(
            run_id=run_id,
            kind=agreement.model.kind,
            terms=_terms(agreement, trial),
            seed=agreement.model.seed,
            periods=tuple(name for name, ic in zip(calendar.periods, trial.ics, strict=True) if math.isfinite(ic)),
            rank_ic=tuple(float(ic) for ic in trial.ics if math.isfinite(ic)),
        )
        for trial in tried
    ]
