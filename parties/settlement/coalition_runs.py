"""The retrain way between real parties: contributions from a run per coalition, of which only sums were opened.

Each run was proposed with only its coalition's members as feature parties, and its label party reported the rank IC
of each period. What the runs must have in common is checked here, because a difference in rows, labels or terms would
pass for a contribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.sameness import BESIDE, differing
from parties.calls.views import RunView
from parties.errors import ConfigError
from vfl.contribution import ContributionReport, coalitions, exact_shapley

__all__ = ["Retrained", "retrained"]

Floats = NDArray[np.float64]

_ROUNDING = 1e-6
"""Between two trainings of the label party's own model on the same rows."""


@dataclass(frozen=True)
class Retrained:
    """The report, the run of each coalition (members in order), and the periods of the series."""

    report: ContributionReport
    runs: Mapping[tuple[str, ...], str]
    periods: tuple[str, ...]
    n_common: int

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.report.record() | {
            "runs": [{"parties": list(members), "run_id": run} for members, run in self.runs.items()],
            "periods": list(self.periods),
            "n_common": self.n_common,
        }


@dataclass(frozen=True)
class _Run:
    view: RunView
    agreement: Agreement

    @property
    def name(self) -> str:
        return f"run {self.view.run_id[:12]} ({', '.join(self.members)})"

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(party.name for party in self.agreement.features)

    def series(self, what: str) -> Floats:
        """``ic_joint`` or ``ic_own`` by period of the calendar, NaN where there is none."""
        points = {point.period: getattr(point, what) for point in self.view.series}
        known = (points.get(period) for period in self.agreement.periods)
        return np.array([math.nan if value is None else value for value in known], dtype=np.float64)


def retrained(views: Sequence[RunView]) -> Retrained:
    """Exact Shapley values over the coalitions of finished runs, in out-of-sample rank IC.

    The label party's own model is v of nobody; without features of its own that is 0. Feature parties of the label
    party's legal entity are in every coalition and earn nothing; those of one legal entity join together.
    Raises :class:`ConfigError` naming the run and the remedy: a coalition without a run or with two, runs that have
    not finished, and runs that differ in label, calendar, evaluation window, model, columns or common entities.
    """
    runs = [_finished(view) for view in views]
    if not runs:
        raise ConfigError("name the runs of the coalitions: entente run list shows their ids")
    by_members: dict[frozenset[str], _Run] = {}
    for run in runs:
        twin = by_members.setdefault(frozenset(run.members), run)
        if twin.view.run_id != run.view.run_id:
            raise ConfigError(f"{twin.name} and {run.name} are of one coalition: name only one of them")
    widest = max(by_members.values(), key=lambda run: len(run.members))
    for run in by_members.values():
        _check_same(widest, run)
    players = widest.members
    entities = widest.agreement.legal_entities
    game = _game(by_members, players, widest.agreement.kin)
    try:
        report = exact_shapley(
            game,
            method="retrain",
            parties=players,
            horizon=max(widest.agreement.walk_forward.horizon, 1),
            entities=entities,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    ordered = {run.members: run.view.run_id for run in sorted(by_members.values(), key=lambda run: len(run.members))}
    return Retrained(report, ordered, widest.agreement.periods, widest.view.n_common or 0)


def _finished(view: RunView) -> _Run:
    if view.status != "settled":
        why = f" ({view.reason})" if view.reason else ""
        raise ConfigError(f"run {view.run_id[:12]} is {view.status}{why}: name runs that have finished")
    try:
        run = _Run(view, Agreement.model_validate(view.agreement))
    except ValidationError:
        raise ConfigError(f"run {view.run_id[:12]} is of another version's terms: run its coalition again") from None
    if run.agreement.placebo is not None:
        raise ConfigError(f"{run.name} is a placebo, which no coalition's contribution follows from: leave it out")
    if not np.isfinite(run.series("ic_joint")).any():
        raise ConfigError(
            f"{run.name} tells no rank IC by period: agree on evaluation.metrics_to_coordinator = true, and run again"
        )
    return run


def _check_same(one: _Run, other: _Run) -> None:
    """Only membership may differ. Raises :class:`ConfigError` saying what else does."""
    if faults := differing(one.agreement, other.agreement, BESIDE):
        raise ConfigError(f"{one.name} and {other.name} differ in {faults[0]}: propose both from one file of terms")
    mine = {party.name: (party.role, party.legal_entity, party.columns) for party in one.agreement.parties}
    for party in other.agreement.parties:
        if party.name not in mine:
            raise ConfigError(f"no run has all parties together: {one.name} lacks {party.name!r}; run them all at once")
        if mine[party.name] != (party.role, party.legal_entity, party.columns):
            raise ConfigError(f"{one.name} and {other.name} differ in the columns of {party.name!r}: run both anew")
    if one.view.n_common != other.view.n_common:
        raise ConfigError(
            f"{one.name} has {one.view.n_common} common entities and {other.name} {other.view.n_common}: they are "
            'compared on different rows; agree on one list of entities (alignment.policy = "universe")'
        )
    left, right = one.series("ic_own"), other.series("ic_own")
    if not np.allclose(left, right, rtol=0.0, atol=_ROUNDING, equal_nan=True):
        raise ConfigError(
            f"the label party's own model has other rank ICs in {one.name} than in {other.name}: their rows or labels "
            "differ; run one of them again on the same data"
        )


def _game(
    by_members: Mapping[frozenset[str], _Run], players: tuple[str, ...], kin: frozenset[str]
) -> dict[frozenset[str], Floats]:
    """Coalition -> rank IC by period. Raises :class:`ConfigError` naming the coalitions that no run is of."""
    try:
        wanted = coalitions(players)
    except ValueError as error:
        raise ConfigError(f"{error}: leave some parties together in every run") from None
    missing = [c for c in wanted if c | kin and c | kin not in by_members]
    if missing:
        names = [",".join(name for name in players if name in c | kin) for c in missing]
        told = "; ".join(dict.fromkeys(names))
        raise ConfigError(f"no run of the coalition {told}: entente run propose FILE --only {names[0]}")
    first = next(iter(by_members.values()))
    own, joint = first.series("ic_own"), first.series("ic_joint")
    nobody = np.where(np.isfinite(joint), 0.0, np.nan) if np.isnan(own).all() else own
    return {c: by_members[c | kin].series("ic_joint") if c | kin else nobody for c in wanted}
