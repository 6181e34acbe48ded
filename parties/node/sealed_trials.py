"""A sealed run's search at the label party: every signed configuration is trained and judged, and the best is chosen.

The trials open two numbers for each earlier period and nothing of a row. What was judged is kept, so that a run that
goes on after a crash asks for no number twice and chooses the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.errors import ConfigError
from parties.node.checkpoints import CheckpointStore
from parties.node.context import RunContext
from parties.node.sealed_records import LabelRecords
from parties.node.sealed_valuation import labelled_periods, numbers_opened, scores_opened
from psi.flow import Flow, Send
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import LabelPanel
from vfl.models.judging import Judge, Tried
from vfl.models.sealed.coalitions import ValuedPeriod
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.records import scored_in
from vfl.models.sealed.trials import ConfigurationChosen, TrialBegins, judged_ics, sealed_trial
from vfl.models.sealed.valuation import LabelValuation
from vfl.protocols.committed_values import arrays_digest
from vfl.protocols.resume import agree_place
from vfl.terms import SealedModel
from vfl.walk.cycles import cyclic
from vfl.walk.schedule import Step

__all__ = ["LabelTrials", "SealedChoice", "chosen_in_the_clear"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

_JUDGED = "judged"


@dataclass(frozen=True)
class SealedChoice:
    """What a search leaves: the number of the chosen trial, and all of them."""

    chosen: int
    tried: tuple[Tried, ...]

    @property
    def terms(self) -> SealedModel:
        """The chosen configuration."""
        found = self.tried[self.chosen].terms
        assert isinstance(found, SealedModel)
        return found


class LabelTrials:
    """The label party's part of a search. start: its shares of a configuration's first weights.

    Raises ValueError where no earlier period can choose.
    """

    def __init__(
        self, context: RunContext, panel: LabelPanel, data: str, start: Callable[[SealedModel], dict[str, U64]]
    ) -> None:
        self._context, self._panel, self._data, self._start = context, panel, data, start
        self._first = context.agreement.reported_from
        self._judge = Judge(panel, context.agreement.walk_forward, self._first)
        models = context.agreement.configurations
        self._judge.predicted_from(self.steps(models[0]))
        if not self._periods(self.steps(models[0])):
            raise ValueError(
                "no period before evaluation.first has enough rows with labels to choose by: report from a later period"
            )

    def steps(self, terms: SealedModel) -> tuple[Step, ...]:
        """The schedule of a trial: the run's, up to the first reported period."""
        panel, walk = self._panel, self._context.agreement.walk_forward
        every = cyclic(terms, walk, panel.known_from, panel.label, panel.universe)
        return tuple(step for step in every if step.period < self._first)

    def _periods(self, steps: Sequence[Step]) -> tuple[ValuedPeriod, ...]:
        window = np.arange(len(self._panel.label)) < self._first
        return labelled_periods(steps, self._judge.known, window)

    def choose(self) -> Flow[SealedChoice]:
        """Every trial that is still to be judged, then the choice, which everyone is told.

        Learns: two numbers of 32 bits per configuration and earlier period.
        Leaks: to everyone, the rows of each trial as in a run, and which configuration was chosen.
        Model: as :meth:`vfl.models.sealed.numbers.LabelNumbers.value`; the others take only rows of earlier
            periods into a trial.
        Source: docs/protocols/sealed.md#trials.
        """
        agreement = self._context.agreement
        for number, terms in enumerate(agreement.configurations):
            store = self._context.trial_checkpoints(number)
            if _judged(store) is not None:
                continue
            for party in agreement.features:
                yield Send(party.name, TrialBegins(number))
            store.put(_JUDGED, (yield from self._trial(number, terms, store)))
        choice = self.restored()
        assert choice is not None, "every trial was judged"
        for party in agreement.features:
            yield Send(party.name, ConfigurationChosen(choice.chosen))
        return choice

    def _trial(self, number: int, terms: SealedModel, store: CheckpointStore) -> Flow[dict[str, NDArray[Any]]]:
        """Train one configuration and open its numbers: the ICs of its periods, (T,), NaN where it has none."""
        context, agreement = self._context, self._context.agreement
        members, steps, fixed = sealed_members(agreement), self.steps(terms), agreement.fixed_point
        records = LabelRecords(store, self._data, (), context.boundary)
        place = yield from agree_place(tuple(party.name for party in agreement.features), records.places())
        resumed = records.resumed(place)
        rows = self._panel.features.rows[: self._first * self._panel.label.shape[1]]
        columns = SealedColumns(rows, terms, fixed)
        source = SealedLabel(
            members,
            columns,
            self._start(terms),
            terms,
            fixed,
            LabelKeys(coefficient_key(), slot_key()),
            session=f"train/trial-{number}",
            journal=records,
            resumed=resumed,
        )
        yield from sealed_trial(source, steps, self._panel, agreement.walk_forward, resumed)
        records.finish()
        parties = tuple(members.features)
        side = LabelValuation(
            members,
            columns,
            scored_in(list(records.predictions().values())),
            terms,
            fixed,
            SecretStream(os.urandom(32)),
            session=f"trial-{number}",
            coalitions=(parties,),
        )
        salt = context.secret(f"trial-numbers/{context.run_id}/{number}")
        moments = yield from numbers_opened(
            side, store, self._periods(steps), (), lambda share: arrays_digest(salt, {"ours": share})
        )
        ics, found = np.full(len(self._panel.label), np.nan), judged_ics(moments, parties)
        if found is not None:
            ics[list(moments.periods)] = found
        return {"ics": ics}

    def restored(self) -> SealedChoice | None:
        """The choice as it follows from what was judged; None where some trial is not.

        Raises :class:`ConfigError` where every trial failed.
        """
        tried = []
        for number, terms in enumerate(self._context.agreement.configurations):
            ics = _judged(self._context.trial_checkpoints(number))
            if ics is None:
                return None
            value = float(np.nanmean(ics)) if np.isfinite(ics).any() else float("nan")
            tried.append(
                Tried("configuration", number, terms, "complete" if np.isfinite(value) else "failed", value, ics)
            )
        done = [trial for trial in tried if trial.state == "complete"]
        if not done:
            raise ConfigError(
                "training diverged in every trial of the search: list search.configurations of lower rates, or raise "
                "model.embedding_limit"
            )
        best = max(done, key=lambda trial: (trial.value, -trial.number))
        return SealedChoice(best.number, tuple(tried))


def chosen_in_the_clear(
    agreement: Agreement, label: LabelPanel, scored: Callable[[SealedModel], F64]
) -> SealedModel | None:
    """The configuration that the same search chooses on pooled features, which only a demo has; None without a search.

    scored: scores (T, n) of a configuration's whole training in the clear.
    """
    if not agreement.configurations:
        return None
    judge, window = Judge(label, agreement.walk_forward, agreement.reported_from), np.arange(len(label.label))
    values = []
    for terms in agreement.configurations:
        steps = cyclic(terms, agreement.walk_forward, label.known_from, label.label, label.universe)
        periods = labelled_periods(tuple(steps), judge.known, window < agreement.reported_from)
        pairs = zip(periods, scores_opened(periods, scored(terms)), strict=True)
        values.append(np.mean([np.corrcoef(period.labels, scores)[0, 1] for period, scores in pairs]))
    return agreement.configurations[int(np.nanargmax(values))]


def _judged(store: CheckpointStore) -> F64 | None:
    kept: Mapping[str, NDArray[Any]] | None = store.get(_JUDGED) if _JUDGED in store.names() else None
    return None if kept is None else kept["ics"].astype(np.float64)
