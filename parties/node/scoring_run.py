"""A scoring session at one node: what it must be before this node signs it, and its one phase."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from parties.agreement.daily_terms import DailyTerms, scored_periods
from parties.agreement.document import Agreement
from parties.data.agreed_rows import rows_of
from parties.errors import AgreementError, DataError
from parties.node.context import RunContext, Secret
from parties.node.earlier_runs import proposed_before
from parties.node.home import NodeHome
from parties.node.kept_weights import KeptRun, kept_run
from parties.node.run_ends import kept_end
from parties.node.scoring_feature import ScoringFeatureParty
from parties.proposing.scoring import check_scoring, daily_of
from vfl.factors.panel import FeaturePanel, LabelPanel

if TYPE_CHECKING:
    from pathlib import Path

    from parties.node.scoring_label import LabelScoring

__all__ = ["IncompleteError", "ScoringRun", "check_complete", "check_session", "check_universe"]

_FRESH = 0.8
_LOOKED_AT = 8


class IncompleteError(DataError):
    """A new period's data is not there yet. Its words stay at home; peers read that it is not complete."""


class ScoringRun:
    """This node's part of one session."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        kept, daily = _agreed(context.agreement, context.folder, context.secret, context.me)
        self._part: LabelScoring | ScoringFeatureParty
        if context.agreement.label.party == context.me:
            from parties.node.scoring_label import LabelScoring

            self._part = LabelScoring(context, kept, daily)
        else:
            self._part = ScoringFeatureParty(context, kept, daily)

    def train(self, attempt: int) -> dict[str, Any]:
        """Score the new periods; the report of it."""
        part = self._part
        part.train(attempt)
        if isinstance(part, ScoringFeatureParty):
            return {"openings": {"limit": part.budget.limit, "max_used": part.budget.largest}}
        return {"rows": sum(len(step.rows) for step in part.steps)}

    def deliver(self, attempt: int) -> dict[str, Any]:
        """At the label party: send the live records to the coordinator, which is a recipient; the report of it."""
        assert not isinstance(self._part, ScoringFeatureParty)
        return self._part.deliver(attempt)


def _agreed(agreement: Agreement, home: Path, secret: Secret, me: str) -> tuple[KeptRun, DailyTerms]:
    """What this node kept of the trained run, and its terms. Raises :class:`AgreementError` where it keeps nothing."""
    terms, now = agreement.scores, datetime.now(UTC)
    assert terms is not None
    trained = proposed_before(home, terms.of)
    check_scoring(agreement, trained, now)
    assert trained is not None
    daily, kept = daily_of(trained, now), kept_run(home, secret, me, terms.of)
    if kept is None:
        raise AgreementError(
            f"{me} keeps no weights of run {terms.of[:12]} any more: they were erased, or the run never ended here; "
            "propose a new run"
        )
    return kept, daily


def check_session(agreement: Agreement, home: NodeHome, secret: Secret) -> tuple[str, ...]:
    """Raise unless this node may take part: the trained run agreed to it, and its own data of the periods is complete.

    What was looked at, in lines. Raises :class:`AgreementError` or :class:`ConfigError` with words for everybody, and
    :class:`DataError` with words for this party's operators alone.
    """
    me, folder = home.identity.name, home.folder
    kept, daily = _agreed(agreement, folder, secret, me)
    end = kept_end(folder / "runs" / kept.run_id)
    if end is None or end.status != "settled":
        raise AgreementError(f"run {kept.run_id[:12]} is not settled here, so its weights score nothing yet")
    for period in scored_periods(agreement):
        kept.check_free(period, agreement.run_id, daily.scores)
    settings, queries, data = home.settings, folder / home.settings.queries, folder / home.settings.data
    party, rows = settings.party, rows_of(agreement)
    trained = proposed_before(folder, kept.run_id)
    assert trained is not None
    panel: FeaturePanel | None = None
    if settings.label is not None:
        labels = rows.labels(party, settings.label, queries, data, kept.rows.ids)
        check_universe(agreement, labels, settings.label.query)
        panel = labels.features
    elif party.own_columns:
        panel = rows.features(party, queries, data, kept.rows.ids)
    if panel is not None and party.own_columns:
        check_complete(agreement, panel, len(trained.periods), party.asked)
    told = ", ".join(scored_periods(agreement))
    return (f"Scores {told} of run {kept.run_id[:12]}: {len(kept.scored())} of {daily.scores} periods scored so far.",)


def check_universe(agreement: Agreement, labels: LabelPanel, query: str) -> None:
    """Raise :class:`IncompleteError` where the label query yields no entity of a new period yet."""
    for period in scored_periods(agreement):
        if not labels.universe[agreement.periods.index(period)].any():
            raise IncompleteError(
                f"{query}: no entity is in the universe in {period}: let the query yield its rows, with an empty "
                "label, as soon as the period is over"
            )


def check_complete(agreement: Agreement, panel: FeaturePanel, trained: int, query: str) -> None:
    """Raise :class:`IncompleteError` unless about as many entities have news in each new period as in the last ones of
    the ``trained`` periods of the run.
    """
    cutoffs = np.array(
        [cutoff.astimezone(UTC).replace(tzinfo=None) for cutoff in agreement.dated.cutoffs], dtype="datetime64[ns]"
    )
    news = np.zeros(len(cutoffs))
    news[1:] = (panel.available_at[1:] > cutoffs[:-1, None]).mean(axis=1)
    covered = panel.covered.mean(axis=1)
    assert agreement.scores is not None
    first = agreement.periods.index(agreement.scores.first)
    before = slice(max(min(1, trained - 1), trained - _LOOKED_AT), trained)
    for period in range(first, len(cutoffs)):
        for what, share in (("data that became known since the last cutoff", news), ("data", covered)):
            usual = float(np.median(share[before]))
            if share[period] < _FRESH * usual:
                count = panel.covered.shape[1]
                raise IncompleteError(
                    f"{query}: in {agreement.periods[period]} {round(share[period] * count)} of {count} entities have "
                    f"{what}, where {round(usual * count)} is usual: score it when the data is complete"
                )
