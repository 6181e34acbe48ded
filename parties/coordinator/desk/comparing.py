"""Two runs and more side by side at the desk, as ``entente factors compare`` does with bundles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from parties.agreement.every_term import side_by_side
from parties.calls.comparing import ComparedRun, CompareQuestion, ComparisonView, DifferenceView, TermRow
from parties.coordinator.desk.access import holds_factor, run_of
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.desk.factor_index import FactorRow
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run_views import evaluation_numbers, run_summary
from parties.errors import EntenteError

if TYPE_CHECKING:
    from parties.coordinator.desk.context import DeskContext
    from parties.factor.likeness import Likeness
    from vfl.factors.findings import Findings

__all__ = ["doors"]

_REPORTED = ("n_periods", "ic_joint", "ic_own", "t_joint", "uplift", "t_uplift")
_BATTERY = (("ic", "rank_ic_ir"), ("stability", "turnover"), ("long_short", "sharpe"), ("search", "deflated_sharpe"))


def doors(context: DeskContext) -> Doors:
    """The door that compares."""

    def compare(asked: CompareQuestion, caller: Caller) -> ComparisonView:
        known = [run_of(context.engine, run_id, caller) for run_id in dict.fromkeys(asked.run_ids)]
        runs = tuple(_run(context, one, caller) for one in known)
        differences = tuple(_difference(context, known[0], other, caller) for other in known[1:])
        terms = () if caller.role == "reader" else side_by_side([one.agreement for one in known])
        rows = tuple(TermRow(name=name, values=values) for name, values in terms)
        return ComparisonView(runs=runs, differences=differences, terms=rows)

    return {"runs/compare": Door(compare, shape=CompareQuestion)}


def _run(context: DeskContext, known: KnownRun, caller: Caller) -> ComparedRun:
    reported, factor = evaluation_numbers(known.state), FactorRow.of(known)
    numbers: dict[str, float] = {}
    if reported is not None:
        told = reported.model_dump(include=set(_REPORTED))
        numbers = {name: float(told[name]) for name in _REPORTED if told[name] is not None}
    found = _findings(context, known, caller)
    if found is not None:
        battery = {name: found.numbers.get(section, {}).get(name) for section, name in _BATTERY}
        numbers |= {name: one.value for name, one in battery.items() if one is not None and math.isfinite(one.value)}
    return ComparedRun(
        summary=run_summary(known),
        factor_id=factor.said["factor_id"] if factor else "",
        version=factor.said["version"] if factor else "",
        numbers=numbers,
        series=known.progress.series(),
    )


def _difference(context: DeskContext, first: KnownRun, other: KnownRun, caller: Caller) -> DifferenceView:
    from vfl.factors.paired import paired_difference

    one, two = ({point.period: point.ic_joint for point in known.progress.series()} for known in (first, other))
    walks = [known.agreement.walk_forward for known in (first, other)]
    horizon = max(max((walk.horizon, *(one.periods for one in walk.horizons))) for walk in walks)
    gained = paired_difference(one, two, horizon=max(1, horizon))
    alike = _alike(context, first, other, caller)
    return DifferenceView(
        run_id=other.state.run, n_periods=gained.n_periods, mean=_known(gained.mean), t=_known(gained.t),
        low=_known(gained.low), high=_known(gained.high),
        likeness=None if alike is None else _known(alike.correlation.mean), dates=0 if alike is None else alike.dates,
    )  # fmt: skip


def _alike(context: DeskContext, first: KnownRun, other: KnownRun, caller: Caller) -> Likeness | None:
    """How alike the scores are, where both bundles are here and the caller's to see."""
    from parties.factor.likeness import likeness
    from parties.factor.tables import open_folder

    folders = [context.bundles.folder(known.state.run) for known in (first, other) if _held(context, known, caller)]
    if len(folders) < 2:
        return None
    try:
        return likeness(open_folder(folders[0]), open_folder(folders[1]))
    except EntenteError:  # a damaged copy has its own red answer on the factor's page
        return None


def _held(context: DeskContext, known: KnownRun, caller: Caller) -> bool:
    return context.bundles.has(known.state.run) and holds_factor(caller, known.state.plan)


def _findings(context: DeskContext, known: KnownRun, caller: Caller) -> Findings | None:
    from vfl.factors.findings import Findings

    record = context.bundles.validation(known.state.run).get("battery") if _held(context, known, caller) else None
    try:
        return None if record is None else Findings.read(record)
    except ValueError:
        return None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
