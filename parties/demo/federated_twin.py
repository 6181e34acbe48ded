"""A federated run beside the same training in one process, in plain numbers, and beside each member alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.federated_terms import federated_rounds
from parties.data.calendar import calendar_of
from parties.demo.parity import Parity, found_parity
from parties.errors import DataError
from parties.node.home import NodeHome
from parties.node.member_rows import MemberRows, read_member_rows, training_seed
from vfl.factors.evaluate import ic_by_period
from vfl.federated.twin import in_plain

__all__ = ["compare_members"]

F64 = NDArray[np.float64]


def compare_members(out: Path, agreement: Agreement, folder: Path, *, parity: bool) -> dict[str, Any]:
    """The record that goes into twin.json: of each member the model that it trains alone, judged on its own rows.

    folder: the lead's bundle; the others' have its name and version. parity: over the members that took part to the
    end, the common model of the run against plain averaging.
    """
    homes = {party.name: NodeHome(out / "parties" / party.name) for party in agreement.parties}
    made = json.loads((homes[agreement.label.party].folder / "runs" / agreement.run_id / "federated.json").read_text())
    names = [name for name in homes if name in made["rounds"][-1]]
    rows = {
        name: read_member_rows(
            agreement, home.settings.party, home.settings.label, home.folder / home.settings.queries,
            home.folder / home.settings.data,
        )
        for name, home in homes.items()
    }  # fmt: skip
    scores = {
        name: _scores(homes[name].folder / "factors" / folder.parent.name / folder.name, rows[name], agreement)
        for name in names
    }
    joint = {name: _ics(rows[name], scores[name]) for name in names}
    alone = {name: _ics(one, one.scores(one.trained_alone())) for name, one in rows.items()}
    near = _parity(agreement, rows, scores, made) if parity else None
    window = rows[agreement.label.party].window
    return {
        "n_common": sum(len(one.entities) for one in rows.values()),
        "single": {name: _or_none(float(np.nanmean(ics))) for name, ics in alone.items()},
        "periods": list(agreement.periods[window]),
        "rank_ic": {name: [_or_none(value) for value in ics] for name, ics in joint.items()},
        "better_than": {name: float(np.nanmean(joint[name] > alone[name])) for name in names},
        "parity": None if near is None else near.floats,
        "rounded": None if near is None else near.rounded,
        "cause": "" if near is None else near.cause,
        "within": near is None or near.within or not near.cause,
        "retrain": None,
    }


def _parity(agreement: Agreement, rows: dict[str, MemberRows], scores: dict[str, F64], made: dict[str, Any]) -> Parity:
    """Of all members' scores side by side. Who took part in each round is what the run says."""
    agreed = federated_rounds(agreement)
    learners = {name: one.learner(training_seed(agreed, made["attempt"])) for name, one in rows.items()}
    initial = learners[agreement.label.party].weights
    weights = in_plain(agreed, learners, initial, took_part=made["rounds"])
    plain = {}
    for name in scores:
        learners[name].load(weights)
        plain[name] = rows[name].scores(learners[name])
    return found_parity(np.hstack(list(scores.values())), np.hstack(list(plain.values())), None)


def _scores(folder: Path, rows: MemberRows, agreement: Agreement) -> F64:
    """A member's exported factor, (T, n)."""
    factor = pd.read_parquet(folder / "factor.parquet")["score"]
    sessions = pd.DatetimeIndex(calendar_of(agreement.dated).cutoffs).normalize()
    period = sessions.get_indexer(pd.DatetimeIndex(factor.index.get_level_values(0)).as_unit("ns"))
    entity = pd.Index(rows.entities, dtype=object).get_indexer(factor.index.get_level_values(1).astype(object))
    if (period < 0).any() or (entity < 0).any():
        raise DataError(f"{folder}: the factor has rows that this member does not hold")
    scores = np.full(rows.label.shape, np.nan)
    scores[period, entity] = factor.to_numpy()
    return scores


def _ics(rows: MemberRows, scores: F64) -> F64:
    return ic_by_period(scores[rows.window], rows.label[rows.window], "rank", minimum_rows=3, when_constant=0.0)


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
