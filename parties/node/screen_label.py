"""The label party's part in a screen: it commits to its labels, opens the sums, and judges every formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.screen_terms import screen_members
from parties.data.agreed_rows import rows_of
from parties.data.calendar import calendar_of
from parties.data.security_list import within_list
from parties.data.terminals import Terminals, read_terminals
from parties.errors import ConfigError
from parties.node.align import listed_universe
from parties.node.context import RunContext
from parties.node.label_commitment import commit_labels
from parties.node.recorded_outputs import check_own_columns
from parties.node.screen_evidence import keep_sums
from parties.node.screen_report import parts_of, screen_counts, screen_report, write_report
from psi.flow import Flow
from vfl.factors.panel import LabelPanel
from vfl.models.screen.formulas import trials_of
from vfl.models.screen.judge import Judged, judged
from vfl.models.screen.label import ScreenLabel
from vfl.models.screen.numbers import label_integers
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys
from vfl.protocols.label_commitment import tell_commitment
from vfl.terms import ScreenModel

__all__ = ["ScreenLabelParty", "screen_folder", "screen_labels"]


def screen_folder(home: Path, run_id: str) -> Path:
    """Where the label party keeps the report of a screen."""
    return home / "screens" / run_id[:12]


def screen_labels(agreement: Agreement, panel: LabelPanel) -> NDArray[np.int64]:
    """The labels that enter the sums, (T, n): known by the calendar's end, in the universe, of periods that count."""
    known = np.isfinite(panel.label) & panel.universe & (panel.known_from < len(agreement.periods))
    first, last = (
        agreement.periods.index(name) if name else place
        for name, place in (
            (agreement.evaluation.first, 0),
            (agreement.evaluation.last, len(agreement.periods) - 1),
        )
    )
    known[:first] = known[last + 1 :] = False
    return label_integers(panel.label, known)


class ScreenLabelParty:
    """Reads labels and own columns of the run's rows, once."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        agreement, settings = context.agreement, context.settings
        assert settings.label is not None
        assert isinstance(agreement.model, ScreenModel)
        self._context, self._entities, self._terms = context, entities, agreement.model
        panel = rows_of(agreement).labels(settings.party, settings.label, context.queries, context.data, entities)
        if agreement.alignment.policy == "universe":
            public = listed_universe(agreement, settings, context.folder)
            panel = within_list(panel, public.listed(calendar_of(agreement.dated), entities))
        check_own_columns(context, panel.features, entities)
        self._panel: LabelPanel = panel
        self._labels = screen_labels(agreement, panel)
        self._own = self._own_terminals()

    def _own_terminals(self) -> Terminals:
        context, party = self._context, self._context.settings.party
        if not party.own_columns:
            none = np.zeros((*self._labels.shape, 0), dtype=np.int64)
            return Terminals((), none, 0)
        calendar, most = calendar_of(context.agreement.dated), self._terms.terminals
        return read_terminals(party, context.queries, context.data, calendar, self._entities, most)

    def screen(self, attempt: int) -> dict[str, Any]:
        """Open the sums, judge, write the report; how many formulas are left after each hurdle."""
        found = self._context.perform("train", attempt, self._screened())
        context = self._context
        report = screen_report(context.agreement, found, self._own.names)
        digest = write_report(screen_folder(context.folder, context.run_id), report, found, self._own.names)
        context.audit.append("screen", context.run_id, {"sha256": digest, "formulas": report["n_trials"]})
        return screen_counts(found)

    def _screened(self) -> Flow[Judged]:
        context, agreement = self._context, self._context.agreement
        names = [party.name for party in agreement.features]
        yield from tell_commitment(names, commit_labels(context, self._committed(), self._entities))
        keys = LabelKeys(coefficient_key(), slot_key())
        members = screen_members(agreement, len(self._entities))
        side = ScreenLabel(members, self._labels, self._own.ranks, keys)
        opened = yield from side.screen()
        keep_sums(context, opened)
        found = self._judge(trials_of(opened, context.me, self._labels))
        yield from side.tell({name: parts_of(found, name) for name in names})
        return found

    def _committed(self) -> LabelPanel:
        """What it commits to: its labels, and its own terminals, which enter the sums in the place of its columns."""
        made, features = self._own, self._panel.features
        return replace(
            self._panel, features=replace(features, columns=made.names, values=made.ranks.astype(np.float64))
        )

    def _judge(self, trials: Any) -> Judged:
        walk = self._context.agreement.walk_forward
        try:
            return judged(trials, self._terms, horizon=walk.horizon, embargo=walk.embargo)
        except ValueError as error:
            raise ConfigError(str(error)) from None
