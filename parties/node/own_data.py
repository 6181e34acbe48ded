"""A party's own data over an agreement's calendar, read before it signs as a run reads it afterwards.

What is found out here would otherwise stop a run that everybody has signed. A party's counts are its own: what does not
fit is a :class:`DataError`, whose words stay at this node, and peers read only that the data cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parties.agreement.document import Agreement
from parties.data.agreed_rows import rows_of
from parties.data.check import mended, row_faults
from parties.data.entities import has_periods, listed_names, party_entities
from parties.data.stale_rows import stale_end
from parties.data.static_panel import TooFewRows
from parties.data.text_scorer import pinned_scorer
from parties.errors import DataError
from parties.node.align import listed_universe
from parties.node.group_encoder import as_served
from parties.node.settings import NodeSettings
from parties.plurals import things
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.walk.schedule import resolved_before

__all__ = ["OwnData", "data_check", "read_own_data"]


@dataclass(frozen=True, eq=False)
class OwnData:
    """What a party would bring to a run.

    entities: canonical ids, sorted. panel: its features over (calendar, entities), None where it brings labels alone.
    label: the label party's. covered: periods in which it has a row. few: what is too few of it, "" where nothing is.
    """

    entities: tuple[str, ...]
    panel: FeaturePanel | None
    label: LabelPanel | None
    covered: int
    few: str = ""

    def lines(self, agreement: Agreement) -> tuple[str, ...]:
        """What was read, for the party's own operators."""
        periods, found = agreement.periods, [f"Data: {things(len(self.entities), 'entities')}"]
        if agreement.static is not None:
            found[0] += ", one row each"
        elif self.panel is not None:
            found[0] += f", rows in {self.covered} of {len(periods)} periods ({periods[0]} to {periods[-1]})"
        if self.label is not None:
            found[0] += f", {things(int(np.isfinite(self.label.label).sum()), 'labels')}"
        if self.panel is not None and agreement.static is None and 0 < self.covered < len(periods):
            found.append(
                f"In {things(len(periods) - self.covered, 'periods')} no entity has a row of ours: they count "
                "as absent."
            )
        if self.panel is not None and agreement.static is None:
            found.extend(f"warning: {line}" for line in stale_end(self.panel, periods))
        if self.few:
            found.append(f"warning: it would stop in training: {self.few}")
        terms = agreement.alignment
        if terms.compares and len(self.entities) < terms.minimum_common:
            found.append(
                f"warning: fewer than the {things(terms.minimum_common, 'common entities')} that the run needs "
                "(alignment.minimum_common): "
                "it would stop in alignment"
            )
        if terms.compares and len(self.entities) > terms.maximum_set_size:
            found.append(
                f"warning: more than the {things(terms.maximum_set_size, 'entities')} that the agreement allows "
                "(alignment.maximum_set_size): it would stop in alignment"
            )
        return tuple(f"{line.rstrip('.')}." for line in found)


def read_own_data(agreement: Agreement, settings: NodeSettings, folder: Path) -> OwnData:
    """Run this party's queries and build its panel over all its entities and the agreed calendar.

    Raises what reading data raises, and :class:`DataError` for data with which this agreement cannot come to its end:
    no row at any cutoff, no label known in time. How many entities there are refuses nothing: proposals with one limit
    after the other would find the number out.
    """
    queries, data, party = folder / settings.queries, folder / settings.data, settings.party
    if agreement.alignment.policy == "own":
        return _member_data(agreement, settings, queries, data)
    if agreement.alignment.policy == "universe":
        entities = listed_universe(agreement, settings, folder).ids
    else:
        entities = rows_of(agreement).entities(party, queries, data, settings.label)
    rows = rows_of(agreement)
    if party.role == "feature":
        panel = rows.features(as_served(agreement, party), queries, data, entities)
        return OwnData(entities, panel, None, _periods_covered(panel, agreement, party.asked))
    assert settings.label is not None
    try:
        label = rows.labels(party, settings.label, queries, data, entities)
    except TooFewRows as error:  # refused, it would tell a proposer who varies the share how many there are
        return OwnData(entities, None, None, 0, few=str(error))
    try:
        resolved_before(agreement.walk_forward, label.known_from, label.label, label.universe)
    except ValueError as error:
        raise DataError(f"{settings.label.query}: {error}") from None
    if not party.own_columns:
        return OwnData(entities, None, label, 0)
    return OwnData(entities, label.features, label, _periods_covered(label.features, agreement, party.asked))


def _member_data(agreement: Agreement, settings: NodeSettings, queries: Path, data: Path) -> OwnData:
    """What a member trains on, and is judged on."""
    from parties.node.member_rows import read_member_rows

    rows = read_member_rows(agreement, settings.party, settings.label, queries, data)
    features = rows.panel.features
    covered = _periods_covered(features, agreement, settings.party.asked)
    return OwnData(rows.entities, features, rows.panel, covered)


def _periods_covered(panel: FeaturePanel, agreement: Agreement, query: str) -> int:
    covered = int(panel.covered.any(axis=1).sum())
    if not covered:
        periods = agreement.periods
        raise DataError(
            f"{query}: no row is known at any cutoff of the calendar ({periods[0]} to {periods[-1]}): propose periods "
            "that the data cover, or look at available_at, lag_days and largest_age_days with entente data check"
        )
    return covered


def data_check(settings: NodeSettings, folder: Path) -> tuple[str, ...]:
    """Run this party's queries without a calendar, as ``party start`` and ``doctor`` do; what was read, in lines.

    Raises :class:`ConfigError` or :class:`DataError` for what would stop every run.
    """
    queries, data, party = folder / settings.queries, folder / settings.data, settings.party
    if not has_periods(party, queries, data, settings.label):
        found = listed_names(party, queries, data, settings.label)
        return (f"{things(len(found), 'entities')}; the queries run, without periods: fit for static data alone",)
    entities = party_entities(party, queries, data, settings.label)
    if party.text is not None:
        pinned_scorer(party.text, queries, party.text.query)
    faults = row_faults(party, queries, data)
    if faults:
        first = faults[0]
        raise DataError(
            f"{party.query}: {things(len(faults), 'rows')} would stop every run, the first: row {first.row}, "
            f"{first.what}: "
            f"{first.detail}; {mended(faults, party.query)}"
        )
    return (f"{things(len(entities), 'entities')}; the queries run, no look-ahead, no duplicates",)
